package node

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/homing"
	"amesh/ratchet"
	"amesh/relay"
)

var quiet = slog.New(slog.DiscardHandler)

// shortStay are the defaults, but for how long a relay is left.
func shortStay(keep int) homing.Limits {
	l := homing.DefaultLimits()
	l.Keep, l.Stay, l.Most = keep, 2*time.Hour, 5*time.Hour
	return l
}

// The fastest relays become the homes, others are told once, and the rest is not even
// told who we are.
func TestHomesAreTheFastest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 90, "b": 20, "c": 55, "d": 30})
		v := s.tenant(freshKey(t), shortStay(2), nil, "a", "b", "c", "d")
		time.Sleep(time.Hour)
		if got := v.connected(); got != "bd" {
			t.Errorf("connected to %s", got)
		}
		if diff := cmp.Diff([]string{"bd"}, v.told()); diff != "" {
			t.Errorf("others were told (-want +got)\n%s", diff)
		}
		status := v.status()
		if got := status[0]; got.URL != office("b") || got.Role != "home" || !got.Announced || got.State != "connected" || got.LatencyMS != 20 {
			t.Errorf("the best is shown as %+v", got)
		}
		if got := status[2]; got.URL != office("a") || got.Role != "standby" || got.Announced || got.State != "standby" || got.LatencyMS != 90 {
			t.Errorf("one in reserve is shown as %+v", got)
		}
		v.end()
	})
}

// T65, CP 16: a home dies with mail in it. Another takes its place; when it is back,
// what lay there is fetched, and what peers with an old record leave there as well.
func TestHomeDiesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 5, "b": 20, "c": 50})
		key := freshKey(t)
		v := s.tenant(key, shortStay(2), nil, "a", "b", "c")
		time.Sleep(time.Minute)
		v.end()
		if err := s.leave("a", key.AMID(), "while we were away"); err != nil {
			t.Fatal(err)
		}
		s.shut("a")
		v = s.tenant(key, shortStay(2), nil, "a", "b", "c")
		time.Sleep(time.Minute)
		if got := short(v.announced()); got != "bc" {
			t.Fatalf("without a the homes are %s", got)
		}
		s.open("a", 5)
		time.Sleep(time.Hour)
		if got := short(v.announced()); got != "ab" {
			t.Errorf("with a back for long the homes are %s", got)
		}
		for _, name := range []string{"a", "b", "c"} {
			if err := s.leave(name, key.AMID(), "by "+name); err != nil {
				t.Errorf("a peer leaves something at %s: %v", name, err)
			}
			synctest.Wait()
		}
		if diff := cmp.Diff([]string{"while we were away", "by a", "by b", "by c"}, v.got()); diff != "" {
			t.Errorf("mail (-want +got)\n%s", diff)
		}
		time.Sleep(3 * time.Hour)
		if got := v.connected(); got != "ab" {
			t.Errorf("after the leaving connected to %s", got)
		}
		v.end()
	})
}

// All accepted mail flows again within two seconds of the relay's return.
func TestRelayRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10})
		key := freshKey(t)
		v := s.tenant(key, shortStay(2), nil, "a")
		time.Sleep(time.Minute)
		for _, outage := range []time.Duration{time.Second, 5 * time.Second, 50 * time.Second} {
			s.shut("a")
			time.Sleep(outage)
			s.open("a", 10)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := v.connected(); got != "a" {
				t.Errorf("two seconds after an outage of %v connected to %q", outage, got)
			}
			time.Sleep(time.Minute)
		}
		if diff := cmp.Diff([]string{"a"}, v.told()); diff != "" {
			t.Errorf("others were told (-want +got)\n%s", diff)
		}
		v.end()
	})
}

