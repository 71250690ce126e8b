package mailbox

import (
	"context"

	"amesh/identity"
	"amesh/internal/store"
)

// List implements Mailbox.
func (m *Disk) List(ctx context.Context, owner identity.AMID, after Cursor, max Size) ([]Row, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	if !m.mayHave(owner, after) {
		return nil, nil
	}
	l := listing{now: m.clock.now(), max: max}
	err := m.store.View(func(r store.Reader) error {
		err := l.scan(r, owner, after)
		if !isDamage(err) {
			return err
		}
		// A value that is lost ends a scan. One by one the others are there.
		l = listing{now: l.now, max: max}
		return l.each(r, owner, m.cursors(owner, after))
	})
	if err != nil {
		return nil, storageError(err)
	}
	m.giveUpDamaged(ctx, owner, l.damaged)
	return l.rows, nil
}

// mayHave reports whether there may be rows behind a cursor. The ledger has at
// least what is committed, unless it is stale.
func (m *Disk) mayHave(owner identity.AMID, after Cursor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.ledger.of(owner)
	return m.stale[owner] || len(b.after(after)) > 0
}

func (m *Disk) cursors(owner identity.AMID, after Cursor) []Cursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.ledger.of(owner)
	var cursors []Cursor
	for _, e := range b.after(after) {
		cursors = append(cursors, e.cursor)
	}
	return cursors
}

// listing collects rows until they fill a size.
type listing struct {
	now     int64
	max     Size
	bytes   int64
	rows    []Row
	damaged []Cursor
}

// scan reads on from a cursor.
func (l *listing) scan(r store.Reader, owner identity.AMID, after Cursor) error {
	return r.Scan(rowPrefix(keyMessage, owner), rowKey(keyMessage, owner, after+1), func(key, value []byte) bool {
		p, ok := placeOf(key)
		if !ok {
			return true
		}
		s, err := decodeMessage(p, key, value)
		if err != nil {
			l.damaged = append(l.damaged, p.cursor)
			return true
		}
		return l.add(&s)
	})
}

// each reads single rows.
func (l *listing) each(r store.Reader, owner identity.AMID, cursors []Cursor) error {
	for _, c := range cursors {
		s, err := getMessage(r, place{owner, c})
		if isDamage(err) {
			l.damaged = append(l.damaged, c)
			continue
		}
		if err != nil || !l.add(&s) {
			return err
		}
	}
	return nil
}

// add reports whether there is room for more. A first row is always taken.
func (l *listing) add(s *stored) bool {
	if s.due <= l.now {
		return true
	}
	l.bytes += s.row.Size()
	if len(l.rows) > 0 && l.bytes > l.max.Bytes {
		return false
	}
	l.rows = append(l.rows, s.row)
	return len(l.rows) < l.max.Messages
}
