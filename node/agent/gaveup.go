package agent

import (
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/ratchet"
)

// GaveUp takes a relay's word that it keeps an envelope for a peer no longer, although it
// had promised to. It is what the relay says and nothing more: the envelope goes again
// while there is time, and a receipt that comes later counts. done is called when that
// is on disk, or there was nothing to note.
func (a *Agent) GaveUp(peer identity.AMID, id ratchet.ID, where, why string, done func()) {
	job := func(c *clerk) func() error {
		return func() error { return c.gaveUp(id, where, why, done) }
	}
	for a.isKnown(peer) {
		c := a.clerk(peer)
		if c == nil {
			return // not running: the notice comes again
		}
		if c.do(job(c)) {
			return
		}
	}
	done()
}

// gaveUp runs on the clerk's goroutine.
func (c *clerk) gaveUp(id ratchet.ID, where, why string, done func()) error {
	if err := c.ready(); err != nil {
		return err
	}
	f := c.byID[id]
	if f == nil || f.Promise.IsZero() {
		done()
		return nil
	}
	c.a.Logger.Info("a relay gave an envelope up", "peer", c.peer.Short(), "relay", where, "reason", why)
	f.Promise, f.next = time.Time{}, 0
	b := c.begin()
	b.touched[f.order] = f
	if f.Class == flightMessage {
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			row, found, err := c.a.outRow(tx, f.Msg)
			if err != nil || !found || row.State != api.StateRelayed {
				return err
			}
			row.State, row.Reason, row.Where = api.StateAccepted, api.ReasonGivenUp, ""
			return c.advance(tx, row, b.wall, after)
		})
	}
	b.then(done)
	return c.commit(b)
}
