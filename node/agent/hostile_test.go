package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// fragile is a store whose disk can be full, and that counts.
type fragile struct {
	store.Store
	full    atomic.Bool
	updates atomic.Int64
	views   atomic.Int64
	onView  func()
}

func (f *fragile) Update(ctx context.Context, g func(store.Tx) error) error {
	f.updates.Add(1)
	if f.full.Load() {
		return store.ErrNoSpace
	}
	return f.Store.Update(ctx, g)
}

func (f *fragile) View(g func(store.Reader) error) error {
	f.views.Add(1)
	err := f.Store.View(g)
	if f.onView != nil {
		f.onView()
	}
	return err
}

func fragileWorld(t *testing.T) (*world, map[string]*fragile) {
	w := newWorld(t)
	stores := make(map[string]*fragile)
	w.wrap = func(p *person) store.Store {
		stores[p.name] = &fragile{Store: p.mem}
		return stores[p.name]
	}
	return w, stores
}

// onClerk runs f on the clerk of a peer and waits for it.
func onClerk(t *testing.T, p *person, peer identity.AMID, f func(c *clerk) error) {
	t.Helper()
	_, err := ask(t.Context(), p.Agent, peer, func(c *clerk) (struct{}, error) { return struct{}{}, f(c) })
	if err != nil {
		t.Fatal(err)
	}
}

// quiet waits until the clerk of a peer has nothing under way.
func quiet(t *testing.T, p *person, peer identity.AMID) {
	t.Helper()
	for calm := 0; calm < 3; {
		busy := false
		onClerk(t, p, peer, func(c *clerk) error {
			busy = len(c.flights) > 0
			return nil
		})
		if calm++; busy {
			calm = 0
		}
	}
}

func (s *switchboard) cut(off *atomic.Bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = func(Envelope) int {
		if off.Load() {
			return 0
		}
		return 1
	}
}

