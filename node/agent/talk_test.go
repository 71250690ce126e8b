package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"amesh/internal/store"
	"amesh/node/api"
)

func TestStrangerIsRejected(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	m := w.send(ann, bob, "let me in", api.StateDelivered)
	if m.State != api.StateRefused || m.Reason != api.ReasonRejected {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	knocks, err := bob.Knocks()
	if err != nil || len(knocks) != 1 || knocks[0].Rule != "strangers-reject" || knocks[0].State != "rejected" {
		t.Fatalf("bob's owner sees %+v, %v", knocks, err)
	}
	if page, _ := bob.Inbox(api.InboxQuery{All: true}); len(page.Items) != 0 {
		t.Fatal("a rejected stranger reached the inbox")
	}
}

func TestEmptyPolicyLetsNobodyIn(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	m, err := ann.Send(t.Context(), api.SendRequest{
		To: bob.AMID().String(), Body: []byte("hi"), Wait: api.StateDelivered, TimeoutMS: 300,
	}, "")
	if err != nil || m.State != api.StateWaiting {
		t.Fatalf("state %s (%s), %v", m.State, m.Reason, err)
	}
	if page, _ := bob.Inbox(api.InboxQuery{All: true}); len(page.Items) != 0 {
		t.Fatal("a stranger reached the inbox")
	}
}

func TestOwnerDecides(t *testing.T) {
	for _, approve := range []bool{true, false} {
		t.Run(fmt.Sprintf("approve %t", approve), func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
			m := w.send(ann, bob, "please", api.StateAccepted)
			id := waitForKnock(t, bob)
			for {
				changed := ann.changed.wait()
				if m, _ = ann.Message(t.Context(), m.ID, "", 0); m.Reason == api.ReasonOwner {
					break
				}
				<-changed
			}
			if _, err := bob.Decide(t.Context(), id, approve, api.DecideRequest{}); err != nil {
				t.Fatal(err)
			}
			m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second)
			want := api.StateDelivered
			if !approve {
				want = api.StateRefused
			}
			if err != nil || m.State != want {
				t.Fatalf("state %s (%s), %v", m.State, m.Reason, err)
			}
			_, err = bob.Decide(t.Context(), id, approve, api.DecideRequest{})
			var p *api.Problem
			if !errors.As(err, &p) || p.Code != api.CodeConflict {
				t.Fatalf("deciding twice: %v", err)
			}
		})
	}
}

func waitForKnock(t *testing.T, p *person) string {
	t.Helper()
	for {
		changed := p.changed.wait()
		knocks, err := p.Knocks()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range knocks {
			if k.Direction == "in" && k.State == knockPending {
				return k.ID
			}
		}
		<-changed
	}
}

func TestLongMessageTravelsInParts(t *testing.T) {
	for _, size := range []int{0, 1, 43_692, 43_693, 256 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
			w.sb.meddle = func(Envelope) int { return 2 }
			body := make([]byte, size)
			rand.Read(body)
			m := w.send(ann, bob, string(body), api.StateDelivered)
			if m.State != api.StateDelivered {
				t.Fatalf("state %s (%s)", m.State, m.Reason)
			}
			got := w.take(bob, 1)[0]
			if !bytes.Equal(got.Body, body) || got.SHA256 != m.SHA256 {
				t.Fatal("another body arrived")
			}
		})
	}
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	_, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Body: make([]byte, 1<<20+1)}, "")
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != api.CodeTooLarge {
		t.Fatalf("one byte too long: %v", err)
	}
}

// T28: both sides start at once, and nothing is lost.
func TestBothKnockAtOnce(t *testing.T) {
	for round := range 10 {
		w := newWorld(t)
		ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
		var wg sync.WaitGroup
		for _, pair := range [][2]*person{{ann, bob}, {bob, ann}} {
			wg.Go(func() {
				for i := range 5 {
					m := w.send(pair[0], pair[1], fmt.Sprint(i), api.StateDelivered)
					if m.State != api.StateDelivered {
						t.Errorf("round %d: %s→%s %d: %s (%s)", round, pair[0].name, pair[1].name, i, m.State, m.Reason)
					}
				}
			})
		}
		wg.Wait()
		for _, p := range []*person{ann, bob} {
			for i, m := range w.take(p, 5) {
				if string(m.Body) != fmt.Sprint(i) {
					t.Fatalf("%s got %q at place %d", p.name, m.Body, i)
				}
			}
		}
	}
}

func TestLossAndRepetition(t *testing.T) {
	w := newWorld(t)
	dice := mrand.New(mrand.NewPCG(1, 2))
	w.sb.meddle = func(Envelope) int { return []int{0, 1, 1, 2}[dice.IntN(4)] }
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	const n = 100
	for i := range n {
		w.send(ann, bob, fmt.Sprint("a", i), api.StateAccepted)
		w.send(bob, ann, fmt.Sprint("b", i), api.StateAccepted)
	}
	for i, m := range w.take(bob, n) {
		if string(m.Body) != fmt.Sprint("a", i) {
			t.Fatalf("bob got %q at place %d", m.Body, i)
		}
	}
	for i, m := range w.take(ann, n) {
		if string(m.Body) != fmt.Sprint("b", i) {
			t.Fatalf("ann got %q at place %d", m.Body, i)
		}
	}
}

