package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/internal/wire"
	"amesh/knock"
	"amesh/ratchet"
)

// sessionMeta is what we know of a session beside its keys.
type sessionMeta struct {
	Sid       string            `json:"sid"`
	Asker     bool              `json:"asker"`     // we knocked
	Ask       knock.AskState    `json:"ask"`       // when we are the asker
	Answer    knock.AnswerState `json:"answer"`    // when the peer is
	Closed    bool              `json:"closed"`    // we only receive
	BundleID  [32]byte          `json:"bundle_id"` // the peer's, when we are the asker
	KnockHash [32]byte          `json:"knock_hash"`
	Prev      [32]byte          `json:"prev"`
	Intent    string            `json:"intent"`
	Intents   []string          `json:"intents,omitempty"` // what was granted; empty: every intent
	Limits    content.Limits    `json:"limits"`
	Type      uint8             `json:"type"`
	PeerEpoch uint32            `json:"peer_epoch"`
	FirstSeq  uint64            `json:"first_seq"` // the asker's, until we accept
	Created   time.Time         `json:"created"`
	Used      time.Time         `json:"used"`
	Expires   time.Time         `json:"expires"` // of the knock, while it is not answered
	Chain     uint64            `json:"chain"`   // counts our sending chains
	Control   int               `json:"control"` // unconfirmed control envelopes in this chain
}

// session is a ratchet with its meta. A batch works on clones.
type session struct {
	sessionMeta
	r *ratchet.Session
}

// accepted reports whether the one who was asked said yes.
func (s *session) accepted() bool {
	if s.Asker {
		return s.Ask == knock.AskAccepted
	}
	return s.Answer == knock.AnswerAccepted
}

// waiting reports whether our knock waits for its answer.
func (s *session) waiting() bool {
	return s.Asker && (s.Ask == knock.AskKnocked || s.Ask == knock.AskDeciding)
}

func (s *session) clone() *session {
	n := *s
	n.r = s.r.Clone()
	return &n
}

func (s *session) contender() knock.Contender {
	return knock.Contender{Hash: s.KnockHash, Prev: s.Prev}
}

func sidText(r *ratchet.Session) string {
	sid := r.SID()
	return hex.EncodeToString(sid[:])
}

func (a *Agent) sessionKey(peer identity.AMID, sid string) []byte {
	raw, _ := hex.DecodeString(sid)
	return a.key(rowSession, peer[:], raw)
}

func (a *Agent) putSession(tx store.Tx, peer identity.AMID, s *session) error {
	meta, err := json.Marshal(s.sessionMeta)
	if err != nil {
		return err
	}
	keys, err := s.r.MarshalBinary()
	if err != nil {
		return err
	}
	w := wire.NewWriter(len(meta) + len(keys) + 8)
	w.LP32(meta)
	w.LP32(keys)
	key := a.sessionKey(peer, s.Sid)
	return tx.Set(key, a.StateKey.Seal(key, w.Bytes()))
}

