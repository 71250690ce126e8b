package agent

import (
	"bytes"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/api"
	"amesh/ratchet"
)

// heldUp blocks a peer's clerk until the returned function is called, so that what
// arrives meanwhile comes to it at once.
func heldUp(c *clerk) (release func()) {
	gate, in := make(chan struct{}), make(chan struct{})
	c.do(func() error { close(in); <-gate; return nil })
	<-in
	return func() { close(gate) }
}

// T19, T33: a tail is not signed, so anybody on the line can make another envelope of a
// knock. Both together, in one round of the clerk, are still one knock; or the second
// answer would put its keys in the place of the first one's.
func TestKnockWithTwoTails(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	key := newKey(t)
	first := handKnock(t, w, key, bob)
	again := append(append([]byte(nil), first...), noise(82+40+256)...)
	release := heldUp(bob.clerk(key.AMID()))
	var acked [2]chan struct{}
	for i, data := range [][]byte{first, again} {
		acked[i] = make(chan struct{})
		bob.Receive(Incoming{From: key.AMID(), Data: data, Path: api.PathRelayed, Ack: func() { close(acked[i]) }})
	}
	release()
	<-acked[0]
	<-acked[1]
	if opened, kept := count(t, bob, rowOpened), count(t, bob, rowReceipt); opened != 1 || kept != 1 {
		t.Errorf("%d envelopes opened, %d answers kept", opened, kept)
	}
}

func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes minutes; set AMESH_SOAK=1")
	}
}

// catch takes everything for somebody off the line and keeps each envelope once.
func (s *switchboard) catch(to *person) func() [][]byte {
	var mu sync.Mutex
	var caught [][]byte
	seen := make(map[ratchet.ID]bool)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = func(e Envelope) int {
		if e.To != to.AMID() {
			return 1
		}
		mu.Lock()
		defer mu.Unlock()
		if !seen[e.ID] {
			seen[e.ID] = true
			caught = append(caught, e.Data)
		}
		return 0
	}
	return func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(caught)
	}
}

// catchMessages has ann send n messages to bob, and keeps their envelopes from him.
func catchMessages(t *testing.T, w *world, ann, bob *person, n int) [][]byte {
	t.Helper()
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	caught := w.sb.catch(bob)
	for i := range n {
		w.send(ann, bob, fmt.Sprint("caught ", i+1), api.StateAccepted)
	}
	until(t, ann, "everything left once", func() bool { return len(caught()) == n })
	return caught()
}

// flip changes one bit somewhere in b, and gives a copy.
func flip(dice *mrand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	b[dice.IntN(len(b))] ^= 1 << dice.IntN(8)
	return b
}

// T06, T33: of one knock many times at once, and again after a restart, one is taken.
func TestSameKnockAtOnce(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	key := newKey(t)
	data := handKnock(t, w, key, bob)
	for range 2 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { receiveAndWait(bob, key.AMID(), data) })
		}
		all.Wait()
		if opened, kept := count(t, bob, rowOpened), count(t, bob, rowReceipt); opened != 1 || kept != 1 {
			t.Errorf("%d envelopes opened, %d answers kept", opened, kept)
		}
		w.end(bob)
		bob.mem = bob.mem.Reopen()
		w.start(bob)
	}
}

// T33: a knock that was signed for bob is nothing to anybody else.
func TestKnockForSomebodyElse(t *testing.T) {
	w := newWorld(t)
	bob, cid := w.person("bob", "accept"), w.person("cid", "accept")
	key := newKey(t)
	filled(t, cid) // or the one-time keys would come in between
	before := cid.mem.Hash()
	receiveAndWait(cid, key.AMID(), handKnock(t, w, key, bob))
	if cid.mem.Hash() != before {
		t.Error("it changed the store")
	}
}

// T20, D2: forged knocks consume nothing and mark nothing, with a false signature and
// with a stranger's true one over keys and a message 0 that do not fit; the honest knock
// they were made from is still new.
func TestForgedKnocksChangeNothing(t *testing.T) { forgedKnocks(t, 200) }

func TestSoakForgedKnocksChangeNothing(t *testing.T) {
	soak(t)
	forgedKnocks(t, 10_000)
}

func forgedKnocks(t *testing.T, n int) {
	const keys, clear, signature = 219, 1401, identity.SignatureSize
	w := newWorld(t)
	bob := w.person("bob", "accept")
	bob.rule(t, "knocks_per_minute", fmt.Sprint(2*n))
	limits := bob.KnockLimits
	limits.Total = 2 * n
	bob.guard.init(limits, 0, 0) // a renew is an answer, and is kept
	key := newKey(t)
	good := handKnock(t, w, key, bob)
	filled(t, bob)
	dice := mrand.New(mrand.NewPCG(20, 1))
	before := bob.mem.Hash()
	for i := range n {
		forged := flip(dice, good)
		if i%2 == 0 { // the stranger signs what he changed
			forged = bytes.Clone(good)
			at := keys + dice.IntN(len(good)-signature-keys) // behind the certificate
			if at == clear || at == clear+1 {
				at++ // not the length
			}
			forged[at] ^= 1 << dice.IntN(8)
			signed := forged[:len(forged)-signature]
			copy(forged[len(signed):], key.Sign(identity.TagKnock, signed))
		}
		if !bytes.Equal(forged, good) {
			receiveAndWait(bob, key.AMID(), forged)
		}
	}
	if bob.mem.Hash() != before {
		t.Error("forged knocks changed the store")
	}
	receiveAndWait(bob, key.AMID(), good)
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 || knocks[0].State != knockAccepted {
		t.Errorf("the honest knock after them: %+v, %v", knocks, err)
	}
}

