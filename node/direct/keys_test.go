package direct

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/wire"
)

// told is what an inquire came back with.
type told struct {
	keys OneTimeKeys
	err  error
}

// inquire asks on a goroutine of its own, for at most limit.
func inquire(s *stream, of identity.AMID, limit time.Duration) <-chan told {
	c := make(chan told, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		keys, err := s.inquire(ctx, of)
		c <- told{keys, err}
	}()
	synctest.Wait()
	return c
}

// One question is on the wire at a time, also when the one who asked it gave up.
func TestQuestionsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), nil)
		f.greet()
		first, second := inquire(s, amid(1), time.Second), inquire(s, amid(2), time.Minute)
		third := inquire(s, amid(3), time.Second)
		if d := cmp.Diff(frame{kind: typeWanted, of: amid(1)}, f.hear(), diffFrame); d != "" {
			t.Fatalf("first question (-want +got):\n%s", d)
		}
		for _, c := range []<-chan told{first, third} {
			if got := <-c; !errors.Is(got.err, context.DeadlineExceeded) {
				t.Fatalf("no answer in a second: %+v", got)
			}
		}
		f.say(appendKeys(nil, amid(1), OneTimeKeys{X25519: twoKeys.X25519})) // too late for who asked
		if d := cmp.Diff(frame{kind: typeWanted, of: amid(2)}, f.hear(), diffFrame); d != "" {
			t.Fatalf("second question (-want +got):\n%s", d)
		}
		f.say(appendKeys(nil, amid(2), twoKeys))
		if d := cmp.Diff(told{keys: twoKeys}, <-second, cmp.AllowUnexported(told{})); d != "" {
			t.Errorf("answer (-want +got):\n%s", d)
		}
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.questions) != 0 || s.err != nil {
			t.Errorf("%d questions left, stream %v", len(s.questions), s.err)
		}
	})
}

func TestTooManyQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := DefaultLimits()
		limits.Questions = 2
		s, f := bubble(t, limits, nil)
		f.greet()
		inquire(s, amid(1), time.Minute)
		last := inquire(s, amid(2), time.Minute)
		if got := <-inquire(s, amid(3), time.Minute); !errors.Is(got.err, ErrBusy) {
			t.Errorf("third of two: %v, want ErrBusy", got.err)
		}
		f.conn.Close()
		if got := <-last; got.err == nil {
			t.Error("an answer from a stream that ended")
		}
		if got := <-inquire(s, amid(4), time.Minute); !errors.Is(got.err, ErrNotOpen) {
			t.Errorf("question on a dead stream: %v, want ErrNotOpen", got.err)
		}
	})
}

// A question is answered while the peer's envelopes go on coming in.
func TestAnswerKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := bubble(t, DefaultLimits(), nil)
		asked := make(chan identity.AMID, 1)
		f.keys = func(of identity.AMID) OneTimeKeys {
			asked <- of
			time.Sleep(2 * time.Second)
			return twoKeys
		}
		f.greet()
		began := time.Now()
		f.say(appendWanted(nil, amid(7)))
		if of := <-asked; of != amid(7) {
			t.Errorf("asked for %s", of)
		}
		f.say(appendEnvelope(nil, amid(1), amid(2), []byte("x")))
		synctest.Wait()
		if len(f.got) != 1 || time.Since(began) != 0 {
			t.Errorf("%d envelopes after %v", len(f.got), time.Since(began))
		}
		want := frame{kind: typeKeys, of: amid(7), keys: twoKeys}
		if d := cmp.Diff(want, f.hear(), diffFrame); d != "" {
			t.Errorf("answer (-want +got):\n%s", d)
		}
		f.keys = nil
		f.say(appendWanted(nil, amid(8)))
		if d := cmp.Diff(frame{kind: typeKeys, of: amid(8)}, f.hear(), diffFrame); d != "" {
			t.Errorf("next answer (-want +got):\n%s", d)
		}
	})
}

func TestKeysOutOfTurnEndTheStream(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *stream, f *far)
	}{
		{"keys that nobody asked for", func(_ *stream, f *far) { f.say(appendKeys(nil, amid(1), OneTimeKeys{})) }},
		{"keys twice", func(s *stream, f *far) {
			inquire(s, amid(1), time.Minute)
			f.hear()
			f.say(appendKeys(nil, amid(1), twoKeys))
			f.say(appendKeys(nil, amid(1), twoKeys))
		}},
		{"keys of another agent", func(s *stream, f *far) {
			inquire(s, amid(1), time.Minute)
			f.hear()
			f.say(appendKeys(nil, amid(2), twoKeys))
		}},
		{"a second question before the answer", func(_ *stream, f *far) {
			f.keys = func(identity.AMID) OneTimeKeys { time.Sleep(time.Second); return twoKeys }
			f.say(appendWanted(nil, amid(1)))
			f.say(appendWanted(nil, amid(1)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := bubble(t, DefaultLimits(), nil)
				f.greet()
				c.do(s, f)
				<-s.gone
				if err := s.cause(); !errors.Is(err, wire.ErrMalformed) {
					t.Errorf("cause %v, want malformed", err)
				}
				synctest.Wait()
			})
		})
	}
}

// Who asks is the peer id that libp2p verified, and the answer is for the agent named.
func TestKeysBetweenNodes(t *testing.T) {
	var asker atomic.Pointer[string]
	giver := func(_ context.Context, peerID string, of identity.AMID) OneTimeKeys {
		asker.Store(&peerID)
		if of != amid(5) {
			return OneTimeKeys{}
		}
		return twoKeys
	}
	a, b := newNode(t), newNode(t, func(_ *dht.HostConfig, c *Config) { c.Keys = giver })
	if _, err := a.Keys(budget(t), b.id(), amid(5)); !errors.Is(err, ErrNotOpen) {
		t.Errorf("before a dial: %v, want ErrNotOpen", err)
	}
	if _, err := a.Keys(budget(t), "nonsense", amid(5)); !errors.Is(err, ErrNotOpen) {
		t.Errorf("a peer id that is none: %v, want ErrNotOpen", err)
	}
	a.dial(b.target())
	got, err := a.Keys(budget(t), b.id(), amid(5))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(twoKeys, got); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	if who := asker.Load(); who == nil || *who != a.id() {
		t.Errorf("asked by %v, want %s", who, a.id())
	}
	b.expect(event{a.id(), true})
	for who, ask := range map[string]func() (OneTimeKeys, error){
		"an agent that is not there": func() (OneTimeKeys, error) { return a.Keys(budget(t), b.id(), amid(6)) },
		"a node that hands out none": func() (OneTimeKeys, error) { return b.Keys(budget(t), a.id(), amid(5)) },
	} {
		if got, err := ask(); err != nil || got.X25519 != nil || got.KEM != nil {
			t.Errorf("%s: %v, %v; want none", who, got, err)
		}
	}
}
