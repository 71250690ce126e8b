package relay

import (
	"net/netip"
	"time"

	"amesh/internal/prefix"
)

// replacing counts how often an agent's connection gave way to a newer one from the same
// address. An app that connects again whenever its connection ends, and has two of them,
// would let them replace one another for ever: so after a few times the older one is not
// closed, which it would answer with a third, but left open and mute.
type replacing struct {
	from  netip.Prefix
	since time.Time
	times int
}

// again counts one more, and reports whether these are too many.
func (r replacing) again(from netip.Prefix, now time.Time, l Limits) (replacing, bool) {
	if r.from != from || now.Sub(r.since) > l.ReplaceWindow {
		r = replacing{from: from, since: now}
	}
	r.times++
	return r, r.times > l.Replacements
}

// replaces gives c the place of an older connection and reports whether that is to be
// mute. The caller holds the server's mutex.
func (c *conn) replaces(old *conn) (mute bool) {
	var before replacing
	if old.replacing != nil {
		before = *old.replacing
	}
	next, mute := before.again(prefix.Of(c.from()), time.Now(), c.s.limits)
	c.replacing = &next
	return mute
}

// giveWay ends a connection that was replaced, or lets it be mute for MuteWait.
func (c *conn) giveWay(mute bool) {
	end := func() { c.stop(CloseReplaced, "replaced") }
	if !mute {
		end()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.mute.Store(true)
	c.cancel()
	c.queue.close()
	c.late = time.AfterFunc(c.s.limits.MuteWait, end)
}
