package agent

import (
	"testing"
	"time"

	"amesh/node/api"
)

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
	w.send(ann, bob, "2", api.StateAccepted)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		var using bool
		onClerk(t, ann, bob.AMID(), func(c *clerk) error { using = c.sender() != nil; return nil })
		if !using {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a session that nothing comes through is used for ever")
		}
	}
	if m := w.send(ann, bob, "3", api.StateDelivered); m.State != api.StateDelivered {
		t.Errorf("state %s (%s)", m.State, m.Reason)
	}
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	if refused < 2 || knocked != 1 {
		t.Errorf("%d messages were refused and %d knocks were made", refused, knocked)
	}
}
