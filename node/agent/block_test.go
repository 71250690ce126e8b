package agent

import (
	"testing"
	"time"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// change changes a person's policy under way, as the node does.
func (p *person) change(t *testing.T, key, value string) {
	t.Helper()
	p.rule(t, key, value)
	p.PolicyChanged()
}

// judged waits until the policy in force was applied to what is under way with a peer.
func judged(t *testing.T, p, peer *person) {
	t.Helper()
	until(t, p, "the policy applied", func() bool {
		done := false
		onClerk(t, p, peer.AMID(), func(c *clerk) error {
			done = c.judged == p.rulings.Load()
			return nil
		})
		return done
	})
}

func stateOf(t *testing.T, p *person, m api.Message) (api.State, string) {
	t.Helper()
	m, err := p.Message(t.Context(), m.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return m.State, m.Reason
}

// T36: a block closes the live sessions, ends what is on its way to the peer, forgets the
// grants, and nothing goes to the peer any more but the close.
func TestBlockEndsWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	w.send(ann, bob, "from ann", api.StateDelivered)
	there := w.send(bob, ann, "ann has it", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	w.sb.only(func(e Envelope) bool { return e.From != bob.AMID() })
	underWay := w.send(bob, ann, "under way", api.StateAccepted)
	until(t, bob, "sealed", func() bool { return count(t, bob, rowFlight) == 1 })
	var toAnn []Envelope
	w.sb.only(func(e Envelope) bool {
		if e.To == ann.AMID() {
			toAnn = append(toAnn, e)
		}
		return true
	})
	known := make(map[string]bool) // what left before may be repeated until the block is judged
	w.sb.mu.Lock()
	for _, data := range w.sb.wire {
		known[string(data)] = true
	}
	w.sb.mu.Unlock()
	bob.change(t, "block", ann.AMID().String())
	until(t, bob, "the row ended", func() bool { s, _ := stateOf(t, bob, underWay); return s.Terminal() })
	if state, reason := stateOf(t, bob, underWay); state != api.StateRefused || reason != api.ReasonBlocked {
		t.Errorf("under way: %s (%s)", state, reason)
	}
	if state, _ := stateOf(t, bob, there); state != api.StateDelivered {
		t.Errorf("what ann has is %s", state)
	}
	for _, p := range [][2]*person{{bob, ann}, {ann, bob}} {
		until(t, p[0], "sessions closed", func() bool {
			list := sessionsOf(t, p[0], p[1])
			return closedFor(list, content.ClosePolicy) == len(list)
		})
	}
	if n := count(t, bob, rowGrant) + count(t, bob, rowReturn); n != 0 {
		t.Errorf("%d grants are left", n)
	}
	if p, err := bob.peerView(ann.AMID()); err != nil || !p.Blocked || p.Granted || p.Session != "none" {
		t.Errorf("bob sees ann as %+v, %v", p, err)
	}

	// Afterwards: neither a receipt nor a new message leaves.
	if _, err := bob.Ack(t.Context(), w.take(bob, 1)[0].ID, api.AckRequest{}); err != nil {
		t.Fatal(err)
	}
	later := w.send(bob, ann, "too late", api.StateDelivered)
	if later.State != api.StateRefused || later.Reason != api.ReasonBlocked {
		t.Errorf("sent to a blocked peer: %s (%s)", later.State, later.Reason)
	}
	judged(t, bob, ann)
	until(t, bob, "the close handed over", func() bool { return count(t, bob, rowFlight) == 0 })
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	kinds := make(map[string]bool)
	for _, e := range toAnn {
		if !known[string(e.Data)] {
			kinds[string(e.Data)] = true
		}
	}
	if len(kinds) != 1 {
		t.Errorf("%d different envelopes left for a blocked peer, want the close", len(kinds))
	}
}

// T36: what waits to be opened is dropped unopened, and so is what comes later; the
// blocked peer's knocks are not answered.
func TestBlockDropsUnopened(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	var caught []Envelope
	w.sb.only(func(e Envelope) bool {
		if e.To == bob.AMID() {
			caught = append(caught, e)
		}
		return e.To != bob.AMID()
	})
	w.send(ann, bob, "2", api.StateAccepted)
	until(t, ann, "the envelope", func() bool { w.sb.mu.Lock(); defer w.sb.mu.Unlock(); return len(caught) > 0 })
	w.sb.mu.Lock()
	queued := caught[0].Data
	w.sb.mu.Unlock()
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		c.hold.add(c.a.Uptime(), arrival{Incoming: Incoming{Data: noise(300), Ack: func() {}}}, false, c.a.Limits)
		return nil
	})
	opened := count(t, bob, rowOpened)

	// The clerk is busy while mail comes, and the block with it.
	c := bob.clerk(ann.AMID())
	gate, in, acked := make(chan struct{}), make(chan struct{}), make(chan struct{})
	c.do(func() error { close(in); <-gate; return nil })
	<-in
	bob.Receive(Incoming{From: ann.AMID(), Data: queued, Path: api.PathRelayed, Ack: func() { close(acked) }})
	bob.change(t, "block", ann.AMID().String())
	close(gate)
	<-acked
	judged(t, bob, ann)
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		if len(c.hold.list) != 0 || c.hold.bytes != 0 {
			t.Errorf("%d envelopes are held", len(c.hold.list))
		}
		return nil
	})
	receiveAndWait(bob, ann.AMID(), queued)
	until(t, bob, "the close handed over", func() bool { return count(t, bob, rowFlight) == 0 })
	filled(t, bob) // or the one-time keys would come in between
	before := bob.mem.Hash()
	receiveAndWait(bob, ann.AMID(), handKnock(t, w, ann.key, bob))
	if bob.mem.Hash() != before {
		t.Error("a knock of a blocked peer changed the store")
	}
	if n := count(t, bob, rowOpened); n != opened {
		t.Errorf("%d envelopes were opened after the block", n-opened)
	}
	if page, err := bob.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 1 {
		t.Errorf("%d messages, %v", len(page.Items), err)
	}
}