func count(t *testing.T, p *person, kind byte) int {
	t.Helper()
	n := 0
	err := p.mem.View(func(r store.Reader) error {
		return r.Scan(p.Agent.key(kind), nil, func(_, _ []byte) bool { n++; return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits for something that another goroutine brings about.
func until(t *testing.T, p *person, what string, f func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		changed := p.changed.wait()
		if f() {
			return
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatalf("waited for ever: %s", what)
		}
	}
}

func noise(n int) []byte {
	p := ratchet.Prefix(ratchet.TypeMessage)
	b := make([]byte, n)
	rand.Read(b)
	return append(p[:], b...)
}

// receiveAndWait hands an envelope over and waits until it was acknowledged.
func receiveAndWait(p *person, from identity.AMID, data []byte) {
	done := make(chan struct{})
	p.Receive(Incoming{From: from, Data: data, Path: api.PathDirect, Ack: func() { close(done) }})
	<-done
}

// handKnock is a knock of somebody who has no node.
func handKnock(t *testing.T, w *world, key identity.PrivateKey, to *person) []byte {
	t.Helper()
	return handAsk(t, w, key, to, peerKeys{}, func(*content.Request) {}).Bytes
}

func handKnockWith(t *testing.T, w *world, key identity.PrivateKey, to *person, keys peerKeys) []byte {
	t.Helper()
	return handAsk(t, w, key, to, keys, func(*content.Request) {}).Bytes
}

// handAsk is handKnock with a request of one's own, and the session that comes of it.
func handAsk(t *testing.T, w *world, key identity.PrivateKey, to *person, keys peerKeys, change func(*content.Request)) *knock.Asked {
	t.Helper()
	rec, err := w.book.Find(t.Context(), to.AMID())
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ratchet.GenerateSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	cert, err := identity.SignKeyCertificate(key, identity.KeyCertificate{
		Epoch: 1, Exchange: exchange.Public(), Created: now, Expires: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	request := content.Request{Intent: "message", SessionType: content.Conversation, Mode: content.Private, FirstSeq: 1}
	change(&request)
	asked, err := knock.NewKnock(rand.Reader, knock.Asking{
		Key: key, Certificate: cert, Exchange: exchange, Peer: rec.Bundle, OneTime: keys.x25519, OneTimeKEM: keys.kem,
		Request: request, Issued: now, Expires: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// T44: with a full disk the clerk keeps what came, tries again now and then, and goes on
// when there is room.
func TestDiskIsFull(t *testing.T) {
	w, stores := fragileWorld(t)
	w.limits.StorePause = 100 * time.Millisecond
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	stores["bob"].full.Store(true)
	m := w.send(ann, bob, "2", api.StateAccepted)
	tries := stores["bob"].updates.Load()
	until(t, bob, "some tries", func() bool { return stores["bob"].updates.Load() >= tries+3 })
	if _, err := bob.Send(t.Context(), api.SendRequest{To: ann.AMID().String(), Body: []byte("x")}, ""); problemCode(err) != api.CodeStorage {
		t.Errorf("submit on a full disk: %v", err)
	}
	stores["bob"].full.Store(false)
	if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || m.State != api.StateDelivered {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
}

// T44: what is stored again shows that there is room again, whoever stored it.
func TestDiskHasRoomAgain(t *testing.T) {
	w, stores := fragileWorld(t)
	bob := w.person("bob", "accept")
	add := func() error {
		_, err := bob.AddContact(t.Context(), api.ContactRequest{AMID: newKey(t).AMID().String(), Name: "dave"})
		return err
	}
	stores["bob"].full.Store(true)
	if err := add(); problemCode(err) != api.CodeStorage || !bob.NoSpace() {
		t.Fatalf("on a full disk: %v, told of it: %t", err, bob.NoSpace())
	}
	stores["bob"].full.Store(false)
	if err := add(); err != nil || bob.NoSpace() {
		t.Errorf("with room: %v, said to be full: %t", err, bob.NoSpace())
	}
}

// T44: a node that nobody asks for anything finds out by itself.
func TestDiskHasRoomAgainWhileNothingIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stores := fragileWorld(t)
		bob := w.person("bob", "accept")
		stores["bob"].full.Store(true)
		if _, err := bob.AddContact(t.Context(), api.ContactRequest{AMID: newKey(t).AMID().String(), Name: "dave"}); problemCode(err) != api.CodeStorage {
			t.Fatal(err)
		}
		time.Sleep(2 * lookEvery)
		if !bob.NoSpace() {
			t.Error("a full disk is said to have room")
		}
		stores["bob"].full.Store(false)
		time.Sleep(2 * lookEvery)
		if bob.NoSpace() {
			t.Error("a disk with room is said to be full")
		}
	})
}

// T44: what only deletes passes on a full disk, and does not show that there is room.
func TestDeletingShowsNoRoom(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	bob.spaceTrouble(true)
	for _, f := range []func(store.Tx) error{
		func(tx store.Tx) error { return tx.Delete([]byte("x")) },
		func(tx store.Tx) error { return errors.Join(tx.Delete([]byte("x")), tx.Set([]byte("y"), nil)) },
		func(store.Tx) error { return nil },
	} {
		if err := bob.Store.Update(t.Context(), f); err != nil || !bob.NoSpace() {
			t.Errorf("said to be full: %t, %v", bob.NoSpace(), err)
		}
	}
}

func problemCode(err error) api.Code {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// A clerk that has nothing to do asks the store for nothing, whatever stands open: here
// a session to send on beside a knock that waits for the other owner.
func TestWaitingIsQuiet(t *testing.T) {
	w, stores := fragileWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "ask")
	w.send(ann, bob, "please", api.StateAccepted)
	waitForKnock(t, bob)
	w.send(bob, ann, "hello", api.StateDelivered)
	ann.Kick()
	quiet(t, bob, ann.AMID())
	quiet(t, ann, bob.AMID())
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		if c.sender() == nil || c.asked() == nil {
			t.Error("want a session to send on and a knock that waits")
		}
		return nil
	})
	before := stores["ann"].views.Load()
	time.Sleep(300 * time.Millisecond) // nothing must happen meanwhile, so there is nothing to await
	if n := stores["ann"].views.Load() - before; n > 30 {
		t.Errorf("%d looks at the store with nothing to do", n)
	}
}

// One job that fails takes neither the others nor what arrived with it.
func TestFailedJobKeepsTheRest(t *testing.T) {
	w := newWorld(t)
	w.limits.StorePause = time.Millisecond
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	c := bob.clerk(ann.AMID())
	gate, in := make(chan struct{}), make(chan struct{})
	c.do(func() error { close(in); <-gate; return nil })
	<-in
	ran, acked := make(chan struct{}), make(chan struct{})
	c.do(func() error { return store.ErrNoSpace })
	c.do(func() error { close(ran); return nil })
	bob.Receive(Incoming{From: ann.AMID(), Data: noise(300), Path: api.PathRelayed, Ack: func() { close(acked) }})
	close(gate)
	<-ran
	<-acked
}

// Whoever asked a clerk that dies with its store is told, also when its turn had not come.
func TestDeadClerkLeavesNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	c := bob.clerk(ann.AMID())
	gate, in := make(chan struct{}), make(chan struct{})
	c.do(func() error { close(in); <-gate; return store.ErrPoisoned })
	<-in
	told := make(chan error, 1)
	go func() {
		_, err := ask(context.Background(), bob.Agent, ann.AMID(), func(*clerk) (struct{}, error) { return struct{}{}, nil })
		told <- err
	}()
	until(t, bob, "it is asked", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.jobs) > 0
	})
	close(gate)
	if err := <-told; problemCode(err) != api.CodeBusy {
		t.Errorf("told %v", err)
	}
	if err := <-bob.done; !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("the agent ended with %v", err)
	}
	if err := bob.LearnRevocation(context.Background(), &identity.Revocation{AMID: ann.AMID()}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("whoever asks later is told %v", err)
	}
	bob.done <- nil // the cleanup asks again
}

// The window of a chain counts numbers that were used, not envelopes that are still
// under way (session.md §9.3): what was cancelled or ran out of time stays counted.
func TestWindowSurvivesEndedMessages(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	var off atomic.Bool
	off.Store(true)
	w.sb.cut(&off)
	for i := range 1100 {
		m := w.send(ann, bob, fmt.Sprint(i), api.StateAccepted)
		if _, err := ann.Cancel(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		s := c.sender()
		if s.Control > 400 || s.Messages > 400 || s.r.Sent() > 810 {
			t.Errorf("control %d, messages %d, chain at %d with nothing confirmed", s.Control, s.Messages, s.r.Sent())
		}
		b := c.begin() // three days later nothing of it is sent any more
		for _, f := range c.flights {
			b.land(f)
		}
		return c.commit(b)
	})
	off.Store(false)
	m := w.send(bob, ann, "back", api.StateDelivered)
	if m.State != api.StateDelivered {
		t.Fatalf("bob→ann: %s (%s)", m.State, m.Reason)
	}
	if m = w.send(ann, bob, "after", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("ann→bob: %s (%s)", m.State, m.Reason)
	}
}

// A side that only receives goes on receipting: its chain is turned before the window of
// receipts is full.
func TestReceiptsGoOn(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	const n = 260
	for i := range n {
		w.send(ann, bob, fmt.Sprint(i), api.StateAccepted)
	}
	until(t, bob, "all messages", func() bool {
		page, err := bob.Inbox(api.InboxQuery{Limit: 500})
		return err == nil && len(page.Items) == n
	})
	for i := range n {
		m := w.take(bob, 1)[0]
		if _, err := ann.Message(t.Context(), m.ID, api.StateLeased, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.Ack(t.Context(), m.ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
		got, err := ann.Message(t.Context(), m.ID, api.StateHandled, 10*time.Second)
		if err != nil || got.State != api.StateHandled {
			t.Fatalf("message %d handled by bob, ann sees %s (%v); %d lines due at bob", i, got.State, err, count(t, bob, rowDue))
		}
	}
}

// Noise with a known sender's name on the outside changes nothing on disk (I10).
func TestNoiseCommitsNothing(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	filled(t, bob) // or the one-time keys would come in between
	before := bob.mem.Hash()
	for range 100 {
		receiveAndWait(bob, ann.AMID(), noise(82+40+256))
	}
	if bob.mem.Hash() != before {
		t.Error("noise changed the store")
	}
}

// A part that comes after its message was refused gets the refusal again.
func TestPartOfRefusedMessage(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	c := newClerk(bob.Agent, ann.AMID())
	d := content.Description{ID: uuid.New(), Sequence: 9, Created: time.Now(), Deadline: time.Now().Add(time.Hour), Intent: "message"}
	parts, err := content.Split(d, make([]byte, 100_000))
	if err != nil {
		t.Fatal(err)
	}
	var states []content.State
	undo := errors.New("undo")
	err = bob.Store.Update(t.Context(), func(tx store.Tx) error {
		var row peerRow
		var after []func()
		b := c.begin()
		if err := c.refuseParts(tx, &row, &after, b, parts[0].(*content.Part), row.InEpoch, errPartsBusy); err != nil {
			return err
		}
		if _, err := c.keepPart(tx, time.Now(), parts[1].(*content.Part)); !errors.Is(err, errPartsKnown) {
			return err
		}
		err := scanJSON(tx, c.a.key(rowDue, c.peer[:]), nil, func(_ []byte, d dueRow) bool {
			states = append(states, d.State)
			return true
		})
		return errors.Join(err, undo)
	})
	if !errors.Is(err, undo) || len(states) != 2 || states[1] != content.Refused {
		t.Fatalf("receipts %v, %v; want refused twice", states, err)
	}
}

// T43 for the owner's desk: one stranger has one place among those who wait.
func TestOneStrangerHasOnePlace(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "ask")
	bob.Agent.KnockLimits.PendingStrangers = 5
	key := newKey(t)
	for range 7 {
		receiveAndWait(bob, key.AMID(), handKnock(t, w, key, bob))
	}
	pending := 0
	knocks, err := bob.Knocks()
	for _, k := range knocks {
		if k.State == knockPending {
			pending++
		}
	}
	if err != nil || pending != 1 {
		t.Errorf("%d knocks of one stranger wait, %v", pending, err)
	}
	ann := w.person("ann", "ask")
	m := w.send(ann, bob, "honest", api.StateAccepted)
	waitForKnock(t, bob)
	if m, _ = ann.Message(t.Context(), m.ID, "", 0); m.State == api.StateRefused {
		t.Fatalf("ann is %s because another stranger knocked often", m.State)
	}
}

// Strangers that were rejected leave no row that grows and no goroutine.
func TestRejectedStrangersLeaveLittle(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "reject")
	for range 25 {
		key := newKey(t)
		receiveAndWait(bob, key.AMID(), handKnock(t, w, key, bob))
	}
	if n := count(t, bob, rowPeer); n != 0 {
		t.Errorf("%d rows of peers", n)
	}
	until(t, bob, "answers handed over", func() bool { return count(t, bob, rowFlight) == 0 })
	w.end(bob)
	bob.mem = bob.mem.Reopen()
	w.start(bob)
	if n := len(bob.allClerks()); n != 0 {
		t.Errorf("%d clerks after a start, for strangers that were all rejected", n)
	}
}

// What is submitted at any moment of the start finds a clerk.
func TestSubmitDuringStart(t *testing.T) {
	w, stores := fragileWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.end(ann)
	for at := range 3 {
		st := &fragile{Store: ann.mem}
		stores["ann"] = st
		a, err := New(Config{
			Name: "ann", Key: ann.key, Store: st, StateKey: ann.state, Carrier: line{s: w.sb}, Directory: w.book,
			Policy: func() *knock.Policy { return &ann.policy }, Limits: w.limits,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		sent := make(chan string, 1)
		looks := int64(at)
		first := st.views.Load()
		st.onView = func() {
			if st.views.Load()-first <= looks {
				return
			}
			once.Do(func() {
				m, err := a.Send(context.Background(), api.SendRequest{To: bob.AMID().String(), Body: []byte("x")}, "")
				if err != nil {
					t.Error(err)
				}
				sent <- m.ID
			})
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		w.sb.plug(a)
		id := <-sent
		m, err := a.Message(t.Context(), id, api.StateDelivered, 10*time.Second)
		if err != nil || m.State != api.StateDelivered {
			t.Errorf("submitted at look %d: %s (%s), %v", at, m.State, m.Reason, err)
		}
		w.sb.mu.Lock()
		delete(w.sb.agents, a.AMID())
		w.sb.mu.Unlock()
		stop()
		<-done
	}
}

// A late receipt corrects what was given up, but opens nothing again.
func TestLateReceipts(t *testing.T) {
	for _, c := range []struct {
		was  api.State
		says content.State
		want api.State
	}{
		{api.StateExpired, content.Delivered, api.StateExpired},
		{api.StateExpired, content.Leased, api.StateExpired},
		{api.StateExpired, content.Handled, api.StateHandled},
		{api.StateDead, content.Delivered, api.StateExpired},
		{api.StateDead, content.Handled, api.StateHandled},
		{api.StateDead, content.Refused, api.StateRefused},
		{api.StateCancelled, content.Handled, api.StateCancelled},
		{api.StateHandled, content.Failed, api.StateHandled},
		{api.StateLeased, content.Delivered, api.StateLeased},
		{api.StateDelivered, content.Failed, api.StateFailed},
	} {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		m := w.send(ann, bob, "1", api.StateDelivered)
		id := uuid.MustParse(m.ID)
		onClerk(t, ann, bob.AMID(), func(k *clerk) error {
			b := k.begin()
			row := *k.open[m.Sequence]
			row.State = c.was
			b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error { return k.advance(tx, row, b.now, after) })
			if err := k.commit(b); err != nil {
				return err
			}
			b = k.begin()
			if err := k.takeReceipts(b, &content.Receipts{Messages: []content.Receipt{{ID: id, State: c.says, At: b.now}}}); err != nil {
				return err
			}
			return k.commit(b)
		})
		if got, err := ann.readOut(id); err != nil || got.State != c.want {
			t.Errorf("%s, then %d: %s, %v; want %s", c.was, c.says, got.State, err, c.want)
		}
	}
}

// What the owner gave stays what it was when the peer says yes to us.
func TestPeerCannotWidenItsGrant(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "ask")
	own := Grant{Peer: ann.AMID(), Intents: []string{"travel"}, Since: time.Now(), Expires: time.Now().Add(time.Hour)}
	amid := ann.AMID()
	key := bob.Agent.key(rowGrant, amid[:])
	if err := bob.mem.Update(t.Context(), func(tx store.Tx) error { return setJSON(tx, key, own) }); err != nil {
		t.Fatal(err)
	}
	w.send(bob, ann, "hello", api.StateDelivered)
	err := bob.mem.View(func(r store.Reader) error {
		g, _, err := getJSON[Grant](r, key)
		if g.Expires.IsZero() || len(g.Intents) != 1 {
			t.Errorf("ann's words replaced the owner's: intents %v, expires %v", g.Intents, g.Expires)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// CP 33: a bundle made while the clock was ahead is replaced when the clock is right.
func TestClockWasAhead(t *testing.T) {
	w := newWorld(t)
	ahead := true
	w.clock = func() time.Time {
		if ahead {
			return time.Now().Add(365 * 24 * time.Hour)
		}
		return time.Now()
	}
	bob := w.person("bob", "accept")
	w.end(bob)
	bob.mem = bob.mem.Reopen()
	ahead = false
	w.start(bob)
	if err := bob.prekeys.current().bundle.Usable(time.Now()); err != nil {
		t.Fatalf("own newest bundle: %v", err)
	}
}

// After the peer's close the session still carries our receipts.
func TestReceiptsAfterClose(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		b := c.begin()
		if _, err := b.seal(c.sender(), flightControl, &content.Close{Reason: content.CloseDone, LastSequence: 1}); err != nil {
			return err
		}
		return c.commit(b)
	})
	until(t, bob, "bob sees the close", func() bool {
		closed := false
		onClerk(t, bob, ann.AMID(), func(c *clerk) error { closed = c.sender() == nil; return nil })
		return closed
	})
	until(t, bob, "receipts sealed", func() bool { return count(t, bob, rowDue) == 0 })
}

// A hole that ends in a skip is told with the next message all the same.
func TestGapBeforeSkip(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		b := c.begin()
		b.now = b.now.Add(-2 * time.Minute)
		b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
			if err := c.place(tx, row, after, b, inRow{Local: uuid.New(), Seq: 1}, row.InEpoch); err != nil {
				return err
			}
			if err := c.skip(tx, row, after, b, 3, 3); err != nil { // 2 is missing
				return err
			}
			return c.place(tx, row, after, b, inRow{Local: uuid.New(), Seq: 4}, row.InEpoch)
		})
		// A row of its own, or nobody would come back to it.
		b.add(&session{sessionMeta: sessionMeta{Sid: "00"}, r: &ratchet.Session{}})
		b.erase(b.sessions["00"])
		if err := c.commit(b); err != nil {
			return err
		}
		b = c.begin()
		c.showMore(b)
		return c.commit(b)
	})
	page, err := bob.Inbox(api.InboxQuery{All: true})
	if err != nil || len(page.Items) != 2 || page.Items[1].GapBefore != 1 {
		t.Fatalf("%+v, %v: sequence 2 is missing and nobody says so", page.Items, err)
	}
}