// What is remembered outlives the process: mail in a relay that was a home before the
// start is fetched, also when the owner does not name it any more.
func TestOldHomeIsReadAfterAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10, "b": 20})
		key, st := freshKey(t), store.NewMemory()
		v := s.tenant(key, shortStay(1), st, "a")
		time.Sleep(time.Minute)
		v.end()
		if err := s.leave("a", key.AMID(), "by an old record"); err != nil {
			t.Fatal(err)
		}
		v = s.tenant(key, shortStay(1), st, "b")
		time.Sleep(time.Minute)
		if got := short(v.announced()) + " " + v.connected(); got != "b ab" {
			t.Errorf("announced and connected: %s", got)
		}
		if diff := cmp.Diff([]string{"by an old record"}, v.got()); diff != "" {
			t.Errorf("mail (-want +got)\n%s", diff)
		}
		v.end()
		v = s.tenant(key, shortStay(1), st, "b")
		time.Sleep(time.Minute)
		if got := v.connected(); got != "ab" {
			t.Errorf("another start later connected to %s", got)
		}
		time.Sleep(3 * time.Hour)
		if got := v.connected(); got != "b" {
			t.Errorf("at last connected to %s", got)
		}
		v.end()
		if past, err := remembered(st, key.AMID()); err != nil || len(past.homes) != 1 || len(past.pins) != 2 {
			t.Errorf("remembered: %+v, %v", past, err)
		}
	})
}

func remembered(st store.Store, amid identity.AMID) (*relayBook, error) {
	b := &relayBook{store: st, amid: amid}
	return b, b.open()
}

// A relay says that it is going, with its last word: its home moves at once.
func TestHomeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"b": 20, "c": 50})
		s.all["a"] = &bureau{mem: store.NewMemory()}
		goodbye := make(chan struct{})
		s.all["a"].handler = farewell(goodbye)
		s.open("a", 10)
		v := s.tenant(freshKey(t), shortStay(2), nil, "a", "b", "c")
		time.Sleep(time.Minute)
		close(goodbye)
		time.Sleep(time.Second)
		if got := short(v.announced()); got != "bc" {
			t.Errorf("a second later the homes are %s", got)
		}
		v.end()
	})
}

// A home that says that it drains is left while it still works.
func TestHomeSaysThatItDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10, "b": 20, "c": 50})
		v := s.tenant(freshKey(t), shortStay(2), nil, "a", "b", "c")
		time.Sleep(time.Minute)
		if got := short(v.announced()); got != "ab" {
			t.Fatalf("the homes are %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = s.all["a"].server.Drain(ctx, time.Hour)
		}()
		time.Sleep(time.Second)
		if got := short(v.announced()); got != "bc" {
			t.Errorf("a second later the homes are %s", got)
		}
		cancel()
		<-over
		v.end()
	})
}

// farewell is a relay that lets everybody in and ends every connection with a word when
// it is told to, and at once from then on.
func farewell(goodbye chan struct{}) func(*relay.Server) http.Handler {
	challenge := base64.StdEncoding.EncodeToString(make([]byte, 32))
	return parrot(challenge, `["challenge","ack"]`, goodbye, nil)
}

// parrot is a relay that answers whoever sends a first frame, and counts these.
func parrot(challenge, extensions string, goodbye chan struct{}, frames *atomic.Int32) func(*relay.Server) http.Handler {
	return func(*relay.Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if challenge != "" {
				w.Header().Set("AgentMesh-Challenge", challenge)
			}
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = ws.CloseNow() }()
			if _, _, err := ws.Read(r.Context()); err != nil {
				return
			}
			if frames != nil {
				frames.Add(1)
			}
			hello := `{"type":"connected","session_id":"s","pending_messages":0,"extensions":` + extensions + `}`
			if err := ws.Write(r.Context(), websocket.MessageText, []byte(hello)); err != nil {
				return
			}
			ctx := ws.CloseRead(r.Context())
			select {
			case <-goodbye:
				_ = ws.Close(websocket.StatusGoingAway, "relay is draining")
			case <-ctx.Done():
			}
		})
	}
}

// T05: nothing that could be used elsewhere is signed for a relay that sets no challenge,
// unless the owner trusts it; and never for one that has set one before.
func TestRelayWithoutChallenge(t *testing.T) {
	for name, c := range map[string]struct {
		legacy, met bool
		state       string
		says        string
		frames      int32
	}{
		"a strange one":             {false, false, "refused", "relay.allow_legacy", 0},
		"a strange one that is let": {true, false, "connected", "", 1},
		"one that set challenges":   {false, true, "refused", "used challenges before", 0},
		"the same, with legacy let": {true, true, "refused", "used challenges before", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStreet(t, map[string]int{"a": 10})
				cfg, st := relaysConfig{key: freshKey(t), limits: shortStay(2), legacy: c.legacy}, store.NewMemory()
				if c.met {
					v := s.tenantWith(cfg, st, "a")
					time.Sleep(time.Minute)
					if got := v.status()[0]; got.Trust != "pinned" {
						t.Errorf("shown as %+v", got)
					}
					v.end()
				}
				var frames atomic.Int32
				s.shut("a")
				s.all["a"].handler = parrot("", `["ack"]`, nil, &frames)
				s.open("a", 10)
				v := s.tenantWith(cfg, st, "a")
				time.Sleep(time.Minute)
				got := v.status()[0]
				if got.State != c.state || !strings.Contains(got.Error, c.says) || (got.Trust == "legacy") != (c.state == "connected") {
					t.Errorf("shown as %+v", got)
				}
				if d := strings.Join(relayTrouble(got), ""); !strings.Contains(d, c.says) {
					t.Errorf("the owner is told %q", d)
				}
				if n := frames.Load(); n != c.frames {
					t.Errorf("it got %d frames", n)
				}
				v.end()
			})
		})
	}
}

