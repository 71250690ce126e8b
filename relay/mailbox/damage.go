package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// A row that cannot be read (T46) is skipped by whoever meets it. Then it is taken
// out: its message is kept aside as it was found, its sender is told, and the
// counters are right again, because they come from the 'i' rows. If taking it out
// fails it is met again.

// giveUpDamaged takes damaged rows out. It has no error: the reader who met them
// has its other rows, whatever becomes of these.
func (m *Disk) giveUpDamaged(ctx context.Context, owner identity.AMID, cursors []Cursor) {
	for len(cursors) > 0 {
		some := cursors[:min(len(cursors), m.limits.SweepRows)]
		cursors = cursors[len(some):]
		var gone uint64
		err := m.update(context.WithoutCancel(ctx), func(tx store.Tx) error {
			gone = 0
			if err := m.settle(tx, owner); err != nil {
				return err
			}
			var found []Cursor
			for _, c := range some {
				// Deleted meanwhile, or damaged only in passing.
				b := m.ledger.of(owner)
				if _, there := b.find(c); !there {
					continue
				}
				if _, err := getMessage(tx, place{owner, c}); !isDamage(err) {
					continue
				}
				if err := m.keepAside(tx, place{owner, c}); err != nil {
					return err
				}
				found = append(found, c)
			}
			gone = uint64(len(found))
			return m.giveUp(tx, owner, found, Corrupt)
		})
		if err != nil {
			return
		}
		m.mu.Lock()
		m.quarantined += gone
		m.mu.Unlock()
	}
}

// keepAside copies what is left of a message for whoever looks into the damage.
func (m *Disk) keepAside(tx store.Tx, p place) error {
	v, err := tx.Get(rowKey(keyMessage, p.owner, p.cursor))
	if err != nil || m.kept >= m.limits.Quarantine {
		return nil // nothing is left, or there is enough to look at
	}
	m.kept++
	due := m.clock.now() + m.limits.TTL.Microseconds()
	key := binary.BigEndian.AppendUint64([]byte{keyQuarantine}, uint64(due))
	key = append(key, rowKey(keyMessage, p.owner, p.cursor)[1:]...)
	return tx.Set(key, v)
}

// dropAside removes what was kept aside for long enough.
func (m *Disk) dropAside(ctx context.Context, now int64) error {
	m.mu.Lock()
	kept := m.kept
	m.mu.Unlock()
	if kept == 0 {
		return nil
	}
	return m.update(ctx, func(tx store.Tx) error {
		var keys [][]byte
		err := tx.Scan([]byte{keyQuarantine}, nil, func(key, _ []byte) bool {
			if len(key) < 9 || int64(binary.BigEndian.Uint64(key[1:])) > now || len(keys) == m.limits.SweepRows {
				return false
			}
			keys = append(keys, append([]byte(nil), key...))
			return true
		})
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		m.kept -= len(keys)
		return nil
	})
}

// repair writes 'i' rows again that were damaged, from the messages, and gives up
// the rows of which neither can be read.
func (m *Disk) repair(ctx context.Context) error {
	m.mu.Lock()
	repairs := m.repairs
	m.repairs = nil
	m.mu.Unlock()
	for i, p := range repairs {
		bad := false
		err := m.update(ctx, func(tx store.Tx) error {
			if err := m.settle(tx, p.owner); err != nil {
				return err
			}
			b := m.ledger.of(p.owner)
			if _, there := b.find(p.cursor); !there {
				return nil
			}
			s, err := getMessage(tx, p)
			if bad = isDamage(err); bad {
				return nil
			}
			if err != nil {
				return err
			}
			return s.writeIndex(tx, p.owner)
		})
		if err != nil {
			m.mu.Lock()
			m.repairs = append(m.repairs, repairs[i:]...)
			m.mu.Unlock()
			return err
		}
		if bad {
			m.giveUpDamaged(ctx, p.owner, []Cursor{p.cursor})
		}
	}
	return nil
}

// giveUp removes rows and leaves notices for their senders, in one step: nobody
// can take a message whose sender was told that it is gone.
func (m *Disk) giveUp(tx store.Tx, owner identity.AMID, cursors []Cursor, why Reason) error {
	at := time.Now().UTC().Truncate(time.Microsecond)
	b := m.ledger.of(owner)
	for _, c := range cursors {
		e, there := b.find(c)
		if !there || !e.flags.has(flagOnce) {
			continue
		}
		s, err := m.first(tx, place{owner, c})
		if isDamage(err) || errors.Is(err, store.ErrNotFound) {
			continue // nobody knows any more whose it was
		}
		if err != nil {
			return err
		}
		n := Notice{Reason: why, ID: e.id, To: owner, Taken: s.at, At: at}
		if err := m.notify(tx, e.from, n); err != nil {
			return err
		}
		b = m.ledger.of(owner) // a sender may have written to itself
	}
	return m.remove(tx, owner, cursors)
}

// notify stores a notice, if there is room.
func (m *Disk) notify(tx store.Tx, sender identity.AMID, n Notice) error {
	if err := m.settle(tx, sender); err != nil {
		return err
	}
	if b := m.ledger.of(sender); b.notices >= m.limits.Notices {
		m.dropped++
		return nil
	}
	now := m.clock.now()
	row := stored{
		entry: entry{cursor: m.ledger.next(now), due: now + m.limits.TTL.Microseconds(), id: n.ID, flags: flagNotice},
		at:    n.At, expires: n.At.Add(m.limits.TTL), row: Row{Notice: &n},
	}
	m.ledger.add(sender, row.entry)
	return row.write(tx, sender)
}
