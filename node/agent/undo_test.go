package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	mrand "math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/ratchet"
)

// T31, CP 28: people whose state is undone again and again, by a backup of now or of
// long ago, or by a copy of the whole store, at random moments of random mail over a
// network that loses, repeats and delays. No key is used with the same nonce twice, no
// session that sealed before seals after, and the mail arrives.
func TestUndoneStateRepeatsNoKeyAndNonce(t *testing.T) { undoAndUndo(t, 2, 8) }

// A thousand times the same.
func TestSoakRestoresRepeatNoKeyAndNonce(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes a minute; set AMESH_SOAK=1")
	}
	undoAndUndo(t, 10, 100)
}

func undoAndUndo(t *testing.T, seeds uint64, times int) {
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newUndoing(t, seed).run(times) })
		})
	}
}

// undoing is a world in which state is undone. Its time is a bubble's.
type undoing struct {
	t      *testing.T
	w      *world
	dice   *mrand.Rand
	people []*person
	calm   bool           // the network loses nothing any more; behind the switchboard's lock
	undone map[string]int // how often, and how
	sent   int

	mu     sync.Mutex
	lives  map[*person]*lives
	nonces map[[24]byte]ratchet.ID  // of every envelope that left
	keys   map[ratchet.Point]string // ratchet keys, by whose session
}

// lives is what a test remembers of a person over all its undone states.
type lives struct {
	life    int // counts the states that were undone and that it noticed
	starts  int
	born    map[string]int       // the life that a session began in
	at      map[string][2]uint64 // sending chain of a session, and how much it has sealed in it
	backups []moment
	copies  []moment
	handled map[string]bool // ids of what the person is done with, as far as its state goes
}

// moment is a state that can come back.
type moment struct {
	saved   saved         // of a backup
	mem     *store.Memory // of a copy
	state   *store.StateKey
	starts  int // of the process, when the copy was made
	handled map[string]bool
}

func newUndoing(t *testing.T, seed uint64) *undoing {
	u := &undoing{
		t: t, w: newWorld(t), dice: mrand.New(mrand.NewPCG(seed, 1)), undone: make(map[string]int),
		lives: make(map[*person]*lives), nonces: make(map[[24]byte]ratchet.ID), keys: make(map[ratchet.Point]string),
	}
	u.w.limits = DefaultLimits()
	u.w.wrap = u.watch
	u.w.sb.meddle = u.network(mrand.New(mrand.NewPCG(seed, 2)))
	for _, name := range []string{"ann", "bob", "cid"} {
		u.people = append(u.people, u.w.person(name, "accept"))
	}
	return u
}

// run undoes so many states.
func (u *undoing) run(times int) {
	for u.undone["backup"]+u.undone["copy"] < times {
		u.mail()
		u.pause()
		u.remember(u.somebody())
		u.mail()
		u.pause()
		u.undo(u.somebody())
		u.mail()
		u.pause()
		u.checkInboxes()
	}
	u.w.sb.mu.Lock()
	u.calm = true
	u.w.sb.mu.Unlock()
	u.settle()
	u.t.Logf("%v undone, %d messages, %d nonces, %d ratchet keys", u.undone, u.sent, len(u.nonces), len(u.keys))
}

func (u *undoing) somebody() *person { return u.people[u.dice.IntN(len(u.people))] }

// pause lets seconds go by, or hours.
func (u *undoing) pause() {
	longest := []time.Duration{time.Second, time.Minute, 20 * time.Minute, 3 * time.Hour}[u.dice.IntN(4)]
	time.Sleep(time.Duration(u.dice.Int64N(int64(longest))))
}

// mail has people write to each other, and be done with some of what came.
func (u *undoing) mail() {
	for range 1 + u.dice.IntN(5) {
		from, to := u.somebody(), u.somebody()
		if from == to {
			continue
		}
		u.send(from, to)
		if u.dice.IntN(3) == 0 {
			u.handle(u.somebody())
		}
		if u.dice.IntN(2) == 0 {
			time.Sleep(time.Duration(u.dice.Int64N(int64(time.Second))))
		}
	}
}

func (u *undoing) send(from, to *person) api.Message {
	size := u.dice.IntN(300)
	if u.dice.IntN(20) == 0 {
		size = 100_000 // in parts
	}
	u.sent++
	m, err := from.Send(u.t.Context(), api.SendRequest{To: to.AMID().String(), Body: make([]byte, size)}, "")
	if err != nil {
		u.t.Fatal(err)
	}
	return m
}

func (u *undoing) handle(p *person) {
	got, err := p.Lease(u.t.Context(), api.LeaseRequest{Max: 1 + u.dice.IntN(4)})
	if err != nil {
		u.t.Fatal(err)
	}
	for _, m := range got[:(len(got)+1)/2] {
		if _, err := p.Ack(u.t.Context(), m.ID, api.AckRequest{}); err != nil {
			u.t.Fatal(err)
		}
		u.of(p).handled[m.ID] = true
	}
}