// What waits behind a hole is bounded, and a sequence is not given twice.
func TestHeldIsBounded(t *testing.T) {
	w := newWorld(t)
	w.limits.Held = 20
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	reasons := make(map[content.Reason]int)
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		b := c.begin()
		b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
			for i := range 100 {
				seq := uint64(10 + 10*(i%90)) // the last ten repeat a sequence
				d := content.Description{
					ID: uuid.New(), Sequence: seq, Created: b.now, Deadline: b.now.Add(time.Hour), Intent: "message",
				}
				if err := c.store(tx, row, after, b, incomingMessage{desc: d, epoch: row.InEpoch}); err != nil {
					return err
				}
			}
			return scanJSON(tx, c.a.key(rowDue, c.peer[:]), nil, func(_ []byte, d dueRow) bool {
				reasons[d.Reason]++
				return true
			})
		})
		return c.commit(b)
	})
	if n := count(t, bob, rowHeld); n > 20 {
		t.Errorf("%d rows held, limit 20", n)
	}
	if reasons[content.ReasonBusy] != 70 || reasons[content.ReasonConflict] != 10 {
		t.Errorf("answers by reason: %v", reasons)
	}
}

// Many long messages on a bad path all arrive: the sender has no more of them under way
// than the receiver takes.
func TestLongMessagesUnderLoss(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	dice := mrand.New(mrand.NewPCG(1, 2))
	w.sb.mu.Lock()
	w.sb.meddle = func(Envelope) int { return []int{0, 1, 1, 1}[dice.IntN(4)] }
	w.sb.mu.Unlock()
	var ids []string
	for range 12 {
		ids = append(ids, w.send(ann, bob, string(make([]byte, 200_000)), api.StateAccepted).ID)
	}
	for _, id := range ids {
		m, err := ann.Message(t.Context(), id, api.StateDelivered, 30*time.Second)
		if err != nil || m.State != api.StateDelivered {
			t.Errorf("%s (%s), %v", m.State, m.Reason, err)
		}
	}
}

