package agent

import (
	"amesh/internal/store"
)

// Sealing again (session.md §9.4). A session can become void: the peer has lost it, or
// the state it was in was put back. Nothing is sealed in it any more, what was sealed
// in it is not sent any more, and its unfinished rows wait for another session, under
// their ids and sequences. Nothing of this is written at once: what is void follows
// from the session, so that no transaction grows with the number of rows.

// void has everything that was sealed in a session sealed again in the next one.
func (c *clerk) void(b *batch, s *session) {
	n := b.session(s)
	n.Closed, n.Void = true, true
	b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
		row.Told = "" // where we are was told in there
		return nil
	})
}

// supplant makes older sessions void when a new one says that the peer does not have
// them any more: it resumes, or it is of a higher epoch of the peer.
func (c *clerk) supplant(b *batch, by *session) {
	if by.PeerEpoch < c.row.InEpoch {
		c.void(b, by) // a late accept: the peer has lost this one, too
	}
	for _, s := range b.list() {
		if s.Sid != by.Sid && s.accepted() && !s.Void && (by.Resume || s.PeerEpoch < by.PeerEpoch) {
			c.void(b, s)
		}
	}
}

// voided reports whether what was sealed in a session is to be sealed again.
func (c *clerk) voided(sid string) bool {
	if sid == "" {
		return false
	}
	s := c.find(sid)
	return s != nil && s.Void
}

// waits reports whether a message waits for a session: it was never sealed, or in one
// that is void or lost.
func (c *clerk) waits(o *outRow) bool {
	return !o.sealed() || c.voided(o.Session) || (undelivered(o) && c.find(o.Session) == nil)
}

// futile reports whether no answer to an envelope could be opened: its session is void,
// or its keys were lost.
func (c *clerk) futile(f *flight) bool {
	if s := c.find(f.Sid); s != nil {
		return s.Void
	}
	return f.Class == flightKnock || f.Class.wantsReceipt()
}

// refers reports whether a message that the peer does not have was sealed in a session.
func (c *clerk) refers(sid string) bool {
	for _, o := range c.open {
		if o.Session == sid && undelivered(o) {
			return true
		}
	}
	return false
}

// clearVoid ends the envelopes of void and of lost sessions, as much as fits into one transaction,
// and reports whether there were any. Those of messages that are sealed again end
// with that; what a skip said waits to be said again.
func (c *clerk) clearVoid() (bool, error) {
	b := c.begin()
	room := c.batch
	for _, f := range c.flights {
		if room == 0 {
			break
		}
		if !c.futile(f) || (f.Class == flightMessage && c.unfinished(f)) {
			continue
		}
		room--
		b.land(f)
		if f.Class == flightKnock {
			if s := c.find(f.Sid); s != nil {
				c.setKnockState(b, s.KnockHash, knockExpired)
			}
		}
		if skip := f.Skip; skip != nil {
			b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
				for seq := skip.From; seq <= skip.To; seq++ {
					if err := tx.Set(c.a.key(rowSkip, c.peer[:], be64(seq)), nil); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	return !b.empty(), c.commit(b)
}

// unfinished reports whether the message of an envelope has not reached its end.
func (c *clerk) unfinished(f *flight) bool {
	for _, o := range c.open {
		if o.ID == f.Msg {
			return true
		}
	}
	return false
}