// remember makes a backup of a person, or a copy of its whole store, after which it is
// mostly started again.
func (u *undoing) remember(p *person) {
	l := u.of(p)
	m := moment{state: p.state, starts: l.starts, handled: maps.Clone(l.handled)}
	switch u.dice.IntN(6) {
	case 0:
		m.mem = copyRunning(u.t, p.mem)
		l.copies = append(l.copies, m)
	case 1:
		u.w.end(p)
		m.mem = p.mem.Reopen()
		l.copies = append(l.copies, m)
		p.mem = m.mem.Reopen()
		u.w.start(p)
	default:
		m.saved = backUp(u.t, p)
		l.backups = append(l.backups, m)
	}
}

// copyRunning copies a store that is in use.
func copyRunning(t *testing.T, from *store.Memory) *store.Memory {
	to := store.NewMemory()
	err := from.View(func(r store.Reader) error {
		var bad error
		err := r.Scan(nil, nil, func(k, v []byte) bool {
			bad = to.Update(t.Context(), func(tx store.Tx) error { return tx.Set(k, v) })
			return bad == nil
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// undo gives a person a state of before: mostly the last, else any.
func (u *undoing) undo(p *person) {
	l := u.of(p)
	pick := func(list []moment) moment {
		if u.dice.IntN(3) > 0 {
			return list[len(list)-1]
		}
		return list[u.dice.IntN(len(list))]
	}
	switch kind := u.dice.IntN(4); {
	case kind == 0 && len(l.copies) > 0:
		u.copyBack(p, pick(l.copies))
	case len(l.backups) > 0:
		m := pick(l.backups)
		u.restore(p, m)
		if kind == 1 {
			u.mail()
			u.pause()
			u.restore(p, m)
		}
	default:
		u.remember(p)
		u.undo(p)
	}
}

// part ends a person's process, in good order or not, and forgets what it was.
func (u *undoing) part(p *person, m moment) *lives {
	if u.dice.IntN(2) == 0 {
		p.mem.Crash()
	}
	u.w.end(p)
	time.Sleep(time.Second) // the clock is what tells two restores of one backup apart
	l := u.of(p)
	l.at, l.handled = make(map[string][2]uint64), maps.Clone(m.handled)
	return l
}

func (u *undoing) restore(p *person, m moment) {
	u.undone["backup"]++
	u.part(p, m).life++
	restore(u.t, u.w, p, m.saved, uint32(time.Now().Unix()))
}

// copyBack puts a whole store back, and the key that belongs to it. The mark stays.
func (u *undoing) copyBack(p *person, m moment) {
	u.undone["copy"]++
	l := u.part(p, m)
	before := p.Epoch()
	p.mem, p.state = m.mem.Reopen(), m.state
	err := p.mem.View(func(r store.Reader) error {
		return r.Scan(p.Agent.key(rowSession), nil, func(k, v []byte) bool {
			s := u.session(p, k, v)
			l.at[s.Sid] = [2]uint64{s.Chain, uint64(s.r.Sent())}
			return true
		})
	})
	if err != nil {
		u.t.Fatal(err)
	}
	if m.starts == l.starts { // nothing notices; there are only the random nonces (session.md §8.7)
		u.undone["unseen"]++
		u.w.start(p)
		return
	}
	l.life++
	u.w.start(p)
	if p.Epoch() != before+1 {
		u.t.Errorf("%s: epoch %d, and %d after a copy was put back", p.name, before, p.Epoch())
	}
}

func (u *undoing) of(p *person) *lives {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lives[p] == nil {
		u.lives[p] = &lives{born: make(map[string]int), at: make(map[string][2]uint64), handled: make(map[string]bool)}
	}
	return u.lives[p]
}

// network carries envelopes, most of them: late, twice or never. It looks at the nonces
// of all.
func (u *undoing) network(dice *mrand.Rand) func(Envelope) int {
	sb := u.w.sb
	return func(e Envelope) int {
		sb.wire = nil // they are many
		u.look(e.Data)
		d := dice.IntN(100)
		switch {
		case u.calm, d < 50:
			return 1
		case d < 60:
			return 0
		case d < 65:
			return 2
		}
		late := time.Duration(dice.Int64N(int64([]time.Duration{time.Second, time.Minute, time.Hour}[d%3])))
		sb.wg.Go(func() {
			time.Sleep(late)
			sb.mu.Lock()
			to := sb.agents[e.To]
			if to == nil {
				sb.mailbox[e.To] = append(sb.mailbox[e.To], e)
			}
			sb.mu.Unlock()
			if to != nil {
				sb.deliver(to, e)
			}
		})
		return 0
	}
}

// look finds the nonces of an envelope, in front of the header and of the body.
func (u *undoing) look(env []byte) {
	const knockMessage = 1401 + 2 // behind the clear part and a length
	id := ratchet.EnvelopeID(env)
	at := 0
	switch ratchet.Type(env[5]) {
	case ratchet.TypeKnock:
		at = knockMessage
	case ratchet.TypeRenew:
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, nonce := range [][]byte{env[at+6:], env[at+6+82:]} {
		if other, known := u.nonces[[24]byte(nonce)]; known && other != id {
			u.t.Errorf("the envelopes %x and %x have one nonce", other, id)
		}
		u.nonces[[24]byte(nonce)] = id
	}
}

// watch stands between a person and its store, and sees what is durable.
func (u *undoing) watch(p *person) store.Store {
	u.of(p).starts++
	return watched{p.mem, func(k, v []byte) { u.see(p, k, v) }}
}

func (u *undoing) session(p *person, k, v []byte) *session {
	s, err := (&Agent{Config: Config{StateKey: p.state}}).openSession(k, v)
	if err != nil {
		u.t.Fatal(err)
	}
	return s
}

// see looks at a session that was written. One seals only in the life it was born in.
func (u *undoing) see(p *person, k, v []byte) {
	if k[identity.AMIDSize] != rowSession {
		return
	}
	s := u.session(p, k, v)
	raw, err := s.r.MarshalBinary()
	if err != nil {
		u.t.Fatal(err)
	}
	const ownKey = 2 + 16 + 32 + 32 + 32 // behind version, stage, sid, th0, ad and the private half
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.lives[p]
	if _, known := l.born[s.Sid]; !known {
		l.born[s.Sid] = l.life
	}
	was, now := l.at[s.Sid], [2]uint64{s.Chain, uint64(s.r.Sent())}
	if now[0] != was[0] {
		was[1] = 0
	}
	if now[1] > was[1] && l.born[s.Sid] != l.life {
		u.t.Errorf("%s sealed in a session of life %d in life %d", p.name, l.born[s.Sid], l.life)
	}
	l.at[s.Sid] = now
	own, whose := ratchet.Point(raw[ownKey:]), p.name+"'s "+s.Sid
	if other := u.keys[own]; other != "" && other != whose {
		u.t.Errorf("the sessions %s and %s have one ratchet key", other, whose)
	}
	u.keys[own] = whose
}

// watched tells of every row once it is durable.
type watched struct {
	store.Store
	see func(key, value []byte)
}

func (s watched) Update(ctx context.Context, f func(store.Tx) error) error {
	var rows [][2][]byte
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		rows = nil
		return f(watchedTx{tx, &rows})
	})
	for _, row := range rows {
		if err == nil {
			s.see(row[0], row[1])
		}
	}
	return err
}

type watchedTx struct {
	store.Tx
	rows *[][2][]byte
}

func (tx watchedTx) Set(key, value []byte) error {
	*tx.rows = append(*tx.rows, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
	return tx.Tx.Set(key, value)
}

// checkInboxes looks for what was shown twice, or again although it was handled.
func (u *undoing) checkInboxes() {
	type once struct {
		peer identity.AMID
		id   uuid.UUID
	}
	for _, p := range u.people {
		seen, handled := make(map[once]bool), u.of(p).handled
		err := p.mem.View(func(r store.Reader) error {
			return scanJSON(r, p.Agent.key(rowIn), nil, func(_ []byte, in inRow) bool {
				if seen[once{in.Peer, in.ID}] {
					u.t.Errorf("%s was shown %s twice", p.name, in.ID)
				}
				if handled[in.Local.String()] && !inboxTerminal(in.State) {
					u.t.Errorf("%s was shown %s again", p.name, in.ID)
				}
				seen[once{in.Peer, in.ID}] = true
				return true
			})
		})
		if err != nil {
			u.t.Fatal(err)
		}
	}
}

// settle lets a day go by without trouble. Then everything has arrived, or ended with
// its time.
func (u *undoing) settle() {
	var last []api.Message
	var from []*person
	for _, p := range u.people {
		for _, q := range u.people {
			if p != q {
				last, from = append(last, u.send(p, q)), append(from, p)
			}
		}
	}
	time.Sleep(26 * time.Hour)
	for i, m := range last {
		if m, err := from[i].Message(u.t.Context(), m.ID, "", 0); err != nil || m.State != api.StateDelivered {
			u.t.Errorf("the last message of %s to %s: %s (%s), %v", from[i].name, m.To.Short(), m.State, m.Reason, err)
		}
	}
	for _, p := range u.people {
		err := p.mem.View(func(r store.Reader) error {
			return scanJSON(r, p.Agent.key(rowOut), nil, func(_ []byte, o outRow) bool {
				if undelivered(&o) {
					u.t.Errorf("a message of %s is %s, %s after it was accepted", p.name, o.State, time.Since(o.Created))
				}
				return true
			})
		})
		if err != nil {
			u.t.Fatal(err)
		}
	}
	u.checkInboxes()
}