// The owner takes a pin back by not naming the relay once.
func TestPinIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10, "b": 20})
		cfg, st := relaysConfig{key: freshKey(t), limits: shortStay(2), legacy: true}, store.NewMemory()
		for _, names := range []string{"ab", "b"} {
			v := s.tenantWith(cfg, st, strings.Split(names, "")...)
			time.Sleep(time.Minute)
			v.end()
			s.shut("a")
		}
		s.all["a"].handler = parrot("", `["ack"]`, nil, nil)
		s.open("a", 10)
		v := s.tenantWith(cfg, st, "b", "a")
		time.Sleep(time.Minute)
		if got := v.status()[1]; got.State != "connected" || got.Trust != "legacy" {
			t.Errorf("shown as %+v", got)
		}
		v.end()
	})
}

// Peers name as many relays as they like; what is remembered of them has a bound, and
// the owner's stay.
func TestPinsAreBounded(t *testing.T) {
	b := &relayBook{store: store.NewMemory(), amid: alice}
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	own, day := map[string]bool{"mine:1": true}, time.Unix(1_800_000_000, 0)
	if err := b.pin(t.Context(), []string{"mine:1", "first:1"}, own, day); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range pinsMost {
		ids = append(ids, fmt.Sprintf("theirs:%d", i+1))
	}
	if err := b.pin(t.Context(), ids, own, day.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	again, err := remembered(b.store, alice)
	if err != nil {
		t.Fatal(err)
	}
	pinned := again.pinned(own)
	if len(pinned) != pinsMost+1 || !pinned["mine:1"] || pinned["first:1"] || !pinned["theirs:7"] {
		t.Errorf("%d pins; mine %t, the oldest %t", len(pinned), pinned["mine:1"], pinned["first:1"])
	}
	if again.pinned(nil)["mine:1"] {
		t.Error("what the owner names no more is pinned")
	}
}

// A relay that comes and goes all the time is not announced all the time.
func TestFlappingRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10, "b": 20, "c": 50})
		v := s.tenant(freshKey(t), shortStay(2), nil, "a", "b", "c")
		time.Sleep(time.Minute)
		for range 30 {
			s.shut("a")
			time.Sleep(40 * time.Second)
			s.open("a", 10)
			time.Sleep(20 * time.Second)
		}
		if got := len(v.told()); got > 3 {
			t.Errorf("others were told %d times: %v", got, v.told())
		}
		if got := v.connected(); !strings.Contains(got, "b") || !strings.Contains(got, "c") {
			t.Errorf("connected to %s", got)
		}
		v.end()
	})
}

// Two URLs lead to one relay, and the owner named both: one line to it is enough.
func TestOwnRelayTwice(t *testing.T) {
	s := newStation(t)
	other := strings.Replace(s.url, "127.0.0.1", "localhost", 1)
	l := startLines(t, s.url, other)
	for !strings.HasPrefix(l.status()[1].Error, "the same") || !l.home(s.url).client.Connected() {
		l.wait()
	}
	status := l.status()
	if status[0].URL != s.url || status[0].State != "connected" || status[1].Error != "the same relay as "+s.url || status[1].State != "standby" {
		t.Errorf("status %+v", status)
	}
	if got := l.count(); got != 1 {
		t.Errorf("%d lines to one relay", got)
	}
}

