package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/ratchet"
)

func offer(n byte) *content.ICEOffer {
	return &content.ICEOffer{Attempt: content.Attempt{n}, ICEDescription: iceDescription()}
}

func answer(n byte) *content.ICEAnswer {
	return &content.ICEAnswer{Attempt: content.Attempt{n}, ICEDescription: iceDescription()}
}

func iceDescription() content.ICEDescription {
	return content.ICEDescription{PeerID: "12D3", Ufrag: "abcd", Password: strings.Repeat("p", 22), Candidates: []string{"1 1 udp 1 192.0.2.1 1 typ host"}}
}

// heard are the attempts that a person's carrier was told of.
func (w *world) heard(p *person) []byte {
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	var list []byte
	for _, s := range w.sb.signals[p.AMID()] {
		list = append(list, s.Of()[0])
	}
	return list
}

func (w *world) wanted(p *person) int {
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	return w.sb.wanted[p.AMID()]
}

func (w *world) says(from, to *person, s content.Signal) {
	w.t.Helper()
	if err := from.Signal(w.t.Context(), to.AMID(), s); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func TestOffersAndAnswersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		arrives(t, w, ann, bob, "hello")
		w.says(ann, bob, offer(1))
		w.says(bob, ann, answer(1))
		w.says(bob, ann, answer(1)) // an attempt has one answer
		w.says(bob, ann, answer(2)) // nobody offered that
		w.says(ann, bob, offer(3))
		time.Sleep(31 * time.Second)
		w.says(bob, ann, answer(3)) // nobody waits for it any more
		if got := w.heard(bob); !slices.Equal(got, []byte{1, 3}) {
			t.Errorf("bob heard offers %v", got)
		}
		if got := w.heard(ann); !slices.Equal(got, []byte{1}) {
			t.Errorf("ann heard answers %v", got)
		}
		w.sb.mu.Lock()
		defer w.sb.mu.Unlock()
		got, ok := w.sb.signals[bob.AMID()][0].(*content.ICEOffer)
		if !ok || got.PeerID != "12D3" || time.Since(got.Stamp) > time.Minute || len(got.Candidates) != 1 {
			t.Errorf("bob heard %+v", got)
		}
	})
}

// An offer that waited at a relay is of no use; nor is one from a clock far ahead.
func TestOldOffersAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		arrives(t, w, ann, bob, "hello")
		w.sb.unplug(bob.Agent)
		w.says(ann, bob, offer(1))
		time.Sleep(25 * time.Second)
		w.says(ann, bob, offer(2))
		time.Sleep(10 * time.Second)
		w.sb.plug(bob.Agent)
		synctest.Wait()
		if got := w.heard(bob); !slices.Equal(got, []byte{2}) {
			t.Errorf("bob heard offers %v, want the one of ten seconds ago", got)
		}
	})
}

// What is said for the moment is not kept for later: after half a minute it is not sent
// any more, and the disk knows nothing of it.
func TestNothingForTheMomentIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.limits.ResendFirst, w.limits.ResendMost = 5*time.Second, 5*time.Second
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		arrives(t, w, ann, bob, "hello")
		time.Sleep(time.Minute)
		w.sb.unplug(bob.Agent)
		w.says(ann, bob, offer(1))
		go func() { _, _, _ = ann.Echo(t.Context(), bob.AMID(), "") }()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := flightsOfClass(t, ann, flightMoment); n != 2 {
			t.Fatalf("%d envelopes for the moment are under way, want 2", n)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := flightsOfClass(t, ann, flightMoment); n != 0 {
			t.Errorf("%d envelopes for the moment are kept after theirs was over", n)
		}
		w.sb.mu.Lock()
		n := len(w.sb.wire)
		w.sb.mu.Unlock()
		time.Sleep(time.Hour)
		w.sb.mu.Lock()
		defer w.sb.mu.Unlock()
		if more := len(w.sb.wire) - n; more > 0 {
			t.Errorf("%d envelopes were sent after their moment", more)
		}
	})
}

