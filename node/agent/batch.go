package agent

import (
	"context"
	"slices"
	"time"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/ratchet"
)

// batch is one transaction in the making: copies of what changes, and what is to
// happen once it is on disk.
type batch struct {
	c        *clerk
	now      time.Time           // the time that is sure: what expires goes by it
	wall     time.Time           // the wall clock: stamps that are kept, shown or told go by it
	up       time.Duration       // the uptime: what waits goes by it
	sessions map[string]*session // clones by sid
	scratch  map[string]*session // clones that nothing was opened with yet
	dropped  map[string]bool     // sids to be erased
	flights  []*flight           // new ones
	landed   map[uint64]bool     // orders of flights that ended
	touched  map[uint64]*flight  // flights whose row changed
	order    uint64
	direct   bool // the carrier is told that a direct path is wanted
	shows    int  // messages that may still be shown in this transaction
	writes   []func(tx store.Tx, row *peerRow, after *[]func()) error
	after    []func()

	spent map[knock.KeyName]bool // one-time keys that a knock of the batch used
}

func (c *clerk) begin() *batch {
	return &batch{
		c: c, now: c.a.expiry.now(), wall: c.a.Clock(), up: c.a.Uptime(), order: c.row.Order, shows: c.a.Limits.Batch,
		sessions: make(map[string]*session), scratch: make(map[string]*session), dropped: make(map[string]bool),
		landed: make(map[uint64]bool), touched: make(map[uint64]*flight), spent: make(map[knock.KeyName]bool),
	}
}

// session returns the batch's own copy, which will be written.
func (b *batch) session(s *session) *session {
	n := b.sessions[s.Sid]
	if n == nil {
		n = b.try(s)
		b.sessions[s.Sid] = n
	}
	return n
}

// try returns a copy to open envelopes with. It is written only if session or add
// takes it over: noise must not cost a commit.
func (b *batch) try(s *session) *session {
	if n := b.sessions[s.Sid]; n != nil {
		return n
	}
	n := b.scratch[s.Sid]
	if n == nil {
		n = s.clone()
		b.scratch[s.Sid] = n
	}
	return n
}

// list is the sessions as the batch has them, the sending one first.
func (b *batch) list() []*session {
	var all []*session
	for _, s := range b.c.sess {
		if n := b.sessions[s.Sid]; n != nil {
			s = n
		}
		if !b.dropped[s.Sid] {
			all = append(all, s)
		}
	}
	for sid, s := range b.sessions {
		if !b.dropped[sid] && b.c.find(sid) == nil {
			all = append(all, s)
		}
	}
	if best := sender(all); best != nil {
		for i, s := range all {
			if s == best {
				all[0], all[i] = all[i], all[0]
			}
		}
	}
	return all
}

// add brings a new session in.
func (b *batch) add(s *session) { b.sessions[s.Sid] = s }

// erase drops a session and its keys.
func (b *batch) erase(s *session) { b.dropped[s.Sid] = true }

// prune erases the oldest of the sessions that we only receive on when there are too
// many of them.
func (b *batch) prune() {
	var idle []*session
	best := sender(b.list())
	for _, s := range b.list() {
		if s != best && !s.waiting() && (s.Asker || s.Answer != knock.AnswerAsked) && !b.c.refers(s.Sid) {
			idle = append(idle, s)
		}
	}
	slices.SortFunc(idle, func(x, y *session) int { return y.Used.Compare(x.Used) })
	for i, s := range idle {
		if i >= b.c.a.Limits.Receiving {
			b.erase(s)
			b.c.landControl(b, s)
		}
	}
}

// write adds rows to the transaction. row is the peer's row, which is written at
// the end; what f adds to after happens once everything is on disk.
func (b *batch) write(f func(tx store.Tx, row *peerRow, after *[]func()) error) {
	b.writes = append(b.writes, f)
}

// then runs f once the batch is on disk.
func (b *batch) then(f func()) { b.after = append(b.after, f) }

// seal seals a content on the batch's copy of a session and makes a flight of it.
func (b *batch) seal(s *session, class flightClass, ct content.Content) (*flight, error) {
	plain, err := ct.Encode()
	if err != nil {
		return nil, err
	}
	s = b.session(s)
	env, _, err := s.r.Seal(b.c.a.Rand, plain)
	if err != nil {
		return nil, err
	}
	s.Used = b.wall
	if class == flightMessage {
		s.Messages++
	} else {
		s.Control++
	}
	f := b.fly(class, env, b.wall.Add(b.c.a.Limits.MaxTTL))
	f.Sid, f.Chain = s.Sid, s.Chain
	return f, nil
}

// fly makes a flight of sealed bytes.
func (b *batch) fly(class flightClass, env []byte, until time.Time) *flight {
	b.order++
	f := &flight{order: b.order, flightRow: flightRow{
		ID: ratchet.EnvelopeID(env), Class: class, At: b.wall, Until: until,
	}, data: env}
	b.flights = append(b.flights, f)
	return f
}

