package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"amesh/relay/mailbox"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

func TestPlainHTTP(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/health", "{\"status\":\"ok\"}\n", 200},
		{"GET", "/", "this is an AgentMesh relay: connect with a WebSocket\n", 426},
		{"POST", "/health", "this is an AgentMesh relay: connect with a WebSocket\n", 426},
	} {
		req, err := http.NewRequest(c.method, h.web.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || string(body) != c.body {
			t.Errorf("%s %s: %d %q", c.method, c.path, resp.StatusCode, body)
		}
	}
}

func TestConnectIsRefusedWithAWord(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	key := testKey(t, 1)
	stamp := jsStamp()
	cases := []struct {
		name, frame, code string
		status            websocket.StatusCode
	}{
		{"bad signature", string(encode(signed(key, stamp, "else"))), CodeInvalidSignature, CloseUnauthorized},
		{"stale", string(encode(signed(key, "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"))), CodeInvalidSignature, CloseUnauthorized},
		{"other protocol", strings.Replace(string(encode(signed(key, stamp, stamp))), "mesh/0.2", "mesh/9", 1), CodeProtocolMismatch, CloseUnauthorized},
		{"not connect", `{"type":"ping","timestamp":"x"}`, CodeInvalidMessage, websocket.StatusPolicyViolation},
		{"not JSON", `hello`, CodeInvalidMessage, websocket.StatusPolicyViolation},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := h.dial()
			r.writeText(c.frame)
			got := r.want(object{"type": typeError, "code": c.code})
			if got["message"] == "" || got["message"] != got["error"] {
				t.Errorf("text: %v", got)
			}
			if code := r.closed(); code != c.status {
				t.Errorf("closed with %d, want %d", code, c.status)
			}
		})
	}
}

func TestCapturedConnectIsRefused(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	stamp := jsStamp()
	f := signed(testKey(t, 1), stamp, stamp)
	first, second := h.dial(), h.dial()
	first.write(f)
	first.want(object{"type": typeConnected})
	second.write(f)
	second.want(object{"type": typeError, "code": CodeInvalidSignature})
	first.quiet()
}

func TestExtensionsAreNegotiatedAsASet(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	for _, c := range []struct {
		offer []Extension
		want  any
	}{
		{nil, nil},
		{[]Extension{"teleport"}, nil},
		{[]Extension{"teleport", "binary", "ack"}, []any{"ack", "binary"}},
		{[]Extension{"binary"}, nil}, // it is nothing without ack
	} {
		_, got := h.join(1, c.offer...)
		if diff := cmp.Diff(c.want, got["extensions"]); diff != "" {
			t.Errorf("%v: %s", c.offer, diff)
		}
	}
}

// Scenario (d): stored while away, handed out in order, once.
func TestLegacyReceiverGetsEverythingOnce(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	bob := testKey(t, 2).AMID()
	for i := range 20 {
		alice.send(bob, fmt.Sprintf(`{"n":%d}`, i), "")
	}
	h.holds(bob, 20)
	b, connected := h.join(2)
	if connected["pending_messages"] != 20.0 {
		t.Errorf("connected: %v", connected)
	}
	for i := range 20 {
		got := b.want(object{"type": typeReceive, "from": alice.who.String(), "encrypted_payload": fmt.Sprintf(`{"n":%d}`, i), "message_type": "message"})
		if _, has := got["id"]; has {
			t.Fatalf("a 0.2 client was given an id: %v", got)
		}
	}
	alice.send(bob, "live", "")
	b.want(object{"encrypted_payload": "live"})
	b.quiet()
	b.leave(h)
	b, connected = h.join(2)
	if connected["pending_messages"] != 0.0 {
		t.Errorf("after reconnect: %v", connected)
	}
	b.quiet()
}

// Scenario (e): one error for each limit, also across a reconnect (T50).
func TestLegacyLimits(t *testing.T) {
	l := DefaultLimits()
	l.Mailbox.LegacyShare = l.Mailbox.LegacyBox
	h, _ := startRelay(t, l)
	alice, _ := h.join(1)
	bob := testKey(t, 2).AMID()
	knock := sendFrame{Type: typeSend, To: bob.String(), Payload: "k", Kind: KindKnock}
	for range 60 {
		alice.send(bob, "m", "")
	}
	alice.quiet()
	alice.leave(h)
	alice, _ = h.join(1)
	for range 40 {
		alice.send(bob, "m", "")
	}
	alice.quiet()
	alice.send(bob, "m", "")
	got := alice.want(object{"type": typeError, "code": CodeRateLimited})
	if after, _ := got["retry_after_seconds"].(float64); after < 1 || after > 60 {
		t.Errorf("retry after %v", got)
	}
	h.holds(bob, 100)
	carol := testKey(t, 3).AMID()
	knock.To = carol.String()
	for range 30 {
		alice.write(knock)
	}
	alice.quiet()
	alice.write(knock)
	alice.want(object{"type": typeError, "code": CodeRateLimited})
	h.holds(carol, 30)
	alice.quiet()
}