// A relay dies for good while mail is under way through it; the other home of both
// carries on, and what was in the dead one comes by the living.
func TestRelayDiesUnderMail(t *testing.T) {
	dying, living := newStation(t), newStation(t)
	cfg := Config{Relays: []string{dying.url, living.url}, Bootstrap: []string{living.boot}}
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "accept")
	a.send(b, "0", api.SendRequest{Via: string(api.PathRelayed)})
	want := []string{"0"}
	var sent []api.Message
	for i := range 40 {
		want = append(want, fmt.Sprint(i+1))
		sent = append(sent, a.send(b, fmt.Sprint(i+1), api.SendRequest{Via: string(api.PathRelayed), Wait: api.StateAccepted}))
		if i == 20 {
			dying.end()
		}
	}
	for _, m := range sent {
		m, err := a.api.Message(t.Context(), "", m.ID, api.StateDelivered, 60*time.Second)
		if err != nil || m.State != api.StateDelivered {
			t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
		}
	}
	if diff := cmp.Diff(want, b.bodies()); diff != "" {
		t.Fatalf("inbox (-want +got)\n%s", diff)
	}
}

// A peer's only relay dies while it is off; it comes back at another one, and mail to it
// finds the way.
func TestPeerHearsOfAMove(t *testing.T) {
	old, next := newStation(t), newStation(t)
	a := startNode(t, Config{Relays: []string{old.url, next.url}, Bootstrap: []string{next.boot}})
	b := startNode(t, Config{Relays: []string{old.url}, Bootstrap: []string{next.boot}})
	b.set("strangers", "accept")
	a.send(b, "before", api.SendRequest{Via: string(api.PathRelayed)})
	b.end()
	old.end()
	b.cfg.Relays = []string{next.url}
	b.start()
	m := a.send(b, "after", api.SendRequest{Via: string(api.PathRelayed)})
	if m.State != api.StateDelivered || m.Where != "" && m.Where != next.url {
		t.Fatalf("%s at %s (%s)", m.State, m.Where, m.Reason)
	}
	if diff := cmp.Diff([]string{"before", "after"}, b.bodies()); diff != "" {
		t.Fatalf("inbox (-want +got)\n%s", diff)
	}
	s, err := b.api.Status(t.Context(), "")
	if err != nil || len(s.Relays) != 2 || s.Relays[0].URL != next.url || s.Relays[0].Role != "home" || s.Relays[1].Role != "leaving" {
		t.Errorf("status %+v, %v", s.Relays, err)
	}
	if d := strings.Join(s.Degraded, "; "); strings.Contains(d, "relay") {
		t.Errorf("a relay that is left is no trouble: %s", d)
	}
}

// A peer is homed on a relay that sets no challenge: our owner is told why nothing goes
// there.
func TestPeersRelayWithoutChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10})
		s.all["b"] = &bureau{mem: store.NewMemory(), handler: parrot("", `["ack"]`, nil, nil)}
		s.open("b", 10)
		v := s.tenant(freshKey(t), shortStay(2), nil, "a")
		time.Sleep(time.Second)
		v.choose([]string{office("b")})
		synctest.Wait()
		got := v.foreignTrouble()
		if len(got) != 1 || !strings.Contains(got[0], "a peer's relay "+office("b")) || !strings.Contains(got[0], "relay.allow_legacy") {
			t.Errorf("%q", got)
		}
		v.end()
	})
}

// What a relay promised to keep and gave up is told, by the name that the envelope has
// here.
func TestGivenUpEnvelopeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10})
		v := s.tenant(freshKey(t), shortStay(2), nil, "a")
		time.Sleep(time.Minute)
		data := []byte(relay.Magic + "to somebody who never comes")
		outcomes := make(chan agent.Outcome, 1)
		v.carry(agent.Envelope{From: v.amid, To: bob, ID: ratchet.EnvelopeID(data), Data: data}, nil, func(o agent.Outcome) { outcomes <- o })
		if o := <-outcomes; o.Err != nil || o.Promise.IsZero() {
			t.Fatalf("%+v", o)
		}
		time.Sleep(73 * time.Hour)
		synctest.Wait()
		v.mu.Lock()
		lost := v.lost
		v.mu.Unlock()
		if len(lost) != 1 || lost[0].To != bob {
			t.Fatalf("given up: %+v", lost)
		}
		if id, err := envelopeID(lost[0].Message); err != nil || id != ratchet.EnvelopeID(data) {
			t.Errorf("%v, %v", id, err)
		}
		v.end()
	})
}