// Knocks that wait for the owner end with a block: a stranger learns nothing by it, who
// holds a grant learns that it is blocked.
func TestBlockEndsPendingKnocks(t *testing.T) {
	for _, granted := range []bool{false, true} {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
		want := content.Rejected
		m := w.send(ann, bob, "please", api.StateAccepted)
		waitForKnock(t, bob)
		if granted {
			own := Grant{Peer: ann.AMID(), Intents: []string{"travel"}, Since: time.Now()}
			err := bob.mem.Update(t.Context(), func(tx store.Tx) error { return setJSON(tx, bob.rowOf(ann, rowGrant), own) })
			if err != nil {
				t.Fatal(err)
			}
			want = content.Blocked
		}
		bob.rule(t, "block", ann.AMID().String())
		onClerk(t, bob, ann.AMID(), func(c *clerk) error {
			if code, err := c.rejectCode(); err != nil || code != want {
				t.Errorf("granted %t: reject code %d, %v", granted, code, err)
			}
			return nil
		})
		bob.PolicyChanged()
		m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, patience)
		if err != nil || m.State != api.StateRefused || m.Reason != api.ReasonRejected {
			t.Errorf("granted %t: %s (%s), %v", granted, m.State, m.Reason, err)
		}
		if knocks, err := bob.Knocks(); err != nil || knocks[0].State != knockRejected || knocks[0].Rule != "block" {
			t.Errorf("granted %t: bob sees %+v, %v", granted, knocks, err)
		}
	}
}

// A block that ends our own knock at the peer.
func TestBlockEndsOurKnock(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	w.end(bob)
	m := w.send(ann, bob, "please", api.StateAccepted)
	until(t, ann, "the knock", func() bool { return count(t, ann, rowFlight) == 1 })
	ann.change(t, "block", bob.AMID().String())
	until(t, ann, "the row ended", func() bool { s, _ := stateOf(t, ann, m); return s.Terminal() })
	judged(t, ann, bob)
	if state, reason := stateOf(t, ann, m); state != api.StateRefused || reason != api.ReasonBlocked {
		t.Errorf("%s (%s)", state, reason)
	}
	if n := count(t, ann, rowFlight) + count(t, ann, rowSession); n != 0 {
		t.Errorf("%d rows of a knock are left", n)
	}
	ann.change(t, "block", "")
	judged(t, ann, bob)
	w.send(ann, bob, "please, after all", api.StateAccepted)
	until(t, ann, "another knock at once", func() bool { return count(t, ann, rowFlight) == 1 })
}