// Scenario (f), T51: the newest connection wins and survives the older's close.
func TestNewestConnectionWins(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	older, _ := h.join(2)
	newer, _ := h.join(2)
	if code := older.closed(); code != CloseReplaced {
		t.Errorf("older closed with %d", code)
	}
	h.until("the older is gone", func(s *Server) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 2
	})
	alice.send(newer.who, "still there", "")
	newer.want(object{"type": typeReceive, "encrypted_payload": "still there"})
	alice.writeText(`{"type":"presence_query","amid":"` + newer.who.String() + `"}`)
	alice.want(object{"type": typePresenceReply, "status": "online"})
}

func TestFramesBesideMail(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	bob, _ := h.join(2)
	carol := testKey(t, 3).AMID().String()

	bob.writeText(`{"type":"presence","status":"dnd"}`)
	bob.quiet()
	alice.writeText(`{"type":"presence_query","amid":"` + bob.who.String() + `"}`)
	if got := alice.want(object{"status": "dnd"}); got["last_seen"] == nil {
		t.Errorf("presence: %v", got)
	}
	alice.writeText(`{"type":"presence_query","amid":"` + carol + `"}`)
	if got := alice.want(object{"status": "offline", "amid": carol}); got["last_seen"] != nil {
		t.Errorf("presence of somebody away: %v", got)
	}

	alice.writeText(`{"type":"ice_offer","to":"` + bob.who.String() + `","sdp":"v=0","candidates":[{"candidate":"c"}]}`)
	got := bob.want(object{"type": typeICEOffer, "to": alice.who.String(), "sdp": "v=0"})
	want := []any{object{"candidate": "c", "sdp_mid": nil, "sdp_mline_index": nil}}
	if diff := cmp.Diff(want, got["candidates"]); diff != "" {
		t.Error(diff)
	}
	bob.writeText(`{"type":"p2p_established","peer":"` + alice.who.String() + `"}`)
	alice.want(object{"type": typeP2P, "peer": bob.who.String()})
	alice.writeText(`{"type":"ice_offer","to":"` + carol + `","sdp":"v=0","candidates":[]}`)
	alice.want(object{"type": typeError, "code": CodeRecipientOffline})
	alice.writeText(`{"type":"ice_answer","to":"` + carol + `","sdp":"v=0","candidates":[]}`)
	alice.quiet()

	alice.writeText(`{"type":"get_pending_messages"}`)
	alice.want(object{"type": typePending})
	alice.writeText(`{"type":"nack","message_id":"x","reason":"y"}`)
	alice.writeText(`{"type":"ack","message_id":"x"}`)
	alice.writeText(`{"type":"from_the_future"}`)
	alice.writeText(`{"type":"send","to":"` + carol + `"}`)
	alice.writeText(`not even JSON`)
	alice.quiet()

	alice.send([20]byte{}, "to nobody", "")
	alice.quiet()
	alice.writeText(`{"type":"send","to":"somebody","encrypted_payload":"x","message_type":"message"}`)
	alice.want(object{"type": typeError, "code": CodeInvalidMessage})
	alice.send(bob.who, strings.Repeat("x", 64<<10+1), "")
	alice.want(object{"type": typeError, "code": CodeMessageTooLarge})
	alice.send(bob.who, strings.Repeat("x", 64<<10), "")
	bob.want(object{"type": typeReceive})

	alice.writeText(`{"type":"knock_with_message","to":"` + bob.who.String() + `","knock_payload":"k","message_payload":"m","message_type":"message"}`)
	bob.want(object{"encrypted_payload": "k", "message_type": "knock"})
	bob.want(object{"encrypted_payload": "m", "message_type": "message"})

	alice.writeText(`{"type":"disconnect","reason":"done"}`)
	if code := alice.closed(); code != websocket.StatusNormalClosure {
		t.Errorf("disconnect closed with %d", code)
	}
}

