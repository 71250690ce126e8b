package mailbox

import (
	"context"

	"amesh/identity"
	"amesh/internal/store"
)

// Expire implements Mailbox. It also forgets mailboxes that are empty and were
// not used for ForgetBox, and writes down the relay's clock.
func (m *Disk) Expire(ctx context.Context) (int, error) {
	now, err := m.clock.now()
	if err != nil {
		return 0, storageError(err)
	}
	if err := m.store.Update(ctx, func(tx store.Tx) error { return m.clock.save(tx, now) }); err != nil {
		return 0, storageError(err)
	}
	removed := 0
	for {
		due, stale, err := m.overdue(now)
		if err != nil {
			return removed, storageError(err)
		}
		if len(due) == 0 && len(stale) == 0 {
			return removed, nil
		}
		for owner, cursors := range due {
			n, err := m.Delete(ctx, owner, cursors)
			removed += n
			if err != nil {
				return removed, err
			}
		}
		if err := m.forget(ctx, stale, now); err != nil {
			return removed, err
		}
	}
}

// overdue finds some expired messages and some forgotten mailboxes. Messages of
// one mailbox expire in its order, so the first that is not due ends the search.
func (m *Disk) overdue(now int64) (due map[identity.AMID][]Cursor, stale []identity.AMID, err error) {
	due = map[identity.AMID][]Cursor{}
	var boxes []identity.AMID
	found := 0
	err = m.store.View(func(r store.Reader) error {
		boxes, stale, found = nil, nil, 0
		err := r.Scan([]byte{keyBox}, nil, func(key, value []byte) bool {
			if len(key) != 1+identity.AMIDSize {
				return true
			}
			owner := identity.AMID(key[1:])
			b, err := decodeBox(value)
			if err == nil && b.used.Messages > 0 {
				boxes = append(boxes, owner)
			}
			if err == nil && m.forgotten(b, now) {
				stale = append(stale, owner)
			}
			return len(stale) < m.limits.SweepRows
		})
		if err != nil {
			return err
		}
		for _, owner := range boxes {
			err := scanBox(r, owner, 0, func(row storedRow) bool {
				if row.due > now || found >= m.limits.SweepRows {
					return false
				}
				due[owner] = append(due[owner], row.Cursor)
				found++
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return due, stale, err
}

func (m *Disk) forgotten(b box, now int64) bool {
	return b.used.Messages == 0 && now-b.seen > m.limits.ForgetBox.Microseconds()
}

func (m *Disk) forget(ctx context.Context, owners []identity.AMID, now int64) error {
	if len(owners) == 0 {
		return nil
	}
	err := m.store.Update(ctx, func(tx store.Tx) error {
		for _, owner := range owners {
			b, err := readBox(tx, owner)
			if err != nil {
				return err
			}
			// Its owner may have come, or mail for it, since it was found.
			if !m.forgotten(b, now) {
				continue
			}
			if err := tx.Delete(boxKey(owner)); err != nil {
				return err
			}
		}
		return nil
	})
	return storageError(err)
}