// Whoever was blocked is a stranger afterwards: the grants do not come back.
func TestUnblockedIsAStranger(t *testing.T) {
	w := newWorld(t)
	ann, bob := approved(t, w)
	quiet(t, ann, bob.AMID())
	bob.change(t, "block", ann.AMID().String())
	judged(t, bob, ann)
	until(t, ann, "the close", func() bool { return closedFor(sessionsOf(t, ann, bob), content.ClosePolicy) == 1 })
	bob.change(t, "block", "")
	judged(t, bob, ann)
	m := w.send(ann, bob, "me again", api.StateAccepted)
	if _, err := bob.Decide(t.Context(), waitForKnock(t, bob), true, api.DecideRequest{}); err != nil {
		t.Fatal(err)
	}
	if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, patience); err != nil || m.State != api.StateDelivered {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
	if m := w.send(bob, ann, "welcome back", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
}

// T36: a block that was written down while the node was off holds at its start, whether
// something waits for the peer or not.
func TestBlockedWhileOff(t *testing.T) {
	for _, waits := range []bool{true, false} {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		w.send(ann, bob, "1", api.StateDelivered)
		quiet(t, ann, bob.AMID())
		quiet(t, bob, ann.AMID())
		w.end(ann)
		var m api.Message
		if waits {
			m = w.send(bob, ann, "waits", api.StateRelayed)
		}
		w.end(bob)
		bob.mem = bob.mem.Reopen()
		bob.rule(t, "block", ann.AMID().String())
		w.start(bob)
		until(t, bob, "sessions closed", func() bool { return closedFor(sessionsOf(t, bob, ann), content.ClosePolicy) == 1 })
		if !waits {
			continue
		}
		until(t, bob, "the row ended", func() bool { s, _ := stateOf(t, bob, m); return s.Terminal() })
		if state, reason := stateOf(t, bob, m); state != api.StateRefused || reason != api.ReasonBlocked {
			t.Errorf("%s (%s)", state, reason)
		}
	}
}

// T36: a policy that leaves nothing of a grant closes the session; one that leaves
// something does not. The grant stays, and holds again when the policy is as it was.
func TestPolicyThatLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ann, bob := approved(t, w)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	bob.change(t, "rejected_intents", "commerce/*")
	judged(t, bob, ann)
	if list := sessionsOf(t, bob, ann); len(list) != 1 || list[0].Closed {
		t.Fatal("closed although something is left")
	}
	bob.change(t, "rejected_intents", "*")
	until(t, ann, "the close", func() bool { return closedFor(sessionsOf(t, ann, bob), content.ClosePolicy) == 1 })
	if m := w.send(ann, bob, "anything", api.StateDelivered); m.State != api.StateRefused || m.Reason != api.ReasonRejected {
		t.Errorf("a knock now: %s (%s)", m.State, m.Reason)
	}
	bob.change(t, "rejected_intents", "")
	if m := w.send(ann, bob, "again", api.StateDelivered); m.State != api.StateDelivered {
		t.Errorf("with the policy as it was: %s (%s)", m.State, m.Reason)
	}
	w.take(bob, 2)
}

// A knock that would not be put before the owner any more is refused.
func TestPolicyRefusesWhatWaits(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	m := w.send(ann, bob, "please", api.StateAccepted)
	waitForKnock(t, bob)
	bob.change(t, "knocks_per_minute", "5")
	judged(t, bob, ann)
	waitForKnock(t, bob)
	bob.change(t, "strangers", "reject")
	m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, patience)
	if err != nil || m.State != api.StateRefused || m.Reason != api.ReasonRejected {
		t.Errorf("%s (%s), %v", m.State, m.Reason, err)
	}
	if knocks, err := bob.Knocks(); err != nil || knocks[0].Rule != "strangers-reject" {
		t.Errorf("bob sees %+v, %v", knocks, err)
	}
}

// A long queue to a peer that is blocked ends in pieces that fit.
func TestBlockEndsALongQueue(t *testing.T) {
	w := newWorld(t)
	ann := w.person("ann", "ask")
	key := newKey(t) // a peer that nobody finds
	for range 1500 {
		if _, err := ann.Send(t.Context(), api.SendRequest{To: key.AMID().String(), Body: []byte("x")}, ""); err != nil {
			t.Fatal(err)
		}
	}
	ann.change(t, "block", key.AMID().String())
	until(t, ann, "all ended", func() bool { n, err := ann.Counts(); return err == nil && n.Queued == 0 })
}
