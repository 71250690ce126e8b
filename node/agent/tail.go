package agent

import (
	"errors"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// The first message behind a knock, for a peer that will let us in without asking
// (session.md §5.2, §8.1). It is an envelope like any other: its flight waits for the
// accept, and until then its bytes travel in the knock's.

// sealTail puts the first of the waiting rows behind our knock, if the peer and we have a
// grant for it, or the knock brings an invite for it, and it fits, and returns the whole envelope. Without a tail that is the
// knock alone. b knows the session already.
func (c *clerk) sealTail(b *batch, s *session, asked *knock.Asked, rows []outRow) ([]byte, error) {
	if len(rows) == 0 {
		return asked.Bytes, nil
	}
	o := rows[0]
	out := s.Out.Plus(o.Size)
	granted, err := c.grantedNow(o.Intent, b.now)
	granted = granted || s.Invite != "" && covers(c.wish.Intents, []string{o.Intent})
	if err != nil || !granted || o.Via != "" || o.Size > content.SliceSize || !s.terms().Allows(out, true) {
		return asked.Bytes, err
	}
	body, err := c.body(o)
	if err != nil {
		return nil, err
	}
	message := content.Message{Description: c.describe(s, &o, body), Body: body}
	plain, err := message.Encode()
	if err != nil {
		return nil, err
	}
	envelope, err := asked.WithTail(c.a.Rand, plain)
	if errors.Is(err, ratchet.ErrTooLong) {
		return asked.Bytes, nil
	}
	if err != nil {
		return nil, err
	}
	for _, old := range c.flightsOf(o.ID) {
		b.land(old) // sealed in a session that is void
	}
	f := b.fly(flightMessage, envelope[len(asked.Bytes):], o.Deadline.Add(c.a.Limits.Skew))
	f.Sid, f.Chain, f.Msg = s.Sid, s.Chain, o.ID
	s.Messages++
	s.Out, s.Last = out, o.Seq
	c.talks(b, s, &c.sentAt)
	o.Session, o.Tail, o.Mode = s.Sid, true, s.mode()
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error { return c.advance(tx, o, b.wall, after) })
	return envelope, nil
}

// early reports whether a flight waits for the accept of its session.
func (c *clerk) early(f *flight) bool {
	if f.Class != flightMessage {
		return false
	}
	s := c.find(f.Sid)
	return s != nil && !s.accepted()
}

// tailsOf are the rows whose message went behind the knock of a session; there is one at
// most.
func (c *clerk) tailsOf(s *session) []outRow {
	var rows []outRow
	for _, o := range c.open {
		if o.Tail && o.Session == s.Sid {
			rows = append(rows, *o)
		}
	}
	return rows
}

// letTailGo makes a message like any other of the tail of a knock that was accepted. It
// left once, with the knock; its receipt is waited for before it goes again.
func (c *clerk) letTailGo(b *batch, s *session) {
	for _, o := range c.tailsOf(s) {
		c.changeTail(b, o, func(o *outRow) { o.Tail = false })
		for _, f := range c.flightsOf(o.ID) {
			b.then(func() { f.tries, f.next = 1, b.up+c.backoff(1) })
		}
	}
}

// takeTailBack lets the message behind a knock wait again: nothing will come of the knock.
// The peer may have it all the same, and then knows its id.
func (c *clerk) takeTailBack(b *batch, s *session) {
	for _, o := range c.tailsOf(s) {
		for _, f := range c.flightsOf(o.ID) {
			b.land(f)
		}
		c.changeTail(b, o, func(o *outRow) {
			o.Session, o.Tail, o.Mode = "", false, 0
			if undelivered(o) {
				o.State, o.Where = api.StateAccepted, ""
			}
		})
	}
}

// changeTail changes the row of a message that went behind a knock, as it is by then: a
// receipt in the same transaction may have ended it.
func (c *clerk) changeTail(b *batch, o outRow, change func(*outRow)) {
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		row, found, err := c.a.outRow(tx, o.ID)
		if err != nil || !found || row.State.Terminal() {
			return err
		}
		change(&row)
		return c.advance(tx, row, b.wall, after)
	})
}

// takeTail opens what came behind a knock, on the session that was just accepted and in
// the same transaction. With any other answer nothing of it is kept (T37). A tail that
// does not open is none: it is not signed, so anybody on the way can have put it there.
func (c *clerk) takeTail(b *batch, s *session, arr arrival) error {
	tail := arr.know.Tail
	if len(tail) == 0 || !s.accepted() {
		return nil
	}
	before := s.r.SkippedKeys()
	opened, err := s.r.Open(b.now, c.a.Rand, tail)
	if err != nil {
		c.a.Logger.Debug("tail not opened", "peer", c.peer.Short(), "err", err)
		return nil
	}
	ct, err := content.Parse(opened.Plaintext)
	if err != nil {
		ct = &content.Unknown{}
	}
	arr.id, arr.Data, arr.know = ratchet.EnvelopeID(tail), tail, nil
	c.boundSkipped(s, before)
	c.stepped(b, s, opened)
	return c.take(b, s, arr, ct)
}
