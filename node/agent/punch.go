package agent

import (
	"bytes"
	"context"
	"errors"
	"time"

	"amesh/identity"
	"amesh/internal/content"
)

// Direct paths by ICE, as far as they are a matter of sessions: what two nodes say to each
// other about one, and when one is worth the trouble (session.md §7.6). How it is opened
// is the carrier's affair.

// GivesWay reports whether our attempt gives way when the peer and we have both offered.
func GivesWay(ours, peer identity.AMID) bool { return bytes.Compare(ours[:], peer[:]) < 0 }

// Signal seals an offer or an answer for a peer, stamps it, and has it on its way when it
// returns. It returns ErrNoSession, ErrTooOften, content.ErrMalformed, or an error of the
// store. The carrier must not call it from within one of its methods.
func (a *Agent) Signal(ctx context.Context, peer identity.AMID, s content.Signal) error {
	s = stamped(s, a.Clock().Truncate(time.Millisecond))
	if _, err := s.Encode(); err != nil {
		return err
	}
	if !a.isKnown(peer) {
		return ErrNoSession
	}
	no, err := ask(ctx, a, peer, func(c *clerk) (error, error) { return c.signal(s) })
	return errors.Join(no, err) // one of them at most
}

func stamped(s content.Signal, at time.Time) content.Signal {
	switch s := s.(type) {
	case *content.ICEOffer:
		offer := *s
		offer.Stamp = at
		return &offer
	case *content.ICEAnswer:
		answer := *s
		answer.Stamp = at
		return &answer
	}
	return s
}

// signal runs on the clerk's goroutine.
func (c *clerk) signal(s content.Signal) (no, err error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	b := c.begin()
	if !c.sentSignals.allow(b.up, c.a.Limits.SignalsPerMinute) {
		return ErrTooOften, nil
	}
	if _, no, err = c.utter(b, s, ""); no != nil || err != nil {
		return no, err
	}
	if _, offer := s.(*content.ICEOffer); offer {
		b.then(func() { c.noteOffer(b.up, s.Of()) })
	}
	return nil, c.commit(b)
}

// noteOffer remembers an attempt that an answer may name, and forgets those that none may
// name any more.
func (c *clerk) noteOffer(up time.Duration, attempt content.Attempt) {
	for old, at := range c.offered {
		if up-at >= c.a.Limits.MomentLife {
			delete(c.offered, old)
		}
	}
	c.offered[attempt] = up
}

// takeSignal hands the carrier an offer that is still of use, or the answer to one of
// ours.
func (c *clerk) takeSignal(b *batch, s content.Signal) {
	if !c.gotSignals.allow(b.up, c.a.Limits.SignalsPerMinute) || !c.timely(b, s) {
		c.a.Logger.Debug("signal ignored", "peer", c.peer.Short())
		return
	}
	b.then(func() { c.a.Carrier.Signalled(c.peer, s) })
}

// timely judges an offer by its stamp, and an answer by the attempt that it names: our
// own clock knows when that was.
func (c *clerk) timely(b *batch, s content.Signal) bool {
	if offer, ok := s.(*content.ICEOffer); ok {
		age := b.wall.Sub(offer.Stamp)
		return age <= c.a.Limits.MomentLife && age >= -c.a.Limits.Skew
	}
	at, ours := c.offered[s.Of()]
	delete(c.offered, s.Of())
	return ours && b.up-at < c.a.Limits.MomentLife
}

// talks notes a message that was sealed or opened; last is when there was one before in
// the same direction. A conversation or a stream is worth a direct path at once, anything
// else with the second message in a while: a question and its answer are done before a
// path is open.
func (c *clerk) talks(b *batch, s *session, last *time.Duration) {
	again := *last != 0 && b.up-*last < c.a.Limits.DirectWindow
	*last = max(b.up, 1)
	if again || content.SessionType(s.Type) != content.RequestResponse {
		c.wantDirect(b, s)
	}
}

// wantDirect tells the carrier that a direct path is worth the trouble, once a batch.
func (c *clerk) wantDirect(b *batch, s *session) {
	if b.direct || c.a.Limits.DirectWindow <= 0 || !s.accepted() {
		return
	}
	b.direct = true
	b.then(func() { c.a.Carrier.WantDirect(c.peer) })
}