func flightsOfClass(t *testing.T, p *person, class flightClass) (n int) {
	t.Helper()
	err := p.mem.View(func(r store.Reader) error {
		return scanJSON(r, p.Agent.key(rowFlight), nil, func(_ []byte, row flightRow) bool {
			if row.Class == class {
				n++
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Offers and echoes leave half of the window to what must be said, and their number in a
// minute is bounded, on both sides.
func TestMomentsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.limits.SignalsPerMinute, w.limits.Window = 3, 10
		ann := w.person("ann", "ask")
		w.limits.SignalsPerMinute = 2
		bob := w.person("bob", "accept")
		arrives(t, w, ann, bob, "hello")
		time.Sleep(time.Minute)
		for n := range byte(3) {
			w.says(ann, bob, offer(n))
		}
		if err := ann.Signal(t.Context(), bob.AMID(), offer(9)); !errors.Is(err, ErrTooOften) {
			t.Errorf("a fourth offer: %v", err)
		}
		if got := w.heard(bob); !slices.Equal(got, []byte{0, 1}) {
			t.Errorf("bob heard offers %v, want two", got)
		}
		w.sb.unplug(bob.Agent)
		for n := range byte(5) {
			time.Sleep(time.Minute)
			w.says(ann, bob, offer(n))
		}
		time.Sleep(time.Minute)
		if err := ann.Signal(t.Context(), bob.AMID(), offer(9)); !errors.Is(err, ErrTooOften) {
			t.Errorf("an offer beyond half of the window: %v", err)
		}
		w.sb.plug(bob.Agent)
		time.Sleep(time.Hour) // what turns the chain is confirmed
		w.says(ann, bob, offer(10))
		if got := w.heard(bob); got[len(got)-1] != 10 {
			t.Errorf("bob heard offers %v", got)
		}
	})
}

// T66: before the owner said yes nothing leaves but the knock and its answer, in neither
// direction, whatever the carrier asks for; and nothing of a stranger is heard.
func TestNothingWithAnAddressBeforeAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sb.places = &Places{PeerIDs: []string{"12D3secret"}, Addresses: []string{"/ip4/192.0.2.77/udp/1/quic-v1"}, Relays: []string{"ws://r/v1/connect"}}
		left := w.leave()
		ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
		w.send(ann, bob, "please", api.StateAccepted)
		id := waitForKnock(t, bob)
		synctest.Wait()
		for _, x := range []struct{ from, to *person }{{ann, bob}, {bob, ann}} {
			if err := x.from.Signal(t.Context(), x.to.AMID(), offer(1)); !errors.Is(err, ErrNoSession) {
				t.Errorf("%s offers: %v, want ErrNoSession", x.from.name, err)
			}
			if _, _, err := x.from.Echo(t.Context(), x.to.AMID(), ""); !errors.Is(err, ErrNoSession) {
				t.Errorf("%s asks for an echo: %v, want ErrNoSession", x.from.name, err)
			}
			x.from.PlacesChanged()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := left(); n != 2 {
			t.Errorf("%d envelopes left before the accept, want the knock and its answer", n)
		}
		if w.wanted(ann)+w.wanted(bob) > 0 {
			t.Error("a direct path was wanted before the accept")
		}
		if _, err := bob.Decide(t.Context(), id, true, api.DecideRequest{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.says(ann, bob, offer(1))
		if got := w.heard(bob); !slices.Equal(got, []byte{1}) {
			t.Errorf("after the accept bob heard %v", got)
		}
	})
}

// A stranger who was not let in yet offers and asks for echoes all the same: his session
// exists, but nothing in it counts (T37, T66).
func TestUnacceptedSignalsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		left := w.leave()
		ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
		w.send(ann, bob, "please", api.StateAccepted)
		waitForKnock(t, bob)
		synctest.Wait()
		for _, ct := range []content.Content{stamped(offer(1), time.Now().Truncate(time.Millisecond)), &content.Echo{}} {
			sealAnyway(t, ann, bob, ct)
		}
		time.Sleep(time.Second)
		if n := left(); n != 4 {
			t.Errorf("%d envelopes passed, want the knock, its answer and the stranger's two", n)
		}
		if got := w.heard(bob); len(got) > 0 {
			t.Errorf("bob heard %v of a stranger", got)
		}
	})
}

// leave counts the different envelopes that leave anybody from now on.
func (w *world) leave() (count func() int) {
	left := make(map[ratchet.ID]bool)
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	w.sb.meddle = func(e Envelope) int {
		left[e.ID] = true
		return 1
	}
	return func() int {
		w.sb.mu.Lock()
		defer w.sb.mu.Unlock()
		return len(left)
	}
}

