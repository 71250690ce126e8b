package agent

import (
	"maps"
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// ready loads what a job needs to know.
func (c *clerk) ready() error {
	if !c.loaded {
		if err := c.load(); err != nil {
			return err
		}
	}
	return c.readNewRows()
}

// load reads the peer's state. The clerk loads at its start and after a commit that
// was refused, so that memory never runs ahead of the disk.
func (c *clerk) load() error {
	c.row, c.sess, c.flights, c.lost.row, c.recorded = peerRow{}, nil, nil, resumeRow{}, nil
	known := maps.Clone(c.byID)
	clear(c.byID)
	clear(c.open)
	c.seen = 0
	err := c.a.Store.View(func(r store.Reader) error {
		var err error
		if c.row, _, err = getJSON[peerRow](r, c.a.key(rowPeer, c.peer[:])); err != nil {
			return err
		}
		if c.sess, err = c.a.loadSessions(r, c.peer); err != nil {
			return err
		}
		if c.given, _, err = counter(r, c.a.key(rowCounter, []byte{counterSequence}, c.peer[:])); err != nil {
			return err
		}
		if c.lost.row, _, err = getJSON[resumeRow](r, c.a.key(rowResume, c.peer[:])); err != nil {
			return err
		}
		if err := c.loadTrust(r); err != nil {
			return err
		}
		if err := c.loadWish(r); err != nil {
			return err
		}
		prefix := c.a.key(rowFlight, c.peer[:])
		return scanJSON(r, prefix, nil, func(k []byte, row flightRow) bool {
			f := &flight{flightRow: row, order: readOrder(k)}
			if !f.Promise.IsZero() {
				f.next = c.a.Uptime() + c.a.Limits.ResendFirst
			}
			if f.Class == flightMoment && known[f.ID] == nil {
				f.Until = time.Time{} // of a process that died: nobody waits for what comes of it
			}
			c.flights = append(c.flights, f)
			c.byID[f.ID] = f
			c.row.Order = max(c.row.Order, f.order)
			return true
		})
	})
	if err != nil {
		return err
	}
	if err := c.readNewRows(); err != nil {
		return err
	}
	c.loaded = true
	if c.wish != nil && c.wish.open(c.a.expiry.now()) {
		c.a.Carrier.Learn(c.peer, c.wish.Places, false) // a knock under way has no other way
	}
	if p := c.row.Places; len(p.PeerIDs)+len(p.Addresses)+len(p.Relays) > 0 {
		c.a.Carrier.Learn(c.peer, p, true)
	}
	return nil
}

// loadTrust reads what makes us listen to the peer when no session does.
func (c *clerk) loadTrust(r store.Reader) error {
	var err error
	if c.trusted, err = c.a.holdsGrant(r, c.peer, c.a.expiry.now()); err != nil {
		return err
	}
	contact, found, err := getJSON[contactRow](r, c.a.key(rowContact, c.peer[:]))
	if err != nil || !found || contact.Record == nil {
		return err
	}
	if rec, err := identity.ParseAgentRecord(contact.Record); err == nil {
		c.recorded = rec.PeerIDs
	}
	return nil
}

func readOrder(key []byte) uint64 {
	var v uint64
	for _, b := range key[len(key)-8:] {
		v = v<<8 | uint64(b)
	}
	return v
}

// readNewRows takes outgoing rows that were submitted since it was last called. The
// store commits in order, so sequences appear without holes.
func (c *clerk) readNewRows() error {
	return c.a.Store.View(func(r store.Reader) error {
		prefix := c.a.key(rowOut, c.peer[:])
		from := c.a.key(rowOut, c.peer[:], be64(c.seen+1))
		return scanJSON(r, prefix, from, func(k []byte, row outRow) bool {
			c.seen = row.Seq
			if !row.State.Terminal() {
				c.open[row.Seq] = &row
			}
			return true
		})
	})
}
