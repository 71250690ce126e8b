package agent

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/node/api"
)

// What a restore means for mail, grants and sessions (session.md §8.6, §8.7, §9.4). Time
// is that of a bubble: a message that comes a minute late is seen to be late.

// friends are two people who have exchanged mail and have nothing under way.
func friends(t *testing.T) (w *world, ann, bob *person) {
	t.Helper()
	w = newWorld(t)
	ann, bob = w.person("ann", "accept"), w.person("bob", "accept")
	arrives(t, w, ann, bob, "from ann")
	arrives(t, w, bob, ann, "from bob")
	for _, p := range []*person{ann, bob} {
		handle(t, w, p, 1)
	}
	time.Sleep(time.Minute)
	return w, ann, bob
}

func arrives(t *testing.T, w *world, from, to *person, text string) api.Message {
	t.Helper()
	m := w.send(from, to, text, api.StateDelivered)
	if m.State != api.StateDelivered {
		t.Fatalf("%q: %s (%s)", text, m.State, m.Reason)
	}
	return m
}

// handle has a person done with its next n messages.
func handle(t *testing.T, w *world, p *person, n int) {
	t.Helper()
	for range n {
		if _, err := p.Ack(t.Context(), w.take(p, 1)[0].ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

func reaches(t *testing.T, p *person, id string, want api.State) {
	t.Helper()
	m, err := p.Message(t.Context(), id, want, 5*time.Minute)
	if err != nil || m.State != want {
		t.Errorf("message of %s: %s (%s), %v; want %s", p.name, m.State, m.Reason, err, want)
	}
}

// inbox is everything that a person was ever shown, by text, with the state.
func inbox(t *testing.T, p *person) (list []string) {
	t.Helper()
	page, err := p.Inbox(api.InboxQuery{All: true, Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range page.Items {
		m, err := p.Read(t.Context(), item.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		note := ""
		if item.Late {
			note += " late"
		}
		if item.GapBefore > 0 {
			note += fmt.Sprint(" gap ", item.GapBefore)
		}
		list = append(list, fmt.Sprintf("%s (%s)%s", m.Body, item.State, note))
	}
	return list
}

// CP 17, CP 28: what was unfinished when the backup was made arrives under its ids, once
// and in order, also where the relay has kept the old envelopes.
func TestRestoredSenderFinishes(t *testing.T) {
	for _, relay := range []string{"kept", "lost"} {
		t.Run("mailbox "+relay, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, ann, bob := friends(t)
				w.end(bob)
				var sent []api.Message
				var want []string
				for i := range 3 {
					sent = append(sent, w.send(ann, bob, fmt.Sprint("away ", i), api.StateRelayed))
				}
				s := backUp(t, ann)
				if relay == "lost" {
					w.sb.mailbox = make(map[identity.AMID][]Envelope)
				}
				restore(t, w, ann, s, 100)
				w.start(bob)
				for i, m := range sent {
					reaches(t, ann, m.ID, api.StateDelivered)
					want = append(want, fmt.Sprintf("away %d as %s", i, m.ID))
				}
				arrives(t, w, ann, bob, "new")
				time.Sleep(5 * time.Minute)
				var got []string
				for _, m := range w.take(bob, 4) {
					got = append(got, fmt.Sprintf("%s as %s", m.Body, m.ID))
					if relay == "lost" && (m.Late || m.GapBefore > 0) {
						t.Errorf("%q is late or behind a gap", m.Body)
					}
				}
				slices.Sort(got) // what the relay kept comes at once, in any order, and says so
				if diff := cmp.Diff(want, got[:3]); diff != "" {
					t.Error(diff)
				}
				if n := len(inbox(t, bob)); n != 5 {
					t.Errorf("bob was shown %d messages, want 5", n)
				}
			})
		})
	}
}

// CP 17, CP 28, CP 29, T29: what was in the inbox is there with its state, what came
// after the backup comes again, what was handled does not, and what the friend sends
// on the old session arrives after a resume.
func TestRestoredReceiverGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ann, bob := friends(t)
		var sent []api.Message
		for i := range 3 {
			sent = append(sent, arrives(t, w, ann, bob, fmt.Sprint("before ", i)))
		}
		if _, err := bob.Ack(t.Context(), sent[1].ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
		reaches(t, ann, sent[1].ID, api.StateHandled)
		s := backUp(t, bob)
		sent = append(sent, arrives(t, w, ann, bob, "lost"))
		gone := arrives(t, w, ann, bob, "lost and handled")
		if _, err := bob.Ack(t.Context(), gone.ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
		reaches(t, ann, gone.ID, api.StateHandled)
		restore(t, w, bob, s, 100)
		want := []string{"from ann (handled)", "before 0 (new)", "before 1 (handled)", "before 2 (new)"}
		if diff := cmp.Diff(want, inbox(t, bob)); diff != "" {
			t.Errorf("right after the restore: %s", diff)
		}
		after := w.send(ann, bob, "on the old session", api.StateAccepted)
		reaches(t, ann, after.ID, api.StateDelivered)
		time.Sleep(2 * time.Minute)
		// Nobody knows any more what was handled in the time that is gone, but that there was something.
		want = append(want, "lost (new)", "on the old session (new) gap 1")
		if diff := cmp.Diff(want, inbox(t, bob)); diff != "" {
			t.Errorf("after the resume: %s", diff)
		}
		handle(t, w, bob, 4)
		for _, m := range append(sent, after) {
			reaches(t, ann, m.ID, api.StateHandled)
		}
		if n := count(t, ann, rowOut); n != 7 {
			t.Errorf("%d messages of ann", n)
		}
		knocks, err := ann.Knocks()
		if err != nil || knocks[0].Rule != "resume" || knocks[0].State != knockAccepted {
			t.Errorf("the last knock at ann is %+v, %v", knocks[0], err)
		}
	})
}

// A grant outlives sessions, and so it does a restore, on either side: nobody's owner is
// asked again.
func TestRestoredGrantsHold(t *testing.T) {
	for _, who := range []string{"who was let in", "who let in"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
				m := w.send(ann, bob, "please", api.StateAccepted)
				if _, err := bob.Decide(t.Context(), waitForKnock(t, bob), true, api.DecideRequest{}); err != nil {
					t.Fatal(err)
				}
				reaches(t, ann, m.ID, api.StateDelivered)
				time.Sleep(time.Minute)
				victim := ann
				if who == "who let in" {
					victim = bob
				}
				restore(t, w, victim, backUp(t, victim), 100)
				for _, pair := range [][2]*person{{ann, bob}, {bob, ann}} {
					m := w.send(pair[0], pair[1], "again", api.StateAccepted)
					reaches(t, pair[0], m.ID, api.StateDelivered)
				}
				for _, p := range []*person{ann, bob} {
					knocks, err := p.Knocks()
					if err != nil {
						t.Fatal(err)
					}
					for _, k := range knocks {
						if k.State == knockPending {
							t.Errorf("%s's owner is asked again: %+v", p.name, k)
						}
					}
				}
			})
		})
	}
}

