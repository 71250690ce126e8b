package agent

import (
	"context"
	"errors"
	"time"

	"amesh/internal/store"
	"amesh/node/api"
)

// outcome is the carrier's word about a flight.
type outcome struct {
	order uint64
	Outcome
}

// takeOutcomes notes what became of envelopes that were handed over.
func (c *clerk) takeOutcomes(list []outcome) error {
	if len(list) == 0 {
		return nil
	}
	b := c.begin()
	byOrder := make(map[uint64]*flight, len(c.flights))
	for _, f := range c.flights {
		byOrder[f.order] = f
	}
	for _, o := range list {
		f := byOrder[o.order]
		if f == nil {
			continue // it landed meanwhile
		}
		f.carried = false
		c.takeOutcome(b, f, o.Outcome)
	}
	return c.commit(b)
}

func (c *clerk) takeOutcome(b *batch, f *flight, o Outcome) {
	if o.Err != nil {
		c.takeFailure(b, f, o)
		return
	}
	f.tries++
	f.next = b.up + c.backoff(f.tries)
	c.usedPath(o.Path)
	c.setBoxFull(false)
	if f.Class != flightKnock {
		c.strangeSince = 0
	}
	if !o.Promise.IsZero() {
		f.Promise = o.Promise
	}
	switch {
	case !f.Class.wantsReceipt() && f.Class != flightKnock && (o.Acked || f.tries >= 3):
		// Nobody will name it in a receipt; the peer's own repeats ask for it again.
		b.land(f)
		return
	case !o.Promise.IsZero():
		b.touched[f.order] = f
	}
	if f.Class == flightMessage {
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.left(tx, f, o, b.wall, after)
		})
	}
}

// left notes by which path a message left, and that a relay promised to keep it.
func (c *clerk) left(tx store.Tx, f *flight, o Outcome, wall time.Time, after *[]func()) error {
	row, found, err := c.a.outRow(tx, f.Msg)
	if err != nil || !found || row.State.Terminal() {
		return err
	}
	before := row
	row.Path = o.Path
	if !o.Promise.IsZero() && rankOf[row.State] < rankOf[api.StateRelayed] && c.lastPart(f) {
		row.State = api.StateRelayed
		if row.Reason == api.ReasonGivenUp {
			row.Reason = "" // another relay has it now, or the same one again
		}
	}
	if rankOf[row.State] <= rankOf[api.StateRelayed] {
		row.Where = o.Where
	}
	if row == before {
		return nil
	}
	return c.advance(tx, row, wall, after)
}

// lastPart reports whether every other part of the message has its promise.
func (c *clerk) lastPart(f *flight) bool {
	for _, g := range c.flights {
		if g != f && g.Class == flightMessage && g.Msg == f.Msg && g.Promise.IsZero() {
			return false
		}
	}
	return true
}

func (c *clerk) takeFailure(b *batch, f *flight, o Outcome) {
	var no *Refusal
	switch {
	case errors.As(o.Err, &no) && no.Code == "not_allowed":
		// Only this one: a knock may leave, and perhaps the peer's list is on its way.
		f.tries++
		f.next = b.up + min(time.Duration(f.tries)*200*time.Millisecond, c.a.Limits.ResendFirst)
		c.strange(b)
	case errors.As(o.Err, &no):
		wait := max(no.RetryAfter, 50*time.Millisecond)
		c.paused = b.up + wait
		f.next = c.paused
		if no.Code == "mailbox_full" {
			c.setBoxFull(true)
		}
		if no.Code == "too_large" || no.Code == "invalid" {
			f.next = b.up + c.a.Limits.ResendMost
		}
	case errors.Is(o.Err, ErrNoPath) && f.Class == flightMoment && c.loseEcho(f.ID):
		b.land(f)
	case errors.Is(o.Err, ErrNoPath):
		f.next = b.up + c.a.Limits.ResendFirst // or Kick, whichever is first
	case errors.Is(o.Err, context.Canceled):
		f.next = b.up + c.a.Limits.ResendFirst
	default:
		f.tries++
		f.next = b.up + min(time.Duration(f.tries)*200*time.Millisecond, c.a.Limits.ResendFirst)
	}
}

// strange notes that the peer's relay takes nothing but knocks from us: the peer does
// not know us any more, and its word about that was lost. When it has been so for long
// nothing new goes by the session, and what it carried in vain is sealed again in the
// next one, for which a knock asks. Without any of that the next message does.
func (c *clerk) strange(b *batch) {
	if c.strangeSince == 0 {
		c.strangeSince = b.up
		return
	}
	if b.up-c.strangeSince <= c.a.Limits.StrangeFor {
		return
	}
	c.strangeSince = 0
	best := c.sender()
	for _, s := range c.sess {
		switch {
		case s.accepted() && !s.Void && c.refers(s.Sid):
			c.void(b, s)
		case s == best:
			b.session(s).Closed = true
		default:
			continue
		}
		c.a.Logger.Info("session ended, the peer's relay takes only knocks", "peer", c.peer.Short())
	}
}

// backoff is how long a receipt is waited for before the bytes go again.
func (c *clerk) backoff(tries int) time.Duration {
	d := c.a.Limits.ResendFirst
	for range tries - 1 {
		if d *= 2; d >= c.a.Limits.ResendMost {
			return c.a.Limits.ResendMost
		}
	}
	return d
}
