package agent

import (
	"slices"
	"time"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/ratchet"
)

// Resuming (session.md §8.6): what to do about envelopes that a granted peer sealed in
// a session that we do not have any more, and about a peer that says so of ours.

// lost is what a clerk knows of envelopes that it could not open.
type lost struct {
	row resumeRow    // as stored
	ids []ratchet.ID // not named in a knock yet
}

// counts reports whether an envelope that cannot be opened may make us knock: the
// peer holds a grant, and the envelope came by a way that strangers do not have.
func (c *clerk) counts(arr arrival) bool {
	if !c.trusted {
		return false
	}
	return arr.PeerID == "" || slices.Contains(c.row.Places.PeerIDs, arr.PeerID) || slices.Contains(c.recorded, arr.PeerID)
}

// lose notes an envelope that no session of ours will ever open.
func (c *clerk) lose(id ratchet.ID) {
	if slices.Contains(c.lost.ids, id) || slices.Contains(c.lost.row.Named, id) || len(c.lost.ids) >= content.MaxResume {
		return
	}
	c.lost.ids = append(c.lost.ids, id)
}

// nameAgain lets ids be named another time: the peer could not take the knock that named
// them.
func (c *clerk) nameAgain(b *batch, ids []ratchet.ID) {
	if len(ids) == 0 {
		return
	}
	row := c.lost.row
	row.Named = slices.DeleteFunc(slices.Clone(row.Named), func(id ratchet.ID) bool { return slices.Contains(ids, id) })
	c.putResume(b, row)
	b.then(func() {
		for _, id := range ids {
			c.lose(id)
		}
	})
}

// regain notes that an envelope was opened after all.
func (c *clerk) regain(id ratchet.ID) {
	c.lost.ids = slices.DeleteFunc(c.lost.ids, func(x ratchet.ID) bool { return x == id })
}

// loseHeld notes what has been held for so long that its session will not come.
func (c *clerk) loseHeld(up time.Duration) {
	for i := range c.hold.list {
		h := &c.hold.list[i]
		if h.counts && up-h.since >= c.a.Limits.HoldBefore {
			h.counts = false
			c.lose(h.id)
		}
	}
}

// wantsResume reports whether a resume knock is to be made now.
func (c *clerk) wantsResume(now time.Time) bool {
	return len(c.lost.ids) > 0 && c.trusted && !now.Before(c.resumeAt())
}

// resumeAt is when the next resume knock may be made.
func (c *clerk) resumeAt() time.Time { return c.lost.row.Asked.Add(c.a.Limits.ResumeEvery) }

// nextResume is how long it is until something about lost envelopes is due; lost is
// false when nothing is.
func (c *clerk) nextResume(now time.Time, up time.Duration) (wait time.Duration, lost bool) {
	if len(c.lost.ids) > 0 && c.trusted {
		return c.resumeAt().Sub(now), true
	}
	for _, h := range c.hold.list {
		if left := h.since + c.a.Limits.HoldBefore - up; h.counts && (!lost || left < wait) {
			wait, lost = left, true
		}
	}
	return wait, lost
}

// nameLost moves the ids of lost envelopes into a request. They are named once.
func (c *clerk) nameLost(b *batch, now time.Time) []ratchet.ID {
	ids := c.lost.ids
	row := c.lost.row
	row.Asked = now
	row.Named = append(slices.Clone(row.Named), ids...)
	row.Named = row.Named[max(0, len(row.Named)-c.a.Limits.ResumeNames):]
	c.putResume(b, row)
	b.then(func() { c.lost.ids = nil })
	return ids
}

// resumes judges the envelope ids that a peer's knock names. It reports whether they
// count, and how long the peer has to wait when it has resumed too often.
func (c *clerk) resumes(ids []ratchet.ID, now time.Time) (counts bool, wait time.Duration, err error) {
	if len(ids) == 0 || !c.trusted {
		return false, 0, nil
	}
	if granted, err := c.grantsNow(now); err != nil || !granted {
		return false, 0, err
	}
	for _, id := range ids {
		ours, err := c.sealedLately(id, now)
		if err != nil {
			return false, 0, err
		}
		counts = counts || ours
	}
	if !counts {
		return false, 0, nil
	}
	taken := c.lost.row.Taken
	if n := len(taken); n > 0 {
		wait = taken[n-1].Add(c.a.Limits.ResumeTaken).Sub(now)
	}
	const day = 24 * time.Hour
	if n := len(taken); n >= c.a.Limits.ResumeTakenDay {
		wait = max(wait, taken[n-c.a.Limits.ResumeTakenDay].Add(day).Sub(now))
	}
	return true, max(wait, 0), nil
}

// grantsNow reports whether the peer holds a grant, for whatever intent.
func (c *clerk) grantsNow(now time.Time) (held bool, err error) {
	err = c.a.Store.View(func(r store.Reader) error {
		held, err = c.a.holdsGrant(r, c.peer, now)
		return err
	})
	return held, err
}

// sealedLately reports whether an envelope was sealed for the peer not too long ago, in
// a session that still counts, and is not confirmed. Nothing confirms a receipt.
func (c *clerk) sealedLately(id ratchet.ID, now time.Time) (bool, error) {
	if f := c.byID[id]; f != nil {
		return f.Class != flightKnock && !c.futile(f) && now.Sub(f.At) < c.a.Limits.ResumeAge, nil
	}
	var row receiptRow
	var found bool
	err := c.a.Store.View(func(r store.Reader) (err error) {
		row, found, err = getJSON[receiptRow](r, c.a.key(rowReceipt, id[:]))
		return err
	})
	return found && row.Peer == c.peer && row.Sid != "" && !c.voided(row.Sid) && now.Sub(row.At) < c.a.Limits.ResumeAge, err
}

// tookResume counts a resume knock that we accept.
func (c *clerk) tookResume(b *batch) {
	row := c.lost.row
	row.Taken = append(slices.Clone(row.Taken), b.now)
	row.Taken = row.Taken[max(0, len(row.Taken)-c.a.Limits.ResumeTakenDay):]
	c.putResume(b, row)
}

func (c *clerk) putResume(b *batch, row resumeRow) {
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		return setJSON(tx, c.a.key(rowResume, c.peer[:]), row)
	})
	b.then(func() { c.lost.row = row })
}
