package agent

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// known makes two people between whom there is a grant and no session any more.
func known(t *testing.T, w *world) (ann, bob *person) {
	t.Helper()
	ann, bob = w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "first", api.StateDelivered)
	part(t, ann, bob)
	bob.rule(t, "strangers", "ask")
	return ann, bob
}

// part ends all sessions between two people, on both sides.
func part(t *testing.T, ann, bob *person) {
	t.Helper()
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		b := c.begin()
		for _, s := range c.sess {
			if err := c.end(b, s, content.CloseDone, flightControl); err != nil {
				return err
			}
		}
		return c.commit(b)
	})
	until(t, bob, "the close", func() bool {
		list := sessionsOf(t, bob, ann)
		return closedFor(list, content.CloseDone) == len(list)
	})
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
}

// only lets through what f says.
func (s *switchboard) only(f func(e Envelope) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = func(e Envelope) int {
		if f(e) {
			return 1
		}
		return 0
	}
}

// A peer that holds a grant sends its first message with the knock: nothing else of it
// has to arrive, and the message does not go a second time at once.
func TestFirstMessageBehindTheKnock(t *testing.T) {
	w := newWorld(t)
	ann, bob := known(t, w)
	w.end(ann)
	w.limits.ResendFirst = time.Minute
	w.start(ann)
	tail := ratchet.ID{}
	w.sb.only(func(e Envelope) bool {
		if k, err := knock.ParseKnock(e.Data); err == nil {
			tail = ratchet.EnvelopeID(k.Tail)
		}
		if e.ID == tail {
			t.Error("the tail went again at once")
		}
		return e.Knock || e.To == ann.AMID()
	})
	m := w.send(ann, bob, "behind the knock", api.StateDelivered)
	if m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	if got := w.take(bob, 2)[1]; string(got.Body) != "behind the knock" || got.ID != m.ID {
		t.Fatalf("got %q", got.Body)
	}
	w.sb.only(func(Envelope) bool { return true })
	w.send(ann, bob, "and one more", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	for _, s := range sessionsOf(t, bob, ann) {
		if !s.Closed && s.In.Messages != 2 {
			t.Errorf("%d messages counted", s.In.Messages)
		}
	}
}

// Before the accept nothing leaves but the knock, and after it the tail goes alone, the
// same bytes, until its receipt comes.
func TestTailGoesAloneAfterTheAccept(t *testing.T) {
	w := newWorld(t)
	ann, bob := known(t, w)
	var alone [][]byte // what ann sent that is no knock, once bob was there
	var knocks [][]byte
	w.sb.only(func(e Envelope) bool {
		if e.From != ann.AMID() {
			return true
		}
		if e.Knock {
			knocks = append(knocks, e.Data)
			return false
		}
		alone = append(alone, e.Data)
		return true
	})
	m := w.send(ann, bob, "lost on the way", api.StateAccepted)
	until(t, ann, "the knock", func() bool { w.sb.mu.Lock(); defer w.sb.mu.Unlock(); return len(knocks) > 1 })
	w.sb.mu.Lock()
	k, err := knock.ParseKnock(knocks[0])
	if len(alone) != 0 {
		t.Errorf("%d envelopes left before the accept", len(alone))
	}
	w.sb.mu.Unlock()
	if err != nil || len(k.Tail) == 0 {
		t.Fatalf("a knock without a tail: %v", err)
	}
	// Somebody on the way takes the tail off.
	receiveAndWait(bob, ann.AMID(), k.Bytes())
	if m, err = ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || m.State != api.StateDelivered {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
	w.sb.mu.Lock()
	defer w.sb.mu.Unlock()
	found := 0
	for _, data := range alone {
		if bytes.Equal(data, k.Tail) {
			found++
		}
	}
	if found == 0 {
		t.Error("the tail did not go alone")
	}
}

// The tail has an envelope id of its own: alone it is a repeat, and gets its receipt again.
func TestTailAgain(t *testing.T) {
	w := newWorld(t)
	ann, bob := known(t, w)
	var tail []byte
	w.sb.only(func(e Envelope) bool {
		if k, err := knock.ParseKnock(e.Data); err == nil {
			tail = k.Tail
		}
		return true
	})
	w.send(ann, bob, "once", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	w.sb.mu.Lock()
	id, before := ratchet.EnvelopeID(tail), len(w.sb.wire)
	w.sb.mu.Unlock()
	row, found, err := getJSONView[openedRow](bob, bob.Agent.key(rowOpened, id[:]))
	if err != nil || !found || row.Peer != ann.AMID() || row.Receipt == (ratchet.ID{}) {
		t.Fatalf("the tail's row: %+v, %v", row, err)
	}
	filled(t, bob) // or the one-time keys would come in between
	hash := bob.mem.Hash()
	receiveAndWait(bob, ann.AMID(), tail)
	w.sb.mu.Lock()
	again := w.sb.wire[before:]
	w.sb.mu.Unlock()
	if len(again) != 1 || ratchet.EnvelopeID(again[0]) != row.Receipt {
		t.Errorf("the repeat was answered with %d envelopes", len(again))
	}
	if bob.mem.Hash() != hash {
		t.Error("the repeat changed the store")
	}
}

// What is too long for a tail, or asks for a path of its own, waits for the accept.
func TestWhatIsNoTail(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		via  string
		tail bool
	}{
		"as long as fits":     {knock.MaxTail - 100, "", true},
		"longer":              {knock.MaxTail, "", false},
		"in parts":            {50_000, "", false},
		"by a path of choice": {5, "relayed", false},
		"empty":               {0, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := known(t, w)
			tails := 0
			w.sb.only(func(e Envelope) bool {
				if k, err := knock.ParseKnock(e.Data); err == nil {
					tails += min(len(k.Tail), 1)
				}
				return true
			})
			m, err := ann.Send(t.Context(), api.SendRequest{
				To: bob.AMID().String(), Body: make([]byte, c.size), Via: c.via, Wait: api.StateDelivered, TimeoutMS: 10_000,
			}, "")
			if err != nil || m.State != api.StateDelivered {
				t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
			}
			w.sb.mu.Lock()
			defer w.sb.mu.Unlock()
			if (tails > 0) != c.tail {
				t.Errorf("%d knocks with a tail", tails)
			}
		})
	}
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.sb.only(func(e Envelope) bool {
		if k, err := knock.ParseKnock(e.Data); err == nil && len(k.Tail) > 0 {
			t.Error("a stranger's knock has a tail")
		}
		return true
	})
	w.send(ann, bob, "a stranger's", api.StateDelivered)
}

// forget takes the grants of a peer away, as an owner can who edits the state.
func forget(t *testing.T, p, peer *person) {
	t.Helper()
	err := p.mem.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Delete(p.rowOf(peer, rowGrant)); err != nil {
			return err
		}
		return tx.Delete(p.rowOf(peer, rowReturn))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The sender believed in a grant that is no more. Rejected, its message ends as those
// do that waited; put before the owner, it waits, and goes in the same session.
func TestTailOfAKnockThatIsNotAcceptedAtOnce(t *testing.T) {
	t.Run("rejected", func(t *testing.T) {
		w := newWorld(t)
		ann, bob := known(t, w)
		bob.rule(t, "strangers", "reject")
		forget(t, bob, ann)
		w.end(bob)
		w.send(ann, bob, "1", api.StateAccepted)
		m := w.send(ann, bob, "2", api.StateAccepted)
		w.start(bob)
		for range 2 {
			m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second)
			if err != nil || m.State != api.StateRefused || m.Reason != api.ReasonRejected {
				t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
			}
		}
		if page, err := bob.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 1 {
			t.Errorf("%d messages, %v", len(page.Items), err)
		}
		if n := count(t, ann, rowFlight); n != 0 {
			t.Errorf("%d envelopes are still under way", n)
		}
	})
	t.Run("owner asked", func(t *testing.T) {
		w := newWorld(t)
		ann, bob := known(t, w)
		forget(t, bob, ann)
		m := w.send(ann, bob, "please", api.StateAccepted)
		id := waitForKnock(t, bob)
		until(t, ann, "owner asked", func() bool {
			m, err := ann.Message(t.Context(), m.ID, "", 0)
			return err == nil && m.State == api.StateWaiting && m.Reason == api.ReasonOwner
		})
		if _, err := bob.Decide(t.Context(), id, true, api.DecideRequest{}); err != nil {
			t.Fatal(err)
		}
		if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || m.State != api.StateDelivered {
			t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
		}
		for _, s := range sessionsOf(t, ann, bob) {
			if !s.Closed && s.Out.Messages != 1 {
				t.Errorf("sealed %d times", s.Out.Messages)
			}
		}
	})
}

// A knock that is given up lets its message wait again: it goes behind the next one, and
// is shown once, although both were accepted in the end.
func TestTailOfAKnockThatWasGivenUp(t *testing.T) {
	w := newWorld(t)
	ann, bob := known(t, w)
	w.end(bob)
	m := w.send(ann, bob, "patience", api.StateAccepted)
	until(t, ann, "the knock", func() bool { return count(t, ann, rowFlight) == 2 })
	onClerk(t, ann, bob.AMID(), func(c *clerk) error { return c.giveUpKnock(c.asked(), knock.TooOld) })
	until(t, ann, "another knock", func() bool {
		knocks, err := ann.Knocks()
		return err == nil && len(knocks) == 3
	})
	w.start(bob) // the switchboard kept both
	if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || m.State != api.StateDelivered {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
	w.send(ann, bob, "done", api.StateDelivered)
	if page, err := bob.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 3 {
		t.Errorf("%d messages in the inbox, %v", len(page.Items), err)
	}
}

// CP 1 to 8, 18 to 23 with a tail: a crash before and after every commit of either side;
// all messages arrive once and in order.
func TestCrashAtEveryCommitWithATail(t *testing.T) {
	for _, who := range []string{"ann", "bob"} {
		for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
			for n := 1; ; n++ {
				if done := crashWithTail(t, who, n, phase); done {
					break
				}
			}
		}
	}
}

// crashWithTail reports whether the run ended before the crash point was reached.
func crashWithTail(t *testing.T, who string, n int, phase store.Phase) bool {
	t.Helper()
	w := newWorld(t)
	ann, bob := known(t, w)
	victim := map[string]*person{"ann": ann, "bob": bob}[who]
	before := victim.mem.Commits()
	victim.mem.CrashAt(before+n, phase)
	texts := []string{"first", "second", "third"}
	for i, text := range texts[1:] {
		for {
			_, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Body: []byte(text)}, fmt.Sprint("key", i))
			if err == nil {
				break
			}
			restart(t, w, ann)
		}
	}
	crashed := false
	var got []string
	until(t, bob, fmt.Sprintf("three messages, %s crashed at commit %d phase %d", who, n, phase), func() bool {
		select {
		case err := <-victim.done:
			victim.done <- err
			crashed = true
			restart(t, w, victim)
		default:
		}
		got = nil
		page, err := bob.Inbox(api.InboxQuery{All: true})
		if err != nil {
			return false
		}
		for _, item := range page.Items {
			m, err := bob.Read(t.Context(), item.ID, 0)
			if err != nil {
				return false
			}
			got = append(got, string(m.Body))
		}
		return len(got) >= len(texts)
	})
	if fmt.Sprint(got) != fmt.Sprint(texts) {
		t.Fatalf("%s crashed at commit %d phase %d: got %q", who, n, phase, got)
	}
	done := !crashed && victim.mem.Commits() < before+n
	w.end(ann)
	w.end(bob)
	return done
}

