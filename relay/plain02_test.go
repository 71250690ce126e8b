package relay

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"

	"github.com/coder/websocket"
)

// plain02 is a relay as the reference writes it (AgentMesh §2): it knows no extension,
// verifies over its own rendering of the timestamp, hangs up without a word on whom it
// refuses, keeps mail in memory and hands it out once. It notes what a relay of 0.2
// was never to be sent.
type plain02 struct {
	web *httptest.Server

	mu      sync.Mutex
	refuse  int // so many connects are refused
	online  map[string]*websocket.Conn
	mail    map[string][][]byte
	strange []string
}

func newPlain02(t *testing.T) *plain02 {
	t.Helper()
	p := &plain02{online: map[string]*websocket.Conn{}, mail: map[string][][]byte{}}
	p.web = httptest.NewServer(p)
	t.Cleanup(func() {
		p.web.CloseClientConnections()
		p.web.Close()
	})
	return p
}

func (p *plain02) url() string { return strings.Replace(p.web.URL, "http://", "ws://", 1) }

func (p *plain02) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	ctx := context.WithoutCancel(r.Context())
	_, data, err := ws.Read(ctx)
	if err != nil {
		return
	}
	who, ok := p.admit(data)
	if !ok {
		return // without a word
	}
	p.enter(ctx, who, ws)
	for {
		typ, data, err := ws.Read(ctx)
		if err != nil {
			break
		}
		p.take(ctx, who, typ, data)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.online[who] == ws {
		delete(p.online, who)
	}
}

func (p *plain02) admit(data []byte) (who string, ok bool) {
	frame, err := parseClientFrame(data, DefaultLimits())
	f, is := frame.(connectFrame)
	if err != nil || !is {
		return "", false
	}
	key, err := identity.ParsePublicKeyText(f.PublicKey)
	if err != nil {
		return "", false
	}
	stamp, err := timestamp.Parse(f.Timestamp)
	var sig []byte
	if err == nil {
		ok := true
		sig = members{"s": encode(f.Signature)}.bytes("s", &ok)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Relay != "" || slices.Contains(f.Extensions, ExtensionChallenge) {
		p.strange = append(p.strange, string(data))
	}
	if p.refuse > 0 {
		p.refuse--
		return "", false
	}
	return f.AMID, key.VerifyTimestamp(timestamp.Rerender(stamp), sig) == nil
}

// enter hands out what waited, and forgets it with that.
func (p *plain02) enter(ctx context.Context, who string, ws *websocket.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.mail[who]
	delete(p.mail, who)
	_ = ws.Write(ctx, websocket.MessageText, encode(connectedFrame{Type: typeConnected, SessionID: "0b6c", Pending: len(waiting)}))
	// A frame that no client of 0.2 knows is nothing to stumble over.
	_ = ws.Write(ctx, websocket.MessageText, []byte(`{"type":"motd","text":"welcome"}`))
	for _, frame := range waiting {
		_ = ws.Write(ctx, websocket.MessageText, frame)
	}
	p.online[who] = ws
}

func (p *plain02) take(ctx context.Context, from string, typ websocket.MessageType, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame, _ := parseClientFrame(data, DefaultLimits())
	f, ok := frame.(sendFrame)
	if typ != websocket.MessageText || !ok || f.ClientID != "" {
		p.strange = append(p.strange, string(data))
		return
	}
	out := encode(receiveFrame{Type: typeReceive, From: from, Payload: f.Payload, Kind: f.Kind, Timestamp: "2026-11-20T09:22:47.123456789Z"})
	if ws := p.online[f.To]; ws != nil {
		_ = ws.Write(ctx, websocket.MessageText, out)
		return
	}
	p.mail[f.To] = append(p.mail[f.To], out)
}

// A relay of 0.2 is of use, with less to rely on, to whoever allowed it.
func TestClientOnAPlainRelayOf02(t *testing.T) {
	p := newPlain02(t)
	l := quick()
	a, b := testKey(t, 1), testKey(t, 2)
	alice := newAgent(t, ClientConfig{URL: p.url(), Key: a, Limits: l, AllowLegacy: true, Hidden: true, OnExpired: func(Expired) {}})
	alice.SetAllow([]identity.AMID{b.AMID()})
	alice.run()
	s := alice.connected()
	if len(s.Extensions) != 0 || s.Mark != nil || s.STUN != "" || s.RelayKey != (identity.PublicKey{}) {
		t.Errorf("state: %+v", s)
	}
	send := func(text string) {
		t.Helper()
		if r := alice.send(Outgoing{To: b.AMID(), Kind: KindMessage, Payload: envelope(text)}); !r.Unconfirmed || r.Err != nil {
			t.Errorf("result: %+v", r)
		}
	}
	send("stored")
	if err := alice.allow(nil, []identity.AMID{b.AMID()}); err != nil {
		t.Errorf("Allow: %v", err)
	}
	if k := alice.deposit(mark(t, 1, alice.RelayID(), 1, 1)); !errors.Is(k.err, ErrNoExtension) {
		t.Errorf("Deposit: %v", k.err)
	}
	p.mu.Lock()
	p.refuse = 2
	p.mu.Unlock()
	bob := startAgentWith(t, ClientConfig{URL: p.url(), Key: b, Limits: l, AllowLegacy: true})
	bob.state("hung up on", func(s State) bool { return s.Err != nil })
	if s := bob.connected(); s.Pending != 1 {
		t.Errorf("state: %+v", s)
	}
	d := bob.receive()
	if string(d.Payload) != string(envelope("stored")) || d.Legacy || d.ID != EnvelopeID(envelope("stored")).String() {
		t.Errorf("delivered %+v", d)
	}
	bob.Ack(d.ID)
	send("live")
	if d = bob.receive(); string(d.Payload) != string(envelope("live")) {
		t.Errorf("delivered %+v", d)
	}
	bob.stop()
	again := startAgentWith(t, ClientConfig{URL: p.url(), Key: b, Limits: l, AllowLegacy: true})
	if s := again.connected(); s.Pending != 0 {
		t.Errorf("what was handed out came again: %+v", s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.strange) > 0 {
		t.Errorf("sent to a relay of 0.2: %q", p.strange)
	}
}

// Without the owner's word a relay of 0.2 hears nothing of us.
func TestPlainRelayOf02NeedsPermission(t *testing.T) {
	heard := make(chan string, 100)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, data, _ := ws.Read(context.WithoutCancel(r.Context()))
		heard <- string(data)
		_ = ws.CloseNow()
	}))
	defer web.Close()
	l := quick()
	l.RefusedRetry = time.Millisecond
	alice := startAgent(t, 1, strings.Replace(web.URL, "http://", "ws://", 1), l)
	for range 3 {
		if s := alice.state("refused", func(s State) bool { return s.Err != nil }); !errors.Is(s.Err, ErrLegacyRelay) {
			t.Errorf("state: %+v", s)
		}
		if data := await(t, "the end of the connection", heard); data != "" {
			t.Errorf("the relay heard %s", data)
		}
	}
	alice.stop()
}
