package agent

import (
	"sync"
	"testing"
	"time"

	"amesh/node/api"
	"amesh/ratchet"
)

// A relay says that it gave up what it had promised to keep: the message says so and goes
// again, and the peer's receipt ends it as ever.
func TestRelayGaveUp(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	var mu sync.Mutex
	var kept []ratchet.ID
	w.sb.only(func(e Envelope) bool {
		mu.Lock()
		defer mu.Unlock()
		if e.To == bob.AMID() {
			kept = append(kept, e.ID)
		}
		return e.To != bob.AMID()
	})
	m := w.send(ann, bob, "2", api.StateRelayed)
	mu.Lock()
	id := kept[len(kept)-1]
	mu.Unlock()
	gaveUp := func(id ratchet.ID) {
		t.Helper()
		done := make(chan struct{})
		ann.GaveUp(bob.AMID(), id, "the relay", "expired", func() { close(done) })
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the notice is not taken")
		}
	}
	gaveUp(ratchet.ID{1}) // nothing of ours
	if now, err := ann.Message(t.Context(), m.ID, "", 0); err != nil || now.State != api.StateRelayed {
		t.Errorf("%s (%s), %v", now.State, now.Reason, err)
	}
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		c.paused = c.a.Uptime() + time.Hour // so that it can be looked at before it goes again
		return nil
	})
	gaveUp(id)
	now, err := ann.Message(t.Context(), m.ID, "", 0)
	if err != nil || now.State != api.StateAccepted || now.Reason != api.ReasonGivenUp || now.Where != "this node" {
		t.Errorf("%s (%s) at %s, %v", now.State, now.Reason, now.Where, err)
	}
	gaveUp(id) // again
	w.sb.only(func(Envelope) bool { return true })
	ann.Kick()
	now, err = ann.Message(t.Context(), m.ID, api.StateDelivered, 20*time.Second)
	if err != nil || now.State != api.StateDelivered || now.Reason != "" {
		t.Errorf("%s (%s), %v", now.State, now.Reason, err)
	}
}