// Forged knocks in somebody's name do not use up that somebody's knocks.
func TestForgedKnocksCostNobodyElse(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	key := newKey(t)
	good := handKnock(t, w, key, bob)
	for range 40 {
		forged := append([]byte(nil), good...)
		rand.Read(forged[len(forged)-32 : len(forged)-8]) // in the signature
		receiveAndWait(bob, key.AMID(), forged)
	}
	receiveAndWait(bob, key.AMID(), good)
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 {
		t.Fatalf("%d knocks, %v: the honest one was dropped", len(knocks), err)
	}
}

// What the peer has cannot be taken back.
func TestCancelAfterDelivered(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	m := w.send(ann, bob, "1", api.StateDelivered)
	if _, err := ann.Cancel(t.Context(), m.ID); problemCode(err) != api.CodeConflict {
		t.Errorf("cancel: %v", err)
	}
	key := newKey(t)
	waiting, err := ann.Send(t.Context(), api.SendRequest{To: key.AMID().String(), Body: []byte("x")}, "")
	if err != nil {
		t.Fatal(err)
	}
	if m, err = ann.Cancel(t.Context(), waiting.ID); err != nil || m.State != api.StateCancelled {
		t.Errorf("cancel of one that waits: %s, %v", m.State, err)
	}
	if _, err := ann.Cancel(t.Context(), waiting.ID); problemCode(err) != api.CodeConflict {
		t.Errorf("cancel twice: %v", err)
	}
}