// land ends a flight.
func (b *batch) land(f *flight) { b.landed[f.order] = true }

// confirm ends a flight that the peer named: it has left the window. A flight that
// ends in another way has not, since its number in the chain stays used.
func (b *batch) confirm(f *flight) {
	if b.landed[f.order] {
		return
	}
	b.land(f)
	s := b.c.find(f.Sid)
	if s == nil || b.dropped[f.Sid] {
		return
	}
	if n := b.session(s); n.Chain == f.Chain {
		if f.Class == flightMessage {
			n.Messages = max(0, n.Messages-1)
		} else {
			n.Control = max(0, n.Control-1)
		}
	}
}

func (b *batch) empty() bool {
	return len(b.sessions)+len(b.dropped)+len(b.flights)+len(b.landed)+len(b.touched)+len(b.writes) == 0
}

// commit writes everything in one transaction, swaps the copies in and runs what
// waited for it. After an error the clerk loads its state again: nothing of the
// batch is kept.
func (c *clerk) commit(b *batch) error {
	if b.empty() {
		for _, f := range b.after {
			f()
		}
		return nil
	}
	n := len(b.flights)
	if err := c.a.mark.reserve(n); err != nil {
		c.loaded = false
		return err
	}
	var row peerRow
	var after []func()
	err := c.a.Store.Update(context.WithoutCancel(c.ctx), func(tx store.Tx) error {
		row, after = c.row, nil
		row.Order = b.order
		for _, f := range b.writes {
			if err := f(tx, &row, &after); err != nil {
				return err
			}
		}
		if err := c.putBatch(tx, b); err != nil {
			return err
		}
		return c.putPeer(tx, b, row)
	})
	c.a.mark.settle(n, err == nil)
	if err != nil {
		c.loaded = false
		return err
	}
	c.row = row
	c.swapIn(b)
	for _, f := range after {
		f()
	}
	for _, f := range b.after {
		f()
	}
	return nil
}

// putPeer writes the peer's row, unless it is a stranger with whom nothing came
// about: strangers can be made in any number.
func (c *clerk) putPeer(tx store.Tx, b *batch, row peerRow) error {
	key := c.a.key(rowPeer, c.peer[:])
	if len(b.list()) == 0 {
		if _, found, err := getJSON[peerRow](tx, key); err != nil || !found {
			return err
		}
	}
	return setJSON(tx, key, row)
}

func (c *clerk) putBatch(tx store.Tx, b *batch) error {
	for sid, s := range b.sessions {
		if b.dropped[sid] {
			continue
		}
		if err := c.a.putSession(tx, c.peer, s); err != nil {
			return err
		}
	}
	for sid := range b.dropped {
		if err := tx.Delete(c.a.sessionKey(c.peer, sid)); err != nil {
			return err
		}
	}
	for _, f := range b.flights {
		if b.landed[f.order] {
			continue
		}
		if err := tx.Set(c.a.key(rowSealed, c.peer[:], be64(f.order)), f.data); err != nil {
			return err
		}
		if err := setJSON(tx, c.a.key(rowFlight, c.peer[:], be64(f.order)), f.flightRow); err != nil {
			return err
		}
	}
	if err := c.a.count(tx, len(b.flights)); err != nil {
		return err
	}
	for order, f := range b.touched {
		if b.landed[order] {
			continue
		}
		if err := setJSON(tx, c.a.key(rowFlight, c.peer[:], be64(order)), f.flightRow); err != nil {
			return err
		}
	}
	for order := range b.landed {
		for _, kind := range []byte{rowFlight, rowSealed} {
			if err := tx.Delete(c.a.key(kind, c.peer[:], be64(order))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *clerk) swapIn(b *batch) {
	kept := c.sess[:0]
	for _, s := range c.sess {
		if n := b.sessions[s.Sid]; n != nil {
			s = n
		}
		if !b.dropped[s.Sid] {
			kept = append(kept, s)
		}
	}
	for sid, s := range b.sessions {
		if !b.dropped[sid] && findSession(kept, sid) == nil {
			kept = append(kept, s)
			c.hold.ready = true // what nothing opened gets another chance
		}
	}
	c.sess = kept
	c.a.setKnown(c.peer, len(c.sess) > 0 || c.trusted)
	c.a.tally(c.peer, c.sess)

	if len(b.landed) > 0 {
		left := c.flights[:0]
		for _, f := range c.flights {
			if b.landed[f.order] {
				delete(c.byID, f.ID)
				continue
			}
			left = append(left, f)
		}
		clear(c.flights[len(left):])
		c.flights = left
	}
	for _, f := range b.flights {
		if !b.landed[f.order] {
			c.flights = append(c.flights, f)
			c.byID[f.ID] = f
		}
	}
}
