package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"amesh/node/api"
)

// A peer that will have us no more says so to the knock, and the mail that was sealed in
// vain ends then, not days later.
func TestMailEndsWhereKnocksAreRefused(t *testing.T) {
	w := newWorld(t)
	w.limits.StrangeFor = time.Millisecond
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	bob.rule(t, "rejected_intents", "*")
	w.sb.mu.Lock()
	w.sb.refuse = func(e Envelope) error {
		if e.To == bob.AMID() && !e.Knock {
			return &Refusal{Code: "not_allowed"}
		}
		return nil
	}
	w.sb.mu.Unlock()
	m := w.send(ann, bob, "2", api.StateDelivered)
	if m.State != api.StateRefused || m.Reason != api.ReasonRejected {
		t.Errorf("state %s (%s), want refused (rejected)", m.State, m.Reason)
	}
}

// Without anything to say nobody is bothered with a knock.
func TestNoKnockWithoutAMessage(t *testing.T) {
	w := newWorld(t)
	w.limits.StrangeFor = time.Millisecond
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	var refused, knocked atomic.Int64
	w.sb.mu.Lock()
	w.sb.refuse = func(e Envelope) error {
		switch {
		case e.To != bob.AMID():
			return nil
		case e.Knock:
			knocked.Add(1)
			return nil
		}
		refused.Add(1)
		return &Refusal{Code: "not_allowed"}
	}
	w.sb.mu.Unlock()
	w.sb.moved.Store(true)
	ann.PlacesChanged()
	until(t, ann, "the session is given up", func() bool {
		var using bool
		onClerk(t, ann, bob.AMID(), func(c *clerk) error { using = c.sender() != nil; return nil })
		return !using
	})
	if refused.Load() == 0 || knocked.Load() > 0 {
		t.Errorf("%d were refused, %d knocks", refused.Load(), knocked.Load())
	}
}

// A peer that took our grant back, and whose word about that was lost, is asked again
// with a knock when its relay took nothing else from us for long.
func TestKnockAgainWhereOnlyKnocksAreTaken(t *testing.T) {
	w := newWorld(t)
	w.limits.StrangeFor = time.Millisecond
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	refused, knocked := 0, 0
	w.sb.mu.Lock()
	w.sb.refuse = func(e Envelope) error {
		switch {
		case e.To != bob.AMID() || knocked > 0:
		case e.Knock:
			knocked++ // and bob tells his relay that he knows ann
		default:
			refused++
			return &Refusal{Code: "not_allowed"}
		}
		return nil
	}
	w.sb.mu.Unlock()
	// What was sealed in vain goes by the new session.
	if m := w.send(ann, bob, "2", api.StateDelivered); m.State != api.StateDelivered {
		t.Errorf("state %s (%s)", m.State, m.Reason)
	}
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	if refused < 2 || knocked != 1 {
		t.Errorf("%d messages were refused and %d knocks were made", refused, knocked)
	}
}