// An SDK sends its last words and closes at once.
func TestLastWordsAreKept(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	bob := testKey(t, 2).AMID()
	for range 5 {
		alice.send(bob, "bye", "")
	}
	_ = alice.ws.CloseNow()
	h.holds(bob, 5)
}

// T52: what is too long to be read ends the connection.
func TestOversizedFrame(t *testing.T) {
	l := DefaultLimits()
	l.FrameBytes = 1000
	h, _ := startRelay(t, l)
	alice, _ := h.join(1)
	alice.writeText(`{"type":"ping","timestamp":"` + strings.Repeat("x", 1000) + `"}`)
	if code := alice.closed(); code != websocket.StatusMessageTooBig {
		t.Errorf("closed with %d", code)
	}
}

func TestSilentConnectionIsClosed(t *testing.T) {
	l := DefaultLimits()
	l.AuthWait = 20 * time.Millisecond
	h, _ := startRelay(t, l)
	if code := h.dial().closed(); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %d", code)
	}
}

func TestDeadPeerIsForgotten(t *testing.T) {
	l := DefaultLimits()
	l.PingEvery, l.PongWait, l.CloseWait = 20*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond
	h, _ := startRelay(t, l)
	// A raw client that does not read answers no ping.
	deaf, _ := h.join(1)
	h.until("the deaf peer is gone", func(s *Server) bool { return s.find(deaf.who) == nil })
}

func TestTooManyConnections(t *testing.T) {
	l := DefaultLimits()
	l.Unauthenticated = 1
	h, _ := startRelay(t, l)
	waiting := h.dial()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, resp, err := websocket.Dial(ctx, h.url(), nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("second nameless connection: %v, %v", resp, err)
	}
	_ = waiting.ws.Close(websocket.StatusNormalClosure, "")
	h.until("the place is free", func(s *Server) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.pending == 0
	})
	h.join(1)
}

func TestStopClosesEverybody(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	nameless := h.dial()
	codes := make(chan websocket.StatusCode, 2)
	for _, c := range []*raw{alice, nameless} {
		go func() { codes <- c.closed() }()
	}
	h.shut()
	for range 2 {
		if code := <-codes; code != websocket.StatusGoingAway {
			t.Errorf("closed with %d", code)
		}
	}
}

// The relay's log never says who writes to whom (T55).
func TestLogHasNoPairs(t *testing.T) {
	var log lockedBuffer
	h := newHouse(t)
	s := h.start(newMemory(), Limits{})
	s.log = debugLogger(&log)
	alice, _ := h.join(1, ExtensionAck)
	bob, _ := h.join(2)
	alice.send(bob.who, "hello", "1")
	alice.want(object{"type": typeRelayed})
	bob.want(object{"type": typeReceive})
	alice.send(bob.who, strings.Repeat("x", 64<<10+1), "2")
	alice.want(object{"type": typeRefused})
	alice.leave(h)
	bob.leave(h)
	h.shut()
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, alice.who.String()) && strings.Contains(line, bob.who.String()) {
			t.Errorf("a pair: %s", line)
		}
	}
	if !strings.Contains(log.String(), alice.who.String()) {
		t.Error("nothing was logged, so the test proves nothing")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("a server without mailbox")
	}
	l := DefaultLimits()
	l.Mailbox.TTL = 0
	if _, err := mailbox.NewDisk(newMemory(), l.Mailbox); err == nil || !strings.Contains(err.Error(), "TTL") {
		t.Errorf("limit of zero: %v", err)
	}
	if _, err := mailbox.NewDisk(nil, mailbox.Limits{}); err == nil {
		t.Error("a mailbox without store")
	}
	for _, url := range []string{"", "http://x", "ws://", "ws://x y"} {
		if _, err := NewClient(ClientConfig{URL: url, Key: testKey(t, 1), Deliver: func(Delivery) {}}); err == nil {
			t.Errorf("client for %q", url)
		}
	}
	c, err := NewClient(ClientConfig{URL: "ws://relay:1", Key: testKey(t, 1), Deliver: func(Delivery) {}})
	if err != nil || c.URL() != "ws://relay:1/v1/connect" || c.Connected() {
		t.Errorf("client: %v, %v", c, err)
	}
}

// Payloads pass byte for byte.
func TestPayloadIsOpaque(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	bob, _ := h.join(2)
	payload := "<&>\"\\\u2028ä\x7f\n" + strings.Repeat("漢", 100)
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	alice.writeText(`{"type":"send","to":"` + bob.who.String() + `","message_type":"message","encrypted_payload":` + string(text) + `}`)
	bob.want(object{"encrypted_payload": payload})
}
