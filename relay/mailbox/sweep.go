package mailbox

import (
	"context"

	"amesh/identity"
	"amesh/internal/store"
)

// Expire implements Mailbox. It also forgets mailboxes that are empty and were
// not used for ForgetBox, repairs what was found damaged, and writes down the
// relay's clock.
func (m *Disk) Expire(ctx context.Context) (int, error) {
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	if err := m.update(ctx, func(tx store.Tx) error { return m.clock.save(tx) }); err != nil {
		return 0, err
	}
	if err := m.repair(ctx); err != nil {
		return 0, err
	}
	now := m.clock.now()
	m.mu.Lock()
	due, stale := m.ledger.overdue(now), m.ledger.forgotten(now)
	m.mu.Unlock()
	expired := 0
	for len(due) > 0 {
		some := due[:min(len(due), m.limits.SweepRows)]
		due = due[len(some):]
		n, err := m.expire(ctx, some)
		expired += n
		if err != nil {
			return expired, err
		}
	}
	for len(stale) > 0 {
		some := stale[:min(len(stale), m.limits.SweepRows)]
		stale = stale[len(some):]
		if err := m.forget(ctx, some, now); err != nil {
			return expired, err
		}
	}
	return expired, m.dropAside(ctx, now)
}

// expire gives up rows and forgets names that were found to be due, in one commit.
func (m *Disk) expire(ctx context.Context, due []place) (int, error) {
	n := 0
	err := m.update(ctx, func(tx store.Tx) error {
		n = 0
		for len(due) > 0 {
			owner := due[0].owner
			if err := m.settle(tx, owner); err != nil {
				return err
			}
			var cursors, names []Cursor
			b := m.ledger.of(owner)
			for ; len(due) > 0 && due[0].owner == owner; due = due[1:] {
				e, there := b.find(due[0].cursor)
				if !there {
					// It was taken, or acknowledged since it was found.
					names = append(names, due[0].cursor)
					continue
				}
				cursors = append(cursors, e.cursor)
				if !e.flags.has(flagNotice) {
					n++
				}
			}
			if err := m.giveUp(tx, owner, cursors, Expired); err != nil {
				return err
			}
			if err := deleteIndex(tx, owner, m.ledger.unbury(owner, names)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	m.expired += uint64(n)
	m.mu.Unlock()
	return n, nil
}

func (m *Disk) forget(ctx context.Context, owners []identity.AMID, now int64) error {
	return m.update(ctx, func(tx store.Tx) error {
		for _, owner := range owners {
			if err := m.settle(tx, owner); err != nil {
				return err
			}
			// Its owner may have come, or mail for it, since it was found.
			if b := m.ledger.of(owner); !m.ledger.isForgotten(&b, now) {
				continue
			}
			m.ledger.lists.drop(owner)
			if err := m.remember(tx, owner, boxRow{}); err != nil {
				return err
			}
		}
		return nil
	})
}