// Noise does not keep honest envelopes out of the hold for longer than their time.
func TestHoldForgets(t *testing.T) {
	l := DefaultLimits()
	var h hold
	for range 70 {
		h.add(0, arrival{Incoming: Incoming{Data: noise(300)}}, false, l)
	}
	if len(h.list) != l.HoldEnvelopes {
		t.Fatalf("%d held, limit %d", len(h.list), l.HoldEnvelopes)
	}
	h.add(l.HoldFor, arrival{Incoming: Incoming{Data: noise(300)}}, false, l)
	if len(h.list) != 1 || h.bytes != len(h.list[0].Data) {
		t.Errorf("%d held with %d bytes after their time", len(h.list), h.bytes)
	}
}

// A time to live that nobody keeps is refused, not cut.
func TestTooLongToLive(t *testing.T) {
	w := newWorld(t)
	ann := w.person("ann", "ask")
	_, err := ann.Send(t.Context(), api.SendRequest{To: newKey(t).AMID().String(), Body: []byte("x"), TTLSeconds: 72*3600 + 1}, "")
	if p, ok := errors.AsType[*api.Problem](err); !ok || p.Code != api.CodeInvalid {
		t.Errorf("%v", err)
	}
}

// A long queue whose time ran out while the node was off ends in pieces that fit.
func TestManyEndAtOnce(t *testing.T) {
	w := newWorld(t)
	var later atomic.Int64
	w.clock = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	ann := w.person("ann", "ask")
	key := newKey(t) // a peer that nobody finds
	for range 1500 {
		if _, err := ann.Send(t.Context(), api.SendRequest{To: key.AMID().String(), Body: []byte("x"), TTLSeconds: 3600}, ""); err != nil {
			t.Fatal(err)
		}
	}
	w.end(ann)
	later.Store(int64(2 * time.Hour))
	ann.mem = ann.mem.Reopen()
	w.start(ann)
	until(t, ann, "all ended", func() bool { n, err := ann.Counts(); return err == nil && n.Queued == 0 })
}

