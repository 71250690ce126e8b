package agent

import (
	"testing"

	"amesh/internal/content"
	"amesh/node/api"
)

// approved makes two people who talk because bob's owner let ann in.
func approved(t *testing.T, w *world) (ann, bob *person) {
	t.Helper()
	ann, bob = w.person("ann", "reject"), w.person("bob", "ask")
	m := w.send(ann, bob, "please", api.StateAccepted)
	if _, err := bob.Decide(t.Context(), waitForKnock(t, bob), true, api.DecideRequest{}); err != nil {
		t.Fatal(err)
	}
	until(t, ann, "delivered", func() bool {
		m, err := ann.Message(t.Context(), m.ID, "", 0)
		return err == nil && m.State == api.StateDelivered
	})
	return ann, bob
}

func kill(t *testing.T, p, peer *person) {
	t.Helper()
	closed, err := p.Kill(t.Context(), peer.AMID().String())
	if err != nil || len(closed) != 1 || closed[0].State != "closed" || closed[0].Reason != "done" {
		t.Fatalf("%s kills: %+v, %v", p.name, closed, err)
	}
	until(t, peer, "the close", func() bool {
		list := sessionsOf(t, peer, p)
		return closedFor(list, content.CloseDone) == len(list)
	})
}

// A known peer is let in by its grant, in both directions, without asking anybody: after
// its session was killed, by whomever, and after both started again.
func TestGrantOutlivesSessions(t *testing.T) {
	w := newWorld(t)
	ann, bob := approved(t, w)
	talk := func(when string) {
		t.Helper()
		for _, way := range [][2]*person{{ann, bob}, {bob, ann}} {
			if m := w.send(way[0], way[1], when, api.StateDelivered); m.State != api.StateDelivered {
				t.Fatalf("%s, %s to %s: %s (%s)", when, way[0].name, way[1].name, m.State, m.Reason)
			}
		}
	}
	talk("at first")
	kill(t, bob, ann)
	talk("bob killed it")
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	for _, p := range []*person{ann, bob} {
		w.end(p)
		p.mem = p.mem.Reopen()
		w.start(p)
	}
	talk("after a restart")
	quiet(t, ann, bob.AMID())
	kill(t, ann, bob)
	w.send(bob, ann, "the other way round", api.StateDelivered)
	talk("ann killed it")
	asked := 0
	for _, p := range []*person{ann, bob} {
		knocks, err := p.Knocks()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range knocks {
			if k.Direction == "in" && k.Rule != "grant" {
				asked++
			}
		}
	}
	if asked != 1 {
		t.Errorf("%d knocks were judged by something else than the grant, want ann's first", asked)
	}
}

// After a close nothing is sealed on the session but receipts, by either side, and what
// was sealed before still arrives.
func TestOnlyReceiptsAfterAClose(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	var caught []Envelope
	w.sb.only(func(e Envelope) bool {
		if e.To == bob.AMID() {
			caught = append(caught, e)
		}
		return e.To != bob.AMID()
	})
	m := w.send(ann, bob, "2", api.StateAccepted)
	until(t, ann, "the message", func() bool { return count(t, ann, rowFlight) == 1 })
	if _, err := ann.Kill(t.Context(), bob.AMID().String()); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.Kill(t.Context(), bob.AMID().String()); problemCode(err) != api.CodeNotFound {
		t.Errorf("killed twice: %v", err)
	}
	second := w.send(ann, bob, "3", api.StateAccepted)
	until(t, ann, "a knock", func() bool { return len(sessionsOf(t, ann, bob)) == 2 })
	if _, err := ann.Cancel(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	w.sb.mu.Lock()
	first := caught
	w.sb.mu.Unlock()
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		s := c.sess[0].clone()
		var types []content.Type
		for _, e := range first {
			o, err := s.r.Open(c.a.Clock(), c.a.Rand, e.Data)
			if err != nil {
				continue // a repeat, or the knock
			}
			ct, err := content.Parse(o.Plaintext)
			if err != nil {
				return err
			}
			types = append(types, ct.Type())
			if end, ok := ct.(*content.Close); ok && (end.Reason != content.CloseDone || end.LastSequence != 2) {
				t.Errorf("closed with reason %d after sequence %d", end.Reason, end.LastSequence)
			}
		}
		if len(types) != 2 || types[0] != content.TypeMessage || types[1] != content.TypeClose {
			t.Errorf("on the session went contents %#x", types)
		}
		return nil
	})
	w.sb.only(func(Envelope) bool { return true })
	if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, patience); err != nil || m.State != api.StateDelivered {
		t.Fatalf("sealed before the close: %s (%s), %v", m.State, m.Reason, err)
	}
}

// What the owner sees of sessions.
func TestSessionsAsTheOwnerSeesThem(t *testing.T) {
	w := newWorld(t)
	ann, bob, cid := w.person("ann", "ask"), w.person("bob", "accept"), w.person("cid", "ask")
	bob.rule(t, "session_messages", "9")
	w.sendIn(ann, bob, "stream", "tick")
	w.send(ann, cid, "please", api.StateAccepted)
	waitForKnock(t, cid)
	quiet(t, ann, bob.AMID())
	view := func(p *person, peer string) api.Session {
		t.Helper()
		list, err := p.Sessions(peer)
		if err != nil || len(list) != 1 {
			t.Fatalf("%s sees %+v, %v", p.name, list, err)
		}
		return list[0]
	}
	got := view(ann, bob.AMID().DID())
	if got.State != "sending" || got.Direction != "out" || got.Type != "stream" || got.Mode != "private" || got.Since == nil ||
		got.Limits.Messages != 9 || got.Sent != (api.SessionUse{Messages: 1, Bytes: 4}) || got.Received != (api.SessionUse{}) {
		t.Errorf("ann's line to bob: %+v", got)
	}
	if got = view(bob, ""); got.State != "receiving" || got.Direction != "in" || got.Received.Bytes != 4 {
		t.Errorf("bob's line to ann: %+v", got)
	}
	if got = view(ann, cid.AMID().String()); got.State != "knocking" || got.Since != nil {
		t.Errorf("ann's line to cid: %+v", got)
	}
	if got = view(cid, ""); got.State != "pending" {
		t.Errorf("cid's line to ann: %+v", got)
	}
	if list, err := ann.Sessions(""); err != nil || len(list) != 2 || list[0].LastUsed.Before(list[1].LastUsed) {
		t.Errorf("ann's lines: %+v, %v", list, err)
	}
	if _, err := ann.Sessions("no/AMID"); problemCode(err) != api.CodeInvalid {
		t.Errorf("a name for an AMID: %v", err)
	}
	if _, err := ann.Kill(t.Context(), newKey(t).AMID().String()); problemCode(err) != api.CodeNotFound {
		t.Errorf("killing a stranger: %v", err)
	}
}

// Every session has a knock; the list of them does not grow without end, and those of
// strangers do not push out those that were accepted.
func TestAcceptedKnocksAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.limits.KnockHistory = 3
	bob := w.person("bob", "accept")
	for i := range 8 {
		if i == 4 {
			bob.rule(t, "strangers", "reject")
		}
		key := newKey(t)
		receiveAndWait(bob, key.AMID(), handKnock(t, w, key, bob))
	}
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	knocks, err := bob.Knocks()
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]int)
	for _, k := range knocks {
		states[k.State]++
	}
	if states[knockAccepted] != 3 || states[knockRejected] != 3 {
		t.Errorf("kept %v", states)
	}
}
