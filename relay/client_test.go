package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/internal/timestamp"
	"amesh/relay/mailbox"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// agent is a Client with what it heard.
type agent struct {
	*Client
	t      *testing.T
	mail   chan Delivery
	states chan State
	stop   func()
}

func startAgent(t *testing.T, n byte, url string, l Limits) *agent {
	t.Helper()
	return startAgentWith(t, ClientConfig{URL: url, Key: testKey(t, n), Limits: l})
}

func startAgentWith(t *testing.T, cfg ClientConfig) *agent {
	t.Helper()
	a := newAgent(t, cfg)
	a.run()
	return a
}

// newAgent sets the callbacks of cfg, which tests read as channels.
func newAgent(t *testing.T, cfg ClientConfig) *agent {
	t.Helper()
	a := &agent{t: t, mail: make(chan Delivery, 10_000), states: make(chan State, 10_000)}
	cfg.Deliver = func(d Delivery) { a.mail <- d }
	cfg.OnState = func(s State) { a.states <- s }
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.Client = c
	return a
}

func (a *agent) run() {
	t, c := a.t, a.Client
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("client stopped with %v", err)
			}
		case <-time.After(patience):
			t.Error("client does not stop")
		}
	})
	t.Cleanup(a.stop)
}

// state waits for a state that f accepts.
func (a *agent) state(what string, f func(State) bool) State {
	a.t.Helper()
	late := time.After(patience)
	for {
		select {
		case s := <-a.states:
			if f(s) {
				return s
			}
		case <-late:
			a.t.Fatalf("never: %s", what)
		}
	}
}

func (a *agent) connected() State {
	a.t.Helper()
	return a.state("connected", func(s State) bool { return s.Connected })
}

func (a *agent) receive() Delivery {
	a.t.Helper()
	select {
	case d := <-a.mail:
		return d
	case <-time.After(patience):
		a.t.Fatal("no delivery")
		return Delivery{}
	}
}

// send sends and waits for the result.
func (a *agent) send(o Outgoing) Result {
	a.t.Helper()
	results := make(chan Result, 2)
	a.Send(o, func(r Result) { results <- r })
	select {
	case r := <-results:
		return r
	case <-time.After(patience):
		a.t.Fatal("done was not called")
		return Result{}
	}
}

func envelope(text string) []byte { return []byte(Magic + text) }

func quick() Limits {
	l := DefaultLimits()
	l.BackoffMin, l.BackoffMax = time.Millisecond, 5*time.Millisecond
	return l
}

func TestClientSendsAndReceives(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, bob := startAgent(t, 1, h.url(), quick()), startAgent(t, 2, h.url(), quick())
	if s := alice.connected(); !s.Speaks(ExtensionAck) || s.Session == "" {
		t.Errorf("state: %+v", s)
	}
	bob.connected()
	b := testKey(t, 2).AMID()
	r := alice.send(Outgoing{To: b, Kind: KindKnock, Payload: envelope("sealed")})
	if r.Err != nil || r.Unconfirmed || r.ID != EnvelopeID(envelope("sealed")).String() || time.Until(r.Expires) < 71*time.Hour {
		t.Errorf("result: %+v", r)
	}
	d := bob.receive()
	want := Delivery{From: testKey(t, 1).AMID(), Kind: KindKnock, Payload: envelope("sealed"), ID: r.ID, At: d.At}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	alice.send(Outgoing{To: b, Kind: KindMessage, Payload: []byte(`{"type":"x"}`), Text: true})
	if d = bob.receive(); !d.Legacy || string(d.Payload) != `{"type":"x"}` {
		t.Errorf("text: %+v", d)
	}
	h.holds(b, 2)
	bob.Ack(r.ID, d.ID)
	h.holds(b, 0)
}

