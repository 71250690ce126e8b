package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
)

// putBack stops a person and gives it the state of an earlier copy.
func putBack(t *testing.T, w *world, p *person, copied *store.Memory) {
	t.Helper()
	w.end(p)
	p.mem = copied
	w.start(p)
}

// copyOf is what a backup program would have copied of a person's state. The person
// must not be running.
func copyOf(t *testing.T, p *person) *store.Memory {
	t.Helper()
	m := store.NewMemory()
	err := m.Update(t.Context(), func(tx store.Tx) error {
		return p.mem.View(func(r store.Reader) error {
			return r.Scan(nil, nil, func(k, v []byte) bool { return tx.Set(k, v) == nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// T31, CP 28, mark (a): a state that is put back is noticed at the next start. No
// session of before seals again, and what was under way arrives, with the same ids.
func TestT31StateThatIsPutBackIsNoticed(t *testing.T) {
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
			w.send(ann, bob, "first", api.StateDelivered)
			w.send(bob, ann, "first", api.StateDelivered)
			victim, other := ann, bob
			if who == "receiver" {
				victim, other = bob, ann
			}
			w.end(victim)
			copied := copyOf(t, victim)
			w.start(victim)
			var ids []string
			for i := range 3 {
				ids = append(ids, w.send(ann, bob, fmt.Sprint("lost ", i), api.StateDelivered).ID)
			}
			quiet(t, ann, bob.AMID())
			old := make(map[string]bool)
			for peer, p := range map[identity.AMID]*person{other.AMID(): victim} {
				onClerk(t, p, peer, func(c *clerk) error {
					for _, s := range c.sess {
						old[s.Sid] = true
					}
					return nil
				})
			}
			putBack(t, w, victim, copied)
			if victim.Epoch() != 2 || other.Epoch() != 1 {
				t.Fatalf("epochs %d and %d", victim.Epoch(), other.Epoch())
			}
			sealed := sealedBytes(t, victim, other.AMID())
			m := w.send(ann, bob, "after", api.StateDelivered)
			if m.State != api.StateDelivered {
				t.Fatalf("state %s (%s)", m.State, m.Reason)
			}
			if back := w.send(bob, ann, "back", api.StateDelivered); back.State != api.StateDelivered {
				t.Fatalf("state %s (%s)", back.State, back.Reason)
			}
			onClerk(t, victim, other.AMID(), func(c *clerk) error {
				for _, s := range c.sess {
					if old[s.Sid] && (s.r.Sent() != sealed[s.Sid] || !s.Closed || !s.Void) {
						t.Errorf("session %s of before seals again: %d envelopes, then %d", s.Sid, sealed[s.Sid], s.r.Sent())
					}
				}
				return nil
			})
			_ = ids
		})
	}
}

// T31: also one that has nothing to say brings its peer the receipts it owes.
func TestT31PutBackReceiverStillAnswers(t *testing.T) {
	w := newWorld(t)
	w.limits.HoldBefore = time.Millisecond
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	w.send(ann, bob, "first", api.StateDelivered)
	quiet(t, bob, ann.AMID())
	quiet(t, ann, bob.AMID())
	w.end(bob)
	copied := copyOf(t, bob)
	w.start(bob)
	w.send(ann, bob, "forgotten", api.StateDelivered)
	putBack(t, w, bob, copied)
	if m := w.send(ann, bob, "second", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	if bob.Epoch() != 2 {
		t.Fatalf("epoch %d", bob.Epoch())
	}
	for i, want := range []string{"first", "forgotten", "second"} {
		got := w.take(bob, 1)[0]
		if string(got.Body) != want {
			t.Fatalf("%q at place %d", got.Body, i)
		}
		if _, err := bob.Ack(t.Context(), got.ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

// sealedBytes says how much each session has sealed in its chain.
func sealedBytes(t *testing.T, p *person, peer identity.AMID) map[string]uint32 {
	t.Helper()
	sent := make(map[string]uint32)
	onClerk(t, p, peer, func(c *clerk) error {
		for _, s := range c.sess {
			sent[s.Sid] = s.r.Sent()
		}
		return nil
	})
	return sent
}

// A crash, however often, is not taken for a state that was put back.
func TestMarkOfACrashIsNoRollback(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	for i := range 5 {
		w.send(ann, bob, fmt.Sprint(i), api.StateDelivered)
		restart(t, w, ann)
		restart(t, w, bob)
	}
	if ann.Epoch() != 1 || bob.Epoch() != 1 {
		t.Fatalf("epochs %d and %d after crashes", ann.Epoch(), bob.Epoch())
	}
}

// What the start makes of a store and a mark (session.md §8.7).
func TestRolledBack(t *testing.T) {
	at := func(epoch uint32, reserved uint64) *identity.RollbackMark {
		return &identity.RollbackMark{Epoch: epoch, Reserved: reserved}
	}
	for name, c := range map[string]struct {
		h    history
		m    *identity.RollbackMark
		want bool
	}{
		"new":                              {history{epoch: 1}, nil, false},
		"before there were marks":          {history{epoch: 1, used: true}, nil, true},
		"mark lost":                        {history{epoch: 1, used: true, counted: true, sealed: 7}, nil, true},
		"restored from a backup":           {history{epoch: 9}, nil, false},
		"in order":                         {history{epoch: 1, used: true, counted: true, sealed: 7}, at(1, 7+markAhead), false},
		"as far ahead as a crash leaves":   {history{epoch: 1, used: true, counted: true, sealed: 7}, at(1, 7+markJudged), false},
		"one further":                      {history{epoch: 1, used: true, counted: true, sealed: 7}, at(1, 8+markJudged), true},
		"of a higher epoch":                {history{epoch: 1, used: true, counted: true, sealed: 7}, at(2, 3), true},
		"of a lower epoch":                 {history{epoch: 3, used: true, counted: true, sealed: 7}, at(2, 3), false},
		"state gone, mark there":           {history{epoch: 1}, at(1, markJudged+1), true},
		"sealed under another state's key": {history{epoch: 1, used: true, counted: true, sealed: 7, strange: true}, at(1, 10), true},
	} {
		if got := rolledBack(c.h, c.m); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Nothing is sealed that the mark does not reserve: where it cannot be written, messages
// wait, and go on when it can.
func TestMarkComesBeforeTheEnvelope(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	w.send(ann, bob, "first", api.StateDelivered)
	ann.Agent.mark.mu.Lock()
	ann.Agent.mark.sealed = ann.Agent.mark.reserved
	ann.mark.fail = fmt.Errorf("%w: of the test", store.ErrNoSpace)
	ann.Agent.mark.mu.Unlock()
	m, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Body: []byte("waits"), Wait: api.StateRelayed, TimeoutMS: 300}, "")
	if err != nil || m.State != api.StateAccepted {
		t.Fatalf("state %s, %v: sealed without a mark", m.State, err)
	}
	ann.Agent.mark.mu.Lock()
	ann.mark.fail = nil
	ann.Agent.mark.mu.Unlock()
	if m, err = ann.Message(t.Context(), m.ID, api.StateDelivered, 10_000_000_000); err != nil || m.State != api.StateDelivered {
		t.Fatalf("state %s, %v", m.State, err)
	}
	mark, err := identity.ParseMark(ann.mark.raw, ann.key.Public(), "")
	if err != nil || errors.Is(err, identity.ErrSignature) {
		t.Fatal(err)
	}
	if h, err := ann.history(); err != nil || h.sealed > mark.Reserved {
		t.Fatalf("%d sealed, %d reserved, %v", h.sealed, mark.Reserved, err)
	}
}