// stranger is somebody with keys and no node, who knocks with a tail.
type stranger struct {
	key   identity.PrivateKey
	asked *knock.Asked
	all   []byte
	tail  []byte
}

const secret = "the words of a stranger"

func newStranger(t *testing.T, w *world, to *person) *stranger {
	t.Helper()
	s := &stranger{key: newKey(t)}
	s.asked = handAsk(t, w, s.key, to, peerKeys{}, func(*content.Request) {})
	now := time.Now()
	message := content.Message{Body: []byte(secret), Description: content.Description{
		ID: uuid.New(), Sequence: 1, Created: now, Deadline: now.Add(time.Hour), Intent: "message", Thread: secret,
	}}
	plain, err := message.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if s.all, err = s.asked.WithTail(rand.Reader, plain); err != nil {
		t.Fatal(err)
	}
	s.tail = s.all[len(s.asked.Bytes):]
	return s
}

// tells reports whether anything of the secret is kept.
func tells(t *testing.T, p *person) bool {
	t.Helper()
	found := false
	err := p.mem.View(func(r store.Reader) error {
		return r.Scan(nil, nil, func(_, v []byte) bool {
			found = found || bytes.Contains(v, []byte(secret))
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := p.Inbox(api.InboxQuery{All: true})
	if err != nil {
		t.Fatal(err)
	}
	return found || len(page.Items) > 0 || count(t, p, rowSeen)+count(t, p, rowHeld)+count(t, p, rowInBody) > 0
}

// T37: a message behind a knock that is not accepted is not kept, shown or told of,
// whenever the node crashes.
func TestTailOfAStrangerIsNotKept(t *testing.T) {
	for _, strangers := range []string{"reject", "ask"} {
		for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
			for n := 1; ; n++ {
				w := newWorld(t)
				bob := w.person("bob", strangers)
				s := newStranger(t, w, bob)
				before := bob.mem.Commits()
				bob.mem.CrashAt(before+n, phase)
				crashed := receiveThroughCrash(t, w, bob, s.key.AMID(), s.all)
				if tells(t, bob) {
					t.Fatalf("strangers %s, crash at commit %d phase %d: the tail was kept", strangers, n, phase)
				}
				w.end(bob)
				if !crashed {
					break
				}
			}
		}
	}
}

// receiveThroughCrash hands an envelope over until it is acknowledged, and starts the node
// again whenever it crashes, also over the answer. It reports whether it did.
func receiveThroughCrash(t *testing.T, w *world, p *person, from identity.AMID, data []byte) bool {
	t.Helper()
	crashed := false
	again := func() {
		crashed = true
		restart(t, w, p)
	}
	for done := false; !done; {
		acked := make(chan struct{})
		p.Receive(Incoming{From: from, Data: data, Path: api.PathDirect, Ack: func() { close(acked) }})
		select {
		case <-acked:
			done = true
		case err := <-p.done:
			p.done <- err
			again()
		}
	}
	until(t, p, "the answer handed over", func() bool {
		select {
		case err := <-p.done:
			p.done <- err
			again()
		default:
		}
		n := 0
		err := p.mem.View(func(r store.Reader) error {
			return r.Scan(p.Agent.key(rowFlight), nil, func(_, _ []byte) bool { n++; return true })
		})
		return err == nil && n == 0
	})
	return crashed
}

// T37: alone, the tail says nothing to anybody after a no, and is the message that it is
// after a late yes, which does not bring it back by itself.
func TestTailAloneAfterTheAnswer(t *testing.T) {
	w := newWorld(t)
	cid := w.person("cid", "reject")
	s := newStranger(t, w, cid)
	receiveAndWait(cid, s.key.AMID(), s.all)
	receiveAndWait(cid, s.key.AMID(), s.tail)
	if tells(t, cid) {
		t.Error("the tail was taken after a no")
	}
	bob := w.person("bob", "ask")
	s = newStranger(t, w, bob)
	receiveAndWait(bob, s.key.AMID(), s.all)
	if _, err := bob.Decide(t.Context(), waitForKnock(t, bob), true, api.DecideRequest{}); err != nil {
		t.Fatal(err)
	}
	if tells(t, bob) {
		t.Fatal("the owner's yes brought the tail back")
	}
	receiveAndWait(bob, s.key.AMID(), s.tail)
	if page, err := bob.Inbox(api.InboxQuery{}); err != nil || len(page.Items) != 1 {
		t.Fatalf("%d messages after the yes, %v", len(page.Items), err)
	}
}

// A tail that does not open takes nothing from the knock: whoever carries it can put
// anything there.
func TestTailOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	s := newStranger(t, w, bob)
	receiveAndWait(bob, s.key.AMID(), append(bytes.Clone(s.asked.Bytes), noise(82+40+256)...))
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 || knocks[0].State != knockAccepted {
		t.Fatalf("%+v, %v", knocks, err)
	}
	receiveAndWait(bob, s.key.AMID(), s.tail)
	if page, err := bob.Inbox(api.InboxQuery{}); err != nil || len(page.Items) != 1 {
		t.Fatalf("%d messages, %v", len(page.Items), err)
	}
}

// A session of limited time takes its tail, which was made before its time began.
func TestTailBeforeTheTimeBegins(t *testing.T) {
	w := newWorld(t)
	ann, bob := known(t, w)
	bob.rule(t, "session_ttl", "3600")
	ann.rule(t, "session_ttl", "60")
	if m := w.send(ann, bob, "behind the knock", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	w.send(bob, ann, "and back", api.StateDelivered)
}
