package relay

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"amesh/internal/timestamp"

	"github.com/google/go-cmp/cmp"
)

// The bytes of relay.md §2.1, once.
func TestConnectProofIsWrittenExactly(t *testing.T) {
	key := testKey(t, 1)
	f := connectFrame{
		Type: typeConnect, Protocol: protocol02, AMID: key.AMID().String(), PublicKey: key.Public().Text(),
		Timestamp: "2026-11-20T09:22:46+00:00", Relay: "relay.example:443",
		Extensions: []Extension{ExtensionChallenge, ExtensionAck},
	}
	c := challenge([]byte(strings.Repeat("c", challengeSize)))
	body, err := connectBody(&f, c)
	if err != nil {
		t.Fatal(err)
	}
	// LP8 of the relay, the challenge, LP8 of the timestamp, SHA-256 of the rest:
	// LP16 of protocol, amid and key, 00, 02, LP8 of both extensions.
	const want = "1172656c61792e6578616d706c653a343433" +
		"6363636363636363636363636363636363636363636363636363636363636363" +
		"19323032362d31312d32305430393a32323a34362b30303a3030" +
		"5c7a559f4390c97600fee68f179920f5124add84154b2dac39b0834e77a81272"
	if got := hex.EncodeToString(body); got != want {
		t.Errorf("body\n%s, want\n%s", got, want)
	}
	if err := prove(key, &f, c); err != nil {
		t.Fatal(err)
	}
	const signature = "Fpf8W6qqTSnXw2ydS5MQKZ285M9cSlaQwtArYcovdcYdHrvLQlrciPf7ixv1ftwe+IQG1MTqUqtUoGSbqVPUDg=="
	if f.Signature != signature {
		t.Errorf("signature %s, want %s", f.Signature, signature)
	}
	f.Relay = strings.Repeat("r", 256)
	if err := prove(key, &f, c); !errors.Is(err, errMalformed) {
		t.Errorf("a relay id that does not fit: %v", err)
	}
}

func challenged(c *raw, n byte, relay string) connectFrame {
	c.t.Helper()
	key := testKey(c.t, n)
	f := signed(key, jsStamp(), "")
	f.Extensions = []Extension{ExtensionChallenge, ExtensionAck}
	c.prove(key, &f, relay)
	return f
}

// T05: what was captured on one connection opens no other, here or elsewhere.
func TestCapturedProofIsWorthlessT05(t *testing.T) {
	here, _ := startRelay(t, Limits{})
	there, _ := startRelay(t, Limits{})
	victim := here.dial()
	captured := challenged(victim, 1, here.addr())
	victim.write(captured)
	victim.want(object{"type": typeConnected})
	for i := range 1000 {
		h, code := here, CodeInvalidSignature
		if i%2 == 1 {
			h = there
		}
		c := h.dial()
		c.write(captured)
		c.want(object{"type": typeError, "code": code})
		_ = c.ws.CloseNow()
	}
	victim.quiet()
}

// T05: a relay that passes on the challenge of another gets a proof for itself.
func TestPassedOnProofIsRefusedT05(t *testing.T) {
	honest := newHouse(t)
	honest.cfg.Names = []string{honest.addr()}
	honest.start(newMemory(), Limits{})
	c := honest.dial()
	// The client dialled the relay in between, and signs what it dialled.
	c.write(challenged(c, 1, "127.0.0.1:9"))
	got := c.want(object{"type": typeError, "code": CodeWrongRelay})
	if !strings.Contains(got["message"].(string), "--name") {
		t.Errorf("no next step in %q", got["message"])
	}
	if code := c.closed(); code != CloseUnauthorized {
		t.Errorf("closed with %d", code)
	}
}

