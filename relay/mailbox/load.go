package mailbox

import (
	"errors"
	"math"

	"amesh/identity"
	"amesh/internal/store"
)

// load reads everything but the payloads into the ledger.
func (m *Disk) load() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := map[identity.AMID]boxRow{}
	entries := map[identity.AMID][]entry{}
	m.ledger, m.repairs, m.kept = newLedger(m.limits), nil, 0
	err := m.store.View(func(r store.Reader) error {
		err := r.Scan([]byte{keyBox}, nil, func(key, value []byte) bool {
			if len(key) == 1+identity.AMIDSize {
				rows[identity.AMID(key[1:])] = rescuedBoxRow(key, value)
			}
			return true
		})
		if err != nil {
			return err
		}
		err = m.scanIndex(r, []byte{keyIndex}, func(p place, e entry) {
			entries[p.owner] = append(entries[p.owner], e)
		})
		if err != nil {
			return err
		}
		err = r.Scan([]byte{keyQuarantine}, nil, func(_, _ []byte) bool { m.kept++; return true })
		if err != nil {
			return err
		}
		return m.startClock(r, entries)
	})
	if err != nil {
		return err
	}
	for owner, row := range rows {
		m.ledger.remember(owner, row)
	}
	for owner, list := range entries {
		m.ledger.replace(owner, rows[owner], list)
	}
	return nil
}

// reload reads one mailbox again.
func (m *Disk) reload(r store.Reader, owner identity.AMID) error {
	var row boxRow
	key := boxKey(owner)
	v, err := r.Get(key)
	if err == nil {
		row = rescuedBoxRow(key, v)
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var entries []entry
	err = m.scanIndex(r, rowPrefix(keyIndex, owner), func(_ place, e entry) { entries = append(entries, e) })
	if err != nil {
		return err
	}
	m.ledger.replace(owner, row, entries)
	delete(m.stale, owner)
	return nil
}

// rescuedBoxRow reads a row, or takes what does least harm: a mailbox that keeps
// its size, and does not open to strangers.
func rescuedBoxRow(key, value []byte) boxRow {
	row, err := decodeBoxRow(key, value)
	if err != nil {
		return boxRow{wide: true, listed: true}
	}
	return row
}

// scanIndex calls f for the 'i' rows with a prefix, in their order. What such a
// row says stands in the message too; what neither says is known as damage.
func (m *Disk) scanIndex(r store.Reader, prefix []byte, f func(place, entry)) error {
	var rotten error
	err := r.Scan(prefix, nil, func(key, value []byte) bool {
		p, ok := placeOf(key)
		if !ok {
			return true
		}
		s, err := decodeIndex(p, key, value)
		if err != nil {
			m.repairs = append(m.repairs, p)
			if s, err = getMessage(r, p); err != nil {
				if !isDamage(err) {
					rotten = err
					return false
				}
				s = stored{entry: entry{cursor: p.cursor, due: math.MaxInt64}}
			}
		}
		f(p, s.entry)
		return true
	})
	return errors.Join(err, rotten)
}

// startClock starts the clock where it stopped. If nobody knows where, then at the
// time of the youngest row, since it was not earlier.
func (m *Disk) startClock(r store.Reader, entries map[identity.AMID][]entry) error {
	stopped, then, known, err := readClock(r)
	if err != nil && !isDamage(err) {
		return err
	}
	if !known {
		for _, list := range entries {
			for i := range list {
				if due := list[i].due; due != math.MaxInt64 {
					stopped = max(stopped, due-m.limits.TTL.Microseconds())
				}
			}
		}
		then, known = m.clock.wall().UnixMicro(), stopped != 0
	}
	m.clock.start(stopped, then, known)
	return nil
}