func TestClientToldWhy(t *testing.T) {
	l := DefaultLimits()
	l.Mailbox.LegacyBox.Messages = 1
	h, _ := startRelay(t, l)
	alice := startAgent(t, 1, h.url(), quick())
	alice.connected()
	b := testKey(t, 2).AMID()
	if r := alice.send(Outgoing{To: b, Kind: KindMessage, Payload: envelope("1")}); r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, c := range []struct {
		name string
		out  Outgoing
		want RefusedError
	}{
		{"mailbox full", Outgoing{To: b, Kind: KindMessage, Payload: envelope("2")}, RefusedError{RefusedMailboxFull, 30 * time.Second}},
		{"too large, found here", Outgoing{To: b, Kind: KindMessage, Payload: make([]byte, 50_000)}, RefusedError{Code: RefusedTooLarge}},
		{"unknown kind", Outgoing{To: b, Kind: "shout"}, RefusedError{Code: RefusedInvalid}},
		{"to nobody", Outgoing{Kind: KindMessage}, RefusedError{Code: RefusedInvalid}},
		{"text that is none", Outgoing{To: b, Kind: KindMessage, Payload: []byte{0xFF}, Text: true}, RefusedError{Code: RefusedInvalid}},
	} {
		r := alice.send(c.out)
		var got *RefusedError
		if !errors.As(r.Err, &got) || *got != c.want || len(r.ID) != 32 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestSendWithoutConnection(t *testing.T) {
	h := newHouse(t)
	alice := startAgent(t, 1, h.url(), quick())
	s := alice.state("an error", func(s State) bool { return s.Err != nil })
	if s.Connected {
		t.Errorf("state: %+v", s)
	}
	if r := alice.send(Outgoing{To: testKey(t, 2).AMID(), Kind: KindMessage, Payload: envelope("x")}); !errors.Is(r.Err, ErrDisconnected) {
		t.Errorf("result: %+v", r)
	}
	alice.Ack("nothing")
	alice.stop()
	if r := alice.send(Outgoing{To: testKey(t, 2).AMID(), Kind: KindMessage, Payload: envelope("x")}); !errors.Is(r.Err, ErrDisconnected) {
		t.Errorf("after Run: %+v", r)
	}
}

// A connection that dies with sends in flight settles each of them once.
func TestCutInFlight(t *testing.T) {
	mute := newMute(t, []Extension{ExtensionAck})
	l := quick()
	l.InFlight.Messages = 10
	alice := startAgentWith(t, ClientConfig{URL: mute.url(), Key: testKey(t, 1), Limits: l, AllowLegacy: true})
	alice.connected()
	var mu sync.Mutex
	var order []int
	results := make(chan Result, 100)
	for i := range 11 {
		alice.Send(Outgoing{To: testKey(t, 2).AMID(), Kind: KindMessage, Payload: envelope(fmt.Sprint(i))}, func(r Result) {
			if errors.Is(r.Err, ErrDisconnected) {
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
			}
			results <- r
		})
	}
	if r := <-results; !errors.Is(r.Err, ErrBusy) {
		t.Errorf("eleventh: %+v", r)
	}
	for range 3 {
		mute.frame()
	}
	mute.cut()
	for range 10 {
		select {
		case r := <-results:
			if !errors.Is(r.Err, ErrDisconnected) {
				t.Errorf("cut: %+v", r)
			}
		case <-time.After(patience):
			t.Fatal("a send was never settled")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, order); diff != "" {
		t.Error(diff)
	}
	if len(results) != 0 {
		t.Error("a send was settled twice")
	}
}

func TestLegacyRelayConfirmsNothing(t *testing.T) {
	m := newMute(t, nil)
	alice := startAgentWith(t, ClientConfig{URL: m.url(), Key: testKey(t, 1), Limits: quick(), AllowLegacy: true})
	alice.connected()
	r := alice.send(Outgoing{To: testKey(t, 2).AMID(), Kind: KindMessage, Payload: envelope("x")})
	if r.Err != nil || !r.Unconfirmed {
		t.Errorf("result: %+v", r)
	}
	want := `{"type":"send","to":"` + testKey(t, 2).AMID().String() + `","encrypted_payload":"` + mailbox.EnvelopeText(envelope("x")) + `","message_type":"message"}`
	if got := m.frame(); got != want {
		t.Errorf("frame %s, want %s", got, want)
	}
	ws := <-m.conns
	for range 2 {
		_ = ws.Write(t.Context(), websocket.MessageText, encode(receiveFrame{
			Type: typeReceive, From: testKey(t, 2).AMID().String(), Payload: "hi", Kind: KindStatus, Timestamp: "2026-11-20T09:22:47.123456789Z",
		}))
	}
	d := alice.receive()
	if !d.Legacy || d.ID != EnvelopeID([]byte("hi")).String() || d.At.Nanosecond() != 123456789 {
		t.Errorf("delivery: %+v", d)
	}
	alice.Ack(d.ID)
	alice.receive()
	if r := alice.send(Outgoing{To: testKey(t, 2).AMID(), Kind: KindMessage, Payload: envelope("y")}); !r.Unconfirmed {
		t.Errorf("result: %+v", r)
	}
	if got := m.frame(); strings.Contains(got, typeAck) {
		t.Errorf("a relay without ack was sent %s", got)
	}
}

func TestAcksShareFrames(t *testing.T) {
	m := newMute(t, []Extension{ExtensionAck})
	alice := startAgentWith(t, ClientConfig{URL: m.url(), Key: testKey(t, 1), Limits: quick(), AllowLegacy: true})
	alice.connected()
	alice.Ack("a", "b")
	alice.Ack("c")
	var ids []string
	for len(ids) < 3 {
		frame, err := parseClientFrame([]byte(m.frame()), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, frame.(ackFrame).IDs...)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestClientRefusedByRelay(t *testing.T) {
	h := newHouse(t)
	h.start(newMemory(), Limits{})
	// A relay whose clock is a day ahead refuses every timestamp.
	l := DefaultLimits()
	l.StampPast, l.StampFuture = time.Nanosecond, time.Nanosecond
	h.server.limits.StampPast, h.server.limits.StampFuture = l.StampPast, l.StampFuture
	c := quick()
	c.RefusedRetry = time.Millisecond
	alice := startAgent(t, 1, h.url(), c)
	for range 2 {
		s := alice.state("refused", func(s State) bool { return s.Err != nil })
		var auth *AuthError
		if !errors.As(s.Err, &auth) || auth.Code != CodeInvalidSignature {
			t.Fatalf("state: %+v", s)
		}
	}
}

func TestSecondClientOfTheSameAgent(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	first := startAgent(t, 1, h.url(), quick())
	first.connected()
	second := startAgent(t, 1, h.url(), quick())
	second.connected()
	s := first.state("replaced", func(s State) bool { return s.Err != nil })
	if !errors.Is(s.Err, ErrReplaced) {
		t.Errorf("state: %+v", s)
	}
}

func TestStampsAreNeverUsedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(ClientConfig{URL: "ws://relay", Key: testKey(t, 1), Deliver: func(Delivery) {}})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 5 {
			s := timestamp.ToSign(c.freshStamp())
			if seen[s] {
				t.Errorf("%s twice", s)
			}
			seen[s] = true
		}
		time.Sleep(time.Hour)
		if got, want := timestamp.ToSign(c.freshStamp()), timestamp.ToSign(time.Now()); got != want {
			t.Errorf("an hour later %s, want %s", got, want)
		}
	})
}

// A relay that vanishes without a word is noticed within ten seconds.
func TestDeadRelayIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		server, err := NewServer(ServerConfig{Mailbox: testBox(t, newMemory(), Limits{}), Names: []string{"relay:80"}})
		if err != nil {
			t.Fatal(err)
		}
		web := &http.Server{Handler: server}
		go func() { _ = web.Serve(network) }()
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 2)
		go func() { running <- server.Run(ctx) }()
		states := make(chan State, 100)
		c, err := NewClient(ClientConfig{
			URL: "ws://relay", Key: testKey(t, 1), Dial: network.dial,
			Deliver: func(Delivery) {}, OnState: func(s State) { states <- s },
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() { running <- c.Run(ctx) }()
		if s := <-states; !s.Connected {
			t.Fatalf("state: %+v", s)
		}
		// A quiet hour with pings in both directions changes nothing.
		time.Sleep(time.Hour)
		if len(states) != 0 || !c.Connected() {
			t.Fatalf("the quiet line broke: %+v", <-states)
		}
		network.freeze()
		frozen := time.Now()
		s := <-states
		if took := time.Since(frozen); s.Connected || took > 10*time.Second {
			t.Errorf("noticed after %v: %+v", took, s)
		}
		network.thaw()
		if s := <-states; !s.Connected {
			t.Errorf("after the thaw: %+v", s)
		}
		cancel()
		for range 2 {
			if err := <-running; err != nil {
				t.Error(err)
			}
		}
		_ = web.Close()
	})
}