// The relay's promises for a full queue of long messages, all at once after a restart.
func TestManyPromisesAtOnce(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	w.end(bob)
	for range 8 {
		w.send(ann, bob, string(make([]byte, 1<<20)), api.StateAccepted)
	}
	w.end(ann)
	ann.mem = ann.mem.Reopen()
	w.start(ann)
	w.start(bob)
	until(t, bob, "nine messages", func() bool {
		page, err := bob.Inbox(api.InboxQuery{All: true})
		return err == nil && len(page.Items) == 9
	})
	select {
	case err := <-ann.done:
		t.Fatalf("the mailroom ended: %v", err)
	default:
	}
}

// What waits behind a hole is shown in pieces that fit, in order, with the gap told.
func TestManyBehindAHole(t *testing.T) {
	w := newWorld(t)
	w.limits.GapTimeout = time.Second
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	amid := bob.AMID()
	err := ann.mem.Update(t.Context(), func(tx store.Tx) error { // sequence 2 never comes
		_, err := ann.nextCounter(tx, counterSequence, amid[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1500
	for i := range n {
		w.send(ann, bob, fmt.Sprint(i), api.StateAccepted)
	}
	var items []api.InboxItem
	until(t, bob, "everything shown", func() bool {
		items = nil
		for cursor := ""; ; {
			page, err := bob.Inbox(api.InboxQuery{All: true, Limit: 500, Cursor: cursor})
			if err != nil {
				return false
			}
			items = append(items, page.Items...)
			if cursor = page.Next; cursor == "" {
				return len(items) == n+1
			}
		}
	})
	for i, item := range items[1:] {
		if want := uint64(i + 3); item.Sequence != want || (item.GapBefore != 0) != (i == 0) {
			t.Fatalf("place %d has sequence %d, gap %d", i+1, item.Sequence, item.GapBefore)
		}
	}
}