// sealAnyway seals a content on the only session with a peer, whatever its state, as a
// node would that keeps to no rules.
func sealAnyway(t *testing.T, from, to *person, ct content.Content) {
	t.Helper()
	_, err := ask(t.Context(), from.Agent, to.AMID(), func(c *clerk) (bool, error) {
		b := c.begin()
		if _, err := b.seal(c.sess[0], flightMoment, ct); err != nil {
			return false, err
		}
		return true, c.commit(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		if _, _, err := ann.Echo(t.Context(), bob.AMID(), ""); !errors.Is(err, ErrNoSession) || !strings.Contains(err.Error(), "send a message first") {
			t.Errorf("without a session: %v", err)
		}
		arrives(t, w, ann, bob, "hello")
		if _, path, err := ann.Echo(t.Context(), bob.AMID(), api.PathDirect); !errors.Is(err, ErrNoPath) {
			t.Errorf("directly, without such a path: %s, %v", path, err)
		}
		if _, path, err := ann.Echo(t.Context(), bob.AMID(), ""); err != nil || path != api.PathRelayed {
			t.Errorf("by the best path: %s, %v", path, err)
		}
		w.sb.direct.Store(true)
		for _, via := range []api.PathKind{api.PathDirect, api.PathPunched, api.PathOpen} {
			if _, path, err := bob.Echo(t.Context(), ann.AMID(), via); err != nil || path != api.PathDirect {
				t.Errorf("%s: %s, %v", via, path, err)
			}
		}
		if _, path, err := ann.Echo(t.Context(), bob.AMID(), api.PathRelayed); err != nil || path != api.PathRelayed {
			t.Errorf("by relay: %s, %v", path, err)
		}
		w.sb.delay.Store(int64(40 * time.Millisecond))
		if rtt, _, err := ann.Echo(t.Context(), bob.AMID(), ""); err != nil || rtt != 80*time.Millisecond {
			t.Errorf("over a line of 40 ms each way: %s, %v", rtt, err)
		}
		w.sb.unplug(bob.Agent)
		if _, _, err := ann.Echo(t.Context(), bob.AMID(), ""); !errors.Is(err, ErrNoReply) {
			t.Errorf("nobody there: %v", err)
		}
	})
}

// Who asks for more echoes than may be gets no more; a repeated one is not answered twice.
func TestEchoesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.limits.EchoesPerMinute = 5
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		arrives(t, w, ann, bob, "hello")
		time.Sleep(time.Minute)
		w.sb.mu.Lock()
		w.sb.meddle = func(Envelope) int { return 3 }
		w.sb.mu.Unlock()
		replies := func() int {
			n, err := ask(t.Context(), bob.Agent, ann.AMID(), func(c *clerk) (int, error) { return len(c.gotEchoes.at), nil })
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for range 5 {
			if _, _, err := ann.Echo(t.Context(), bob.AMID(), ""); err != nil {
				t.Fatal(err)
			}
		}
		if n := replies(); n != 5 {
			t.Errorf("five echoes, each thrice, were answered %d times", n)
		}
		if _, _, err := ann.Echo(t.Context(), bob.AMID(), ""); !errors.Is(err, ErrTooOften) {
			t.Errorf("a sixth echo: %v", err)
		}
		sealAnyway(t, ann, bob, &content.Echo{Nonce: content.Nonce{1}})
		if n := replies(); n != 5 {
			t.Errorf("the sixth echo of a peer that does not count was answered")
		}
	})
}

func TestGivesWay(t *testing.T) {
	low, high := identity.AMID{1}, identity.AMID{0xFF}
	if !GivesWay(low, high) || GivesWay(high, low) {
		t.Error("the lower AMID gives way, and only that")
	}
}

// A conversation is worth a direct path at once; question and answer are not, a second
// question within ten minutes is.
func TestWhenADirectPathIsWanted(t *testing.T) {
	for _, c := range []struct {
		name  string
		typ   string
		say   []time.Duration // after these pauses, each with an answer
		off   bool
		wants bool
	}{
		{"a conversation", "conversation", []time.Duration{0}, false, true},
		{"a stream", "stream", []time.Duration{0}, false, true},
		{"one question", "request_response", []time.Duration{0}, false, false},
		{"two questions", "request_response", []time.Duration{0, 9 * time.Minute}, false, true},
		{"two questions, far apart", "request_response", []time.Duration{0, 11 * time.Minute}, false, false},
		{"switched off", "conversation", []time.Duration{0, 0}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if c.off {
					w.limits.DirectWindow = 0
				}
				ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
				for _, pause := range c.say {
					time.Sleep(pause)
					exchange(t, w, ann, bob, c.typ)
				}
				for _, p := range []*person{ann, bob} {
					if got := w.wanted(p) > 0; got != c.wants {
						t.Errorf("%s's carrier was told so %d times, want it %t", p.name, w.wanted(p), c.wants)
					}
				}
			})
		})
	}
}

// exchange sends a message and, where the type lets, an answer in the same session.
func exchange(t *testing.T, w *world, ann, bob *person, typ string) {
	t.Helper()
	_, err := ann.Send(t.Context(), api.SendRequest{
		To: bob.AMID().String(), Body: []byte("question"), Type: typ, Wait: api.StateDelivered, TimeoutMS: 10_000,
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	handle(t, w, bob, 1)
	if typ != "stream" {
		w.send(bob, ann, "answer", api.StateDelivered)
		handle(t, w, ann, 1)
	}
	synctest.Wait()
}