func (a *Agent) loadSessions(r store.Reader, peer identity.AMID) ([]*session, error) {
	var all []*session
	var bad error
	err := r.Scan(a.key(rowSession, peer[:]), nil, func(k, v []byte) bool {
		s, err := a.openSession(bytes.Clone(k), v)
		if err != nil {
			bad = fmt.Errorf("session of %s: %w", peer.Short(), err)
			return false
		}
		all = append(all, s)
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, bad
}

func (a *Agent) openSession(key, sealed []byte) (*session, error) {
	plain, err := a.StateKey.Open(key, sealed)
	if err != nil {
		return nil, err
	}
	rd := wire.NewReader(plain)
	meta, keys := rd.LP32(1<<20), rd.LP32(16<<20)
	if err := rd.Done(); err != nil {
		return nil, err
	}
	s := &session{}
	if err := json.Unmarshal(meta, &s.sessionMeta); err != nil {
		return nil, err
	}
	s.r, err = ratchet.UnmarshalSession(keys)
	return s, err
}

// batch is one transaction in the making: copies of what changes, and what is to
// happen once it is on disk.
type batch struct {
	c        *clerk
	now      time.Time
	sessions map[string]*session // clones by sid
	dropped  map[string]bool     // sids to be erased
	flights  []*flight           // new ones
	landed   map[uint64]bool     // orders of flights that ended
	touched  map[uint64]*flight  // flights whose row changed
	order    uint64
	writes   []func(tx store.Tx, row *peerRow, after *[]func()) error
	after    []func()
}

func (c *clerk) begin() *batch {
	return &batch{
		c: c, now: c.a.Clock(), order: c.row.Order,
		sessions: make(map[string]*session), dropped: make(map[string]bool),
		landed: make(map[uint64]bool), touched: make(map[uint64]*flight),
	}
}

// session returns the batch's own copy.
func (b *batch) session(s *session) *session {
	if n := b.sessions[s.Sid]; n != nil {
		return n
	}
	n := s.clone()
	b.sessions[s.Sid] = n
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
	s.Used = b.now
	if class != flightMessage {
		s.Control++
	}
	f := b.fly(class, env, b.now.Add(b.c.a.Limits.MaxTTL))
	f.Sid, f.Chain = s.Sid, s.Chain
	return f, nil
}

// fly makes a flight of sealed bytes.
func (b *batch) fly(class flightClass, env []byte, until time.Time) *flight {
	b.order++
	f := &flight{order: b.order, flightRow: flightRow{
		ID: ratchet.EnvelopeID(env), Class: class, At: b.now, Until: until, Data: env,
	}}
	b.flights = append(b.flights, f)
	return f
}

// land ends a flight.
func (b *batch) land(f *flight) { b.landed[f.order] = true }

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
		return setJSON(tx, c.a.key(rowPeer, c.peer[:]), row)
	})
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
		if err := setJSON(tx, c.a.key(rowFlight, c.peer[:], be64(f.order)), f.flightRow); err != nil {
			return err
		}
	}
	for order, f := range b.touched {
		if err := c.rewriteFlight(tx, order, f); err != nil {
			return err
		}
	}
	for order := range b.landed {
		if err := tx.Delete(c.a.key(rowFlight, c.peer[:], be64(order))); err != nil {
			return err
		}
	}
	return nil
}

// rewriteFlight changes the row of a flight whose bytes are not in memory.
func (c *clerk) rewriteFlight(tx store.Tx, order uint64, f *flight) error {
	key := c.a.key(rowFlight, c.peer[:], be64(order))
	old, found, err := getJSON[flightRow](tx, key)
	if err != nil || !found {
		return err
	}
	row := f.flightRow
	row.Data = old.Data
	return setJSON(tx, key, row)
}

func (c *clerk) swapIn(b *batch) {
	before := len(c.sess)
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
		}
	}
	if len(kept) > before {
		c.hold.ready = true
	}
	c.sess = kept
	c.a.setKnown(c.peer, len(c.sess) > 0)

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

func findSession(list []*session, sid string) *session {
	for _, s := range list {
		if s.Sid == sid {
			return s
		}
	}
	return nil
}

func (c *clerk) find(sid string) *session { return findSession(c.sess, sid) }

// prune erases the oldest of the sessions that we only receive on when there are too
// many of them, and stored message keys that are too old.
func (b *batch) prune() {
	var idle []*session
	best := sender(b.list())
	for _, s := range b.list() {
		if s != best && !s.waiting() && (s.Asker || s.Answer != knock.AnswerAsked) {
			idle = append(idle, s)
		}
	}
	slices.SortFunc(idle, func(x, y *session) int { return y.Used.Compare(x.Used) })
	for i, s := range idle {
		if i >= b.c.a.Limits.Receiving {
			b.erase(s)
		}
	}
}

// sender is the session we send on: of the accepted ones the winner of
// docs/protocol/session.md §8.4.
func sender(list []*session) *session {
	var best *session
	for _, s := range list {
		if s.Closed || !s.accepted() {
			continue
		}
		if best == nil || s.contender().Beats(best.contender()) {
			best = s
		}
	}
	return best
}

func (c *clerk) sender() *session { return sender(c.sess) }

// asked is the session whose knock waits for the peer's answer.
func (c *clerk) asked() *session {
	for _, s := range c.sess {
		if s.waiting() {
			return s
		}
	}
	return nil
}