// T23, T26, T27, D8, I10: no forgery of a header, a number or a body changes anything,
// not even beside stored keys of messages that did not come yet; these still open.
func TestForgeriesChangeNothing(t *testing.T) { forgeries(t, 3000) }

func TestSoakForgeriesChangeNothing(t *testing.T) {
	soak(t)
	forgeries(t, 100_000)
}

func forgeries(t *testing.T, n int) {
	const header, body = ratchet.PrefixSize, ratchet.PrefixSize + 82
	w := newWorld(t)
	// What lies unopened for ten seconds is a reason to resume, which is another matter.
	w.limits.HoldBefore, w.limits.HoldFor = 24*time.Hour, 48*time.Hour
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	real := catchMessages(t, w, ann, bob, 3)
	receiveAndWait(bob, ann.AMID(), real[2]) // two keys are stored now
	quiet(t, bob, ann.AMID())
	filled(t, bob)
	before := bob.mem.Hash()
	dice := mrand.New(mrand.NewPCG(23, 1))
	for i := range n {
		// A header that was opened, with another body, is a reason to resume.
		a, b := real[dice.IntN(2)], real[dice.IntN(3)]
		var forged []byte
		switch i % 5 {
		case 0:
			forged = flip(dice, a)
		case 1: // a header of one, the body of another
			forged = append(bytes.Clone(a[:body]), b[body:]...)
		case 2:
			forged = append(bytes.Clone(a[:header+dice.IntN(82)]), noise(82)...)
		case 3:
			forged = append(bytes.Clone(a), make([]byte, 512)...)
		case 4:
			forged = noise(len(a) - ratchet.PrefixSize)
		}
		if !slices.ContainsFunc(real, func(r []byte) bool { return bytes.Equal(r, forged) }) {
			receiveAndWait(bob, ann.AMID(), forged)
		}
	}
	if bob.mem.Hash() != before {
		t.Fatal("forgeries changed the store")
	}
	receiveAndWait(bob, ann.AMID(), real[1])
	receiveAndWait(bob, ann.AMID(), real[0])
	for i, m := range w.take(bob, 4) {
		if want := []string{"1", "caught 1", "caught 2", "caught 3"}[i]; string(m.Body) != want {
			t.Errorf("place %d has %q, want %q", i, m.Body, want)
		}
	}
}

// T25: an envelope of before is known by its id, before any key is tried: it is
// acknowledged again, answered with the same bytes at most, and changes nothing, also
// after the session went on and after a restart.
func TestOldEnvelopesAgain(t *testing.T) { oldEnvelopes(t, 20) }

func TestSoakOldEnvelopesAgain(t *testing.T) {
	soak(t)
	oldEnvelopes(t, 10_000)
}

func oldEnvelopes(t *testing.T, times int) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "0", api.StateDelivered)
	old := catchMessages(t, w, ann, bob, 10)
	w.sb.mu.Lock()
	w.sb.meddle = nil
	w.sb.mu.Unlock()
	for _, data := range old {
		receiveAndWait(bob, ann.AMID(), data)
	}
	for i := range 4 { // both chains go on
		w.send(bob, ann, fmt.Sprint("b", i), api.StateDelivered)
		w.send(ann, bob, fmt.Sprint("a", i), api.StateDelivered)
	}
	for restarted := range 2 {
		quiet(t, ann, bob.AMID())
		quiet(t, bob, ann.AMID())
		filled(t, bob)
		before, known := bob.mem.Hash(), w.sb.passed()
		for range times {
			for _, data := range old {
				receiveAndWait(bob, ann.AMID(), data)
			}
		}
		if bob.mem.Hash() != before {
			t.Errorf("restarted %d times: old envelopes changed the store", restarted)
		}
		answers := 0
		for id, n := range w.sb.passed() {
			if known[id] == 0 {
				t.Errorf("restarted %d times: something new was sealed because of a repeat", restarted)
			}
			answers += n - known[id]
		}
		if answers == 0 {
			t.Errorf("restarted %d times: nobody was answered", restarted)
		}
		w.end(bob)
		bob.mem = bob.mem.Reopen()
		w.start(bob)
	}
}

// passed counts how often each envelope left anybody.
func (s *switchboard) passed() map[ratchet.ID]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := make(map[ratchet.ID]int)
	for _, b := range s.wire {
		times[ratchet.EnvelopeID(b)]++
	}
	return times
}

// D6, D7: what arrives while a clerk is busy waits in a queue that has an end; beyond
// it the line waits, and nothing is thrown away.
func TestBusyClerkDropsNothing(t *testing.T) {
	w := newWorld(t)
	w.limits.QueuedPerPeer = 10
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "0", api.StateDelivered)
	const n = 40
	data := catchMessages(t, w, ann, bob, n)
	c := bob.clerk(ann.AMID())
	release := heldUp(c)
	var acked sync.WaitGroup
	acked.Add(n)
	brought := make(chan int, n)
	go func() {
		for i := range n {
			bob.Receive(Incoming{From: ann.AMID(), Data: data[i], Path: api.PathRelayed, Ack: acked.Done})
			brought <- i
		}
	}()
	for range 10 {
		<-brought
	}
	c.mu.Lock()
	queued := len(c.incoming)
	c.mu.Unlock()
	if queued != 10 || len(brought) != 0 {
		t.Errorf("%d queued, %d more were taken in", queued, len(brought))
	}
	release()
	acked.Wait()
	for i, m := range w.take(bob, n+1)[1:] {
		if want := fmt.Sprint("caught ", i+1); string(m.Body) != want {
			t.Fatalf("place %d has %q, want %q", i+1, m.Body, want)
		}
	}
}
