package agent

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"amesh/internal/store"
	"amesh/node/api"
)

// clock is a wall clock that a test moves.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// erase takes rows of some kinds from a person's disk, as a restored copy would lack
// them. The person must not be running.
func erase(t *testing.T, p *person, kinds ...byte) {
	t.Helper()
	err := p.mem.Update(t.Context(), func(tx store.Tx) error {
		var keys [][]byte
		for _, kind := range kinds {
			err := tx.Scan(p.Agent.key(kind), nil, func(k, _ []byte) bool {
				keys = append(keys, bytes.Clone(k))
				return true
			})
			if err != nil {
				return err
			}
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// resumeWorld is two friends, and a hold that is given up at once.
func resumeWorld(t *testing.T) (w *world, ann, bob *person, c *clock) {
	w, c = newWorld(t), &clock{}
	w.clock = c.now
	w.limits.HoldBefore = time.Millisecond
	ann, bob = w.person("ann", "ask"), w.person("bob", "accept")
	if m := w.send(ann, bob, "before", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	if _, err := bob.Ack(t.Context(), w.take(bob, 1)[0].ID, api.AckRequest{}); err != nil {
		t.Fatal(err)
	}
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	return w, ann, bob, c
}

// lose restarts a person whose sessions and prekeys are gone, but not its grants.
func lose(t *testing.T, w *world, p *person) {
	t.Helper()
	w.end(p)
	erase(t, p, rowSession, rowFlight, rowSealed, rowDue)
	w.start(p)
}

// T29, CP 31: a node that lost its sessions cannot open what its friend sends. It knocks
// with the ids of what it could not open, and everything arrives, once and in order.
func TestT29SessionLostAtTheReceiver(t *testing.T) {
	w, ann, bob, _ := resumeWorld(t)
	lose(t, w, bob)
	for i := range 5 {
		if m := w.send(ann, bob, fmt.Sprint("after ", i), api.StateDelivered); m.State != api.StateDelivered {
			t.Fatalf("message %d: %s (%s)", i, m.State, m.Reason)
		}
	}
	for i, m := range w.take(bob, 5) {
		if string(m.Body) != fmt.Sprint("after ", i) {
			t.Fatalf("%q at place %d", m.Body, i)
		}
		if _, err := bob.Ack(t.Context(), m.ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
		if end, err := ann.Message(t.Context(), m.ID, api.StateHandled, 10*time.Second); err != nil || end.State != api.StateHandled {
			t.Fatalf("state %s, %v", end.State, err)
		}
	}
	knocks, err := ann.Knocks()
	if err != nil {
		t.Fatal(err)
	}
	resumed := 0
	for _, k := range knocks {
		if k.Direction == "in" && k.Rule == "resume" && k.State == knockAccepted {
			resumed++
		}
	}
	if resumed != 1 {
		t.Fatalf("%d resume knocks were accepted: %+v", resumed, knocks)
	}
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		for _, s := range c.sess {
			if !s.Resume && (!s.Closed || !s.Void) {
				t.Errorf("an older session still sends: %+v", s.sessionMeta)
			}
		}
		return nil
	})
}

// T29: the same for who sends. It has lost what it had sealed, and its friend the answers.
func TestT29SessionLostAtTheSender(t *testing.T) {
	w, ann, bob, _ := resumeWorld(t)
	lose(t, w, ann)
	if m := w.send(ann, bob, "from ann", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	if m := w.send(bob, ann, "from bob", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	if got := w.take(bob, 1)[0]; string(got.Body) != "from ann" {
		t.Fatalf("bob got %q", got.Body)
	}
	if got := w.take(ann, 1)[0]; string(got.Body) != "from bob" {
		t.Fatalf("ann got %q", got.Body)
	}
}

// T30: a friend that resumes again and again is let in once an hour and five times a
// day; the others of its knocks are refused for now and end nothing.
func TestT30ResumeIsLimited(t *testing.T) {
	w, ann, bob, at := resumeWorld(t)
	w.limits.ResumeEvery = 0 // bob's node does not hold back
	accepted := func() (n int) {
		onClerk(t, ann, bob.AMID(), func(c *clerk) error {
			n = len(c.lost.row.Taken)
			return nil
		})
		return n
	}
	for hour := range 7 {
		lose(t, w, bob)
		m := w.send(ann, bob, fmt.Sprint("hour ", hour), api.StateRelayed)
		want := min(hour+1, 5)
		if hour < 5 {
			if end, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || end.State != api.StateDelivered {
				t.Fatalf("hour %d: %s (%s), %v", hour, end.State, end.Reason, err)
			}
		} else {
			until(t, ann, "a resume knock is refused for now", func() bool {
				knocks, err := ann.Knocks()
				return err == nil && len(knocks) > 0 && knocks[0].Rule == "resume: too often"
			})
		}
		if n := accepted(); n != want {
			t.Fatalf("hour %d: %d resume knocks accepted, want %d", hour, n, want)
		}
		quiet(t, bob, ann.AMID())
		at.move(time.Hour + time.Second)
		if hour == 4 {
			at.move(-time.Hour) // the sixth and seventh come within the same day, and within the hour
		}
	}
}

// T29, T30: ids that ann never sealed, or that are confirmed, resume nothing.
func TestT30ResumeNeedsAnEnvelopeOfOurs(t *testing.T) {
	w, ann, bob, _ := resumeWorld(t)
	w.send(ann, bob, "confirmed", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		c.lose([16]byte{1, 2, 3})
		return nil
	})
	until(t, ann, "the knock was answered", func() bool {
		knocks, err := ann.Knocks()
		return err == nil && len(knocks) == 2
	})
	knocks, _ := ann.Knocks()
	if knocks[0].Rule == "resume" {
		t.Fatalf("a made-up id resumed: %+v", knocks[0])
	}
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		for _, s := range c.sess {
			if s.Void {
				t.Errorf("a session is void: %+v", s.sessionMeta)
			}
		}
		return nil
	})
}
