package mailbox

import (
	"slices"

	"amesh/identity"
	"amesh/internal/store"
)

// Who takes may not be given a message twice, and a sender repeats: because the
// answer of Put was lost, or because nobody confirms that the receiver has it. So
// the name of a message that was taken is remembered until its time is over, in the
// transaction that removes it. Who deletes says what it has, and needs no such help.
//
// Names are bounded. In one mailbox the oldest gives way, since its time is over
// first. All together can be filled by anybody who writes to itself, so a mailbox
// has no more of them than are free: whoever fills much leaves much to the others.

// bury remembers the name of a row that was removed, if there is room, and returns
// the names that gave way.
func (l *ledger) bury(owner identity.AMID, e entry) (kept bool, dropped []entry) {
	b := l.touch(owner)
	defer l.tidy(owner)
	for len(b.taken) > 0 && len(b.taken) >= l.roomForTaken() {
		dropped = append(dropped, b.taken[0])
		b.taken = b.taken[1:]
		l.taken--
	}
	if l.roomForTaken() <= 0 {
		return false, dropped
	}
	e.flags |= flagTaken
	i, _ := slices.BinarySearchFunc(b.taken, e.cursor, compareCursor)
	b.taken = slices.Insert(b.taken, i, e)
	l.taken++
	return true, dropped
}

func (l *ledger) roomForTaken() int { return min(l.limits.Taken, l.limits.TakenTotal-l.taken) }

// unbury forgets names and returns those that were known, by cursor.
func (l *ledger) unbury(owner identity.AMID, cursors []Cursor) []entry {
	b := l.boxes[owner]
	if b == nil {
		return nil
	}
	gone := cut(&b.taken, cursors)
	l.taken -= len(gone)
	l.tidy(owner)
	return gone
}

// wasTaken finds the name of a message among those that were taken.
func (b *box) wasTaken(m *Message, now int64) (entry, bool) {
	for i := range b.taken {
		if e := &b.taken[i]; e.id == m.ID && e.from == m.From && e.due > now {
			return *e, true
		}
	}
	return entry{}, false
}

// bury removes rows and remembers the names of those that have one.
func (m *Disk) bury(tx store.Tx, owner identity.AMID, rows []stored) error {
	cursors := make([]Cursor, len(rows))
	for i := range rows {
		cursors[i] = rows[i].cursor
	}
	if err := m.remove(tx, owner, cursors); err != nil {
		return err
	}
	for i := range rows {
		s := &rows[i]
		if !s.flags.has(flagOnce) {
			continue
		}
		kept, dropped := m.ledger.bury(owner, s.entry)
		if err := deleteIndex(tx, owner, dropped); err != nil {
			return err
		}
		if !kept {
			continue
		}
		s.flags |= flagTaken
		if err := s.writeIndex(tx, owner); err != nil {
			return err
		}
	}
	return nil
}

func deleteIndex(tx store.Tx, owner identity.AMID, entries []entry) error {
	for i := range entries {
		if err := tx.Delete(rowKey(keyIndex, owner, entries[i].cursor)); err != nil {
			return err
		}
	}
	return nil
}