func TestProofCoversTheWholeFrame(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	stamp := timestamp.ToSign(time.Now())
	for name, change := range map[string]func(*connectFrame){
		"protocol":           func(f *connectFrame) { f.Protocol = protocol01 },
		"timestamp":          func(f *connectFrame) { f.Timestamp = strings.Replace(stamp, "+00:00", "Z", 1) },
		"public key":         func(f *connectFrame) { f.PublicKey = "ed25519:" + f.PublicKey },
		"p2p_capable":        func(f *connectFrame) { f.P2PCapable = true },
		"extension removed":  func(f *connectFrame) { f.Extensions = f.Extensions[:1] },
		"extension added":    func(f *connectFrame) { f.Extensions = append(f.Extensions, "x") },
		"extensions swapped": func(f *connectFrame) { f.Extensions = []Extension{ExtensionAck, ExtensionChallenge} },
		"challenge stripped": func(f *connectFrame) { f.Extensions = []Extension{ExtensionAck} },
		"relay":              func(f *connectFrame) { f.Relay = "127.0.0.1:9" },
		"bare signature": func(f *connectFrame) {
			f.Signature = signatureText(testKey(t, 1).SignTimestamp(f.Timestamp))
		},
	} {
		c := h.dial()
		f := challenged(c, 1, h.addr())
		change(&f)
		c.write(f)
		if got := c.next(); got["code"] != CodeInvalidSignature {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRelayIDs(t *testing.T) {
	for url, want := range map[string]string{
		"ws://relay.example":                "relay.example:80",
		"wss://Relay.Example./v1/connect":   "relay.example:443",
		"wss://relay.example:8765/x":        "relay.example:8765",
		"ws://relay.example:0080":           "relay.example:80",
		"ws://[2001:DB8::0:1]:8765":         "[2001:db8::1]:8765",
		"ws://[::ffff:10.0.0.1]:8765":       "10.0.0.1:8765",
		"ws://[fe80::1%25eth0]:8765":        "[fe80::1]:8765",
		"ws://127.0.0.1:8765":               "127.0.0.1:8765",
		"ws://relay.example:70000":          "",
		"ws://relay.example:0":              "",
		"wss://müller.example":              "",
		"wss://" + strings.Repeat("x", 300): "",
		"ws://.":                            "",
		"https://relay.example":             "",
	} {
		got, err := RelayID(url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", url, got, err, want)
		}
	}
}

// T51: the newest connection wins, and only once it has proved who it is.
func TestOnlyAnAcceptedConnectReplacesT51(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	first, _ := h.join(1, ExtensionChallenge, ExtensionAck)
	forger := h.dial()
	f := challenged(forger, 1, h.addr())
	f.Timestamp = timestamp.ToSign(time.Now().Add(time.Second))
	forger.write(f)
	forger.want(object{"code": CodeInvalidSignature})
	first.quiet()
	second, _ := h.join(1, ExtensionChallenge, ExtensionAck)
	if code := first.closed(); code != CloseReplaced {
		t.Errorf("closed with %d", code)
	}
	second.quiet()
}

// A 0.2 client is told what a 0.2 relay tells, whatever this one can do.
func TestLegacyClientIsToldNothingNew(t *testing.T) {
	h := newHouse(t)
	h.cfg.STUN = "relay.example:3478"
	h.start(newMemory(), Limits{})
	_, got := h.join(1)
	want := object{"type": typeConnected, "session_id": got["session_id"], "pending_messages": 0.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClientProvesItself(t *testing.T) {
	h := newHouse(t)
	h.cfg.STUN = ":3478"
	h.start(newMemory(), Limits{})
	alice := startAgent(t, 1, h.url(), quick())
	s := alice.connected()
	if !s.Speaks(ExtensionChallenge) || s.STUN != "127.0.0.1:3478" || alice.RelayID() != h.addr() {
		t.Errorf("state: %+v, relay %s", s, alice.RelayID())
	}
}

// A challenge that is gone stops a client that had one, before it says anything.
func TestDowngradeIsNoticed(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	c := quick()
	c.RefusedRetry = time.Millisecond
	alice := startAgentWith(t, ClientConfig{URL: h.url(), Key: testKey(t, 1), Limits: c, AllowLegacy: true})
	alice.connected()
	h.shut()
	h.stripChallenges()
	h.start(newMemory(), Limits{})
	s := alice.state("downgrade", func(s State) bool { return errors.Is(s.Err, ErrDowngrade) })
	if s.Connected || h.server.find(testKey(t, 1).AMID()) != nil {
		t.Errorf("state: %+v", s)
	}
	bob := startAgentWith(t, ClientConfig{URL: h.url(), Key: testKey(t, 2), Limits: c, AllowLegacy: true, Pinned: true})
	bob.state("downgrade", func(s State) bool { return errors.Is(s.Err, ErrDowngrade) })
	carol := startAgent(t, 3, h.url(), c)
	s = carol.state("legacy", func(s State) bool { return errors.Is(s.Err, ErrLegacyRelay) })
	if !strings.Contains(s.Err.Error(), "relay.allow_legacy") {
		t.Errorf("no next step in %v", s.Err)
	}
	dave := startAgentWith(t, ClientConfig{URL: h.url(), Key: testKey(t, 4), Limits: c, AllowLegacy: true})
	if s = dave.connected(); s.Speaks(ExtensionChallenge) || !s.Speaks(ExtensionAck) {
		t.Errorf("state: %+v", s)
	}
}

// A relay that sets a challenge and does not confirm it has checked nothing.
func TestUnconfirmedChallengeEndsTheConnection(t *testing.T) {
	m := newMute(t, []Extension{ExtensionAck})
	m.header.Set(challengeHeader, strings.Repeat("A", 43)+"=")
	alice := startAgentWith(t, ClientConfig{URL: m.url(), Key: testKey(t, 1), Limits: quick(), AllowLegacy: true})
	alice.state("downgrade", func(s State) bool { return errors.Is(s.Err, ErrDowngrade) })
}

func TestBrokenChallengeIsNoReasonForALegacyConnect(t *testing.T) {
	for name, values := range map[string][]string{
		"short":      {"AAAA"},
		"no base64":  {"!"},
		"empty":      {""},
		"two of one": {strings.Repeat("A", 43) + "=", strings.Repeat("A", 43) + "="},
	} {
		c, err := NewClient(ClientConfig{URL: "ws://relay", Key: testKey(t, 1), Deliver: func(Delivery) {}, AllowLegacy: true})
		if err != nil {
			t.Fatal(err)
		}
		if f, err := c.connectFrame(http.Header{http.CanonicalHeaderKey(challengeHeader): values}); !errors.Is(err, errMalformed) || f.Signature != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