func TestPeerIsOff(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "first", api.StateDelivered)
	w.end(bob)
	for _, text := range []string{"one", "two", "three"} {
		if m := w.send(ann, bob, text, api.StateRelayed); m.State != api.StateRelayed {
			t.Fatalf("state %s (%s)", m.State, m.Reason)
		}
	}
	w.start(bob)
	for i, m := range w.take(bob, 4) {
		if want := []string{"first", "one", "two", "three"}[i]; string(m.Body) != want {
			t.Fatalf("got %q at place %d", m.Body, i)
		}
		if _, err := bob.Ack(t.Context(), m.ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := ann.Messages(0)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	for _, m := range list {
		if m, err := ann.Message(t.Context(), m.ID, api.StateHandled, 10*time.Second); err != nil || m.State != api.StateHandled {
			t.Fatalf("state %s, %v", m.State, err)
		}
	}
}

// CP 1 to 8, 18 to 23, 26: a crash before and after every single commit of either
// side; every accepted message arrives once and in order.
func TestCrashAtEveryCommit(t *testing.T) {
	most := 60
	if testing.Short() {
		most = 12
	}
	for _, who := range []string{"ann", "bob"} {
		for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
			for n := 1; n <= most; n++ {
				name := fmt.Sprintf("%s at commit %d phase %v", who, n, phase)
				t.Run(name, func(t *testing.T) {
					if done := crashOnce(t, who, n, phase); done {
						n = most // no commit was left to crash at
					}
				})
			}
		}
	}
}

// crashOnce reports whether the run ended before the crash point was reached.
func crashOnce(t *testing.T, who string, n int, phase store.Phase) bool {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	victim := ann
	if who == "bob" {
		victim = bob
	}
	victim.mem.CrashAt(n, phase)
	var accepted []string
	key := 0
	submit := func(text string) {
		key++
		for {
			_, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Body: []byte(text)}, fmt.Sprint("key", key))
			if err == nil {
				accepted = append(accepted, text)
				return
			}
			restart(t, w, ann)
		}
	}
	for i := range 4 {
		submit(fmt.Sprint("message ", i))
	}
	var got []api.InboxItem
	for len(got) < len(accepted) {
		select {
		case err := <-victim.done:
			victim.done <- err
			restart(t, w, victim)
		default:
		}
		changed := bob.changed.wait()
		page, err := bob.Inbox(api.InboxQuery{All: true})
		if err != nil {
			restart(t, w, bob)
			continue
		}
		if got = page.Items; len(got) < len(accepted) {
			select {
			case <-changed:
			case err := <-victim.done:
				victim.done <- err
			}
		}
	}
	for i, item := range got {
		if m, err := bob.Read(t.Context(), item.ID, 0); err != nil || string(m.Body) != accepted[i] {
			restart(t, w, bob)
			if m, err = bob.Read(t.Context(), item.ID, 0); err != nil || string(m.Body) != accepted[i] {
				t.Fatalf("place %d has %q (%v), want %q", i, m.Body, err, accepted[i])
			}
		}
		if _, err := bob.Ack(t.Context(), item.ID, api.AckRequest{}); err != nil {
			restart(t, w, bob)
			if _, err := bob.Ack(t.Context(), item.ID, api.AckRequest{}); err != nil {
				t.Fatalf("ack again: %v", err)
			}
		}
	}
	if page, err := bob.Inbox(api.InboxQuery{All: true}); err == nil && len(page.Items) > len(accepted) {
		t.Fatalf("%d messages for %d that were accepted", len(page.Items), len(accepted))
	}
	return victim.mem.Commits() < n
}

// restart brings a crashed person back on what was on its disk.
func restart(t *testing.T, w *world, p *person) {
	t.Helper()
	p.mem.Crash()
	w.end(p)
	p.mem = p.mem.Reopen()
	w.start(p)
}

// CP 24: what was leased and not acknowledged is shown again when the lease ends, and
// nothing of the same peer overtakes it meanwhile.
func TestLeaseKeepsTheOrder(t *testing.T) {
	w := newWorld(t)
	var c clock
	w.clock = c.now
	ann, bob, cid := w.person("ann", "ask"), w.person("bob", "accept"), w.person("cid", "ask")
	w.send(ann, bob, "one", api.StateDelivered)
	w.send(ann, bob, "two", api.StateDelivered)
	first := w.take(bob, 1)[0]
	if string(first.Body) != "one" || first.Attempt != 1 {
		t.Fatalf("first lease: %q, attempt %d", first.Body, first.Attempt)
	}
	w.send(cid, bob, "from cid", api.StateDelivered)
	if other := w.take(bob, 1)[0]; string(other.Body) != "from cid" {
		t.Fatalf("while ann's first is worked on, %q comes", other.Body)
	}
	if more, err := bob.Lease(t.Context(), api.LeaseRequest{Max: 5}); err != nil || len(more) != 0 {
		t.Fatalf("%d messages overtook, %v", len(more), err)
	}
	c.move(2 * time.Minute)
	again := w.take(bob, 2)
	if again[0].ID != first.ID || again[0].Attempt != 2 || string(again[1].Body) != "two" {
		t.Fatalf("after the lease: %q attempt %d, then %q", again[0].Body, again[0].Attempt, again[1].Body)
	}
	if _, err := bob.Nack(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if back := w.take(bob, 1)[0]; back.ID != first.ID || back.Attempt != 3 {
		t.Fatalf("after giving it back: %q attempt %d", back.Body, back.Attempt)
	}
}