// CP 2: the same idempotency key is the same message, also after a restore.
func TestRestoredIdempotencyKeysHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ann, bob := friends(t)
		request := api.SendRequest{To: bob.AMID().String(), Body: []byte("once"), Wait: api.StateDelivered, TimeoutMS: 10_000}
		first, err := ann.Send(t.Context(), request, "key")
		if err != nil {
			t.Fatal(err)
		}
		restore(t, w, ann, backUp(t, ann), 100)
		again, err := ann.Send(t.Context(), request, "key")
		if err != nil || again.ID != first.ID {
			t.Errorf("the same request is message %s, then %s, %v", first.ID, again.ID, err)
		}
		request.Body = []byte("twice")
		if _, err := ann.Send(t.Context(), request, "key"); problemCode(err) != api.CodeConflict {
			t.Errorf("another request under the same key: %v", err)
		}
		arrives(t, w, ann, bob, "new")
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"from ann (handled)", "once (new)", "new (new)"}, inbox(t, bob)); diff != "" {
			t.Error(diff)
		}
	})
}

// The friend sees the higher epoch: its older sessions only receive, and a knock of an
// epoch that is over is not answered.
func TestRestoredEpochEndsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ann, bob := friends(t)
		s := backUp(t, bob)
		early, late := handKnock(t, w, bob.key, ann), handKnock(t, w, bob.key, ann)
		receiveAndWait(ann, bob.AMID(), early)
		before, err := ann.Knocks()
		if err != nil || before[0].State != knockAccepted || before[0].Peer != bob.AMID() {
			t.Fatalf("a knock of the present epoch is %+v, %v", before[0], err)
		}
		restore(t, w, bob, s, 100)
		arrives(t, w, bob, ann, "of the new epoch")
		onClerk(t, ann, bob.AMID(), func(c *clerk) error {
			for _, s := range c.sess {
				if s.PeerEpoch < 100 && !s.Void {
					t.Errorf("a session of epoch %d still sends", s.PeerEpoch)
				}
			}
			if sends := c.sender(); sends == nil || sends.PeerEpoch != 100 {
				t.Errorf("ann sends on %+v", sends)
			}
			return nil
		})
		if before, err = ann.Knocks(); err != nil {
			t.Fatal(err)
		}
		receiveAndWait(ann, bob.AMID(), late)
		if after, err := ann.Knocks(); err != nil || len(after) != len(before) {
			t.Errorf("a knock of an old epoch was answered, %v", err)
		}
		arrives(t, w, ann, bob, "answer")
	})
}

// CP 28: one old backup restored again and again, and both friends at once. Ann loses
// what came since, and Bob, who still knows of it, sends it again.
func TestRestoredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ann, bob := friends(t)
		annOld, bobOld := backUp(t, ann), backUp(t, bob)
		var annWant, bobWant []string
		for i := range uint32(4) {
			restore(t, w, ann, annOld, 100+i)
			if i%2 == 1 {
				restore(t, w, bob, bobOld, 100+i)
				annWant, bobWant = nil, nil
			}
			text := fmt.Sprint("round ", i)
			m := w.send(ann, bob, text, api.StateAccepted)
			reaches(t, ann, m.ID, api.StateDelivered)
			m = w.send(bob, ann, text, api.StateAccepted)
			reaches(t, bob, m.ID, api.StateDelivered)
			time.Sleep(6 * time.Hour) // a resume is taken five times a day
			annWant, bobWant = append(annWant, text+" (new)"), append(bobWant, text+" (new)")
			if diff := cmp.Diff(annWant, inbox(t, ann)[1:]); diff != "" {
				t.Errorf("round %d: ann: %s", i, diff)
			}
			if diff := cmp.Diff(bobWant, inbox(t, bob)[1:]); diff != "" {
				t.Errorf("round %d: bob: %s", i, diff)
			}
		}
	})
}
