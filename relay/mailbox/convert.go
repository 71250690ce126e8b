package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
)

// Schema names the rows, for opening the store of a Disk. Rows of version 1 are
// converted mailbox by mailbox when the Disk is first used, because one
// transaction does not hold them all.
func Schema() store.Schema {
	return store.Schema{Name: "relay", Version: 2, Migrations: map[uint32]func(store.Tx) error{
		1: func(store.Tx) error { return nil },
	}}
}

// Version 1 had no 'i' rows and no sums. Its other rows:
//
//	'b' owner                    last cursor, usage, wide, seen
//	'd' owner sender message-id  cursor of the message stored under this name
//	't'                          usage of all mailboxes; gone when all is converted
const (
	firstVersion = 1
	firstName    = 'd'
	firstTotal   = 't'
)

// convert rewrites what version 1 left. It can stop anywhere and begin again.
func (m *Disk) convert(ctx context.Context) error {
	var owners []identity.AMID
	err := m.store.View(func(r store.Reader) error {
		if _, err := r.Get([]byte{firstTotal}); err != nil {
			return err
		}
		return r.Scan([]byte{keyBox}, nil, func(key, value []byte) bool {
			if len(key) == 1+identity.AMIDSize && len(value) > 0 && value[0] == firstVersion {
				owners = append(owners, identity.AMID(key[1:]))
			}
			return true
		})
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, owner := range owners {
		if err := m.store.Update(ctx, func(tx store.Tx) error { return m.convertBox(tx, owner) }); err != nil {
			return err
		}
	}
	return m.store.Update(ctx, func(tx store.Tx) error { return errors.Join(convertClock(tx), tx.Delete([]byte{firstTotal})) })
}

// convertBox gives every message an 'i' row. The messages stay as they are.
func (m *Disk) convertBox(tx store.Tx, owner identity.AMID) error {
	var rows []stored
	var drop [][]byte
	take := func(key, _ []byte) bool { drop = append(drop, append([]byte(nil), key...)); return true }
	if err := tx.Scan(rowPrefix(firstName, owner), nil, take); err != nil {
		return err
	}
	err := tx.Scan(rowPrefix(keyMessage, owner), nil, func(key, value []byte) bool {
		p, ok := placeOf(key)
		if !ok || len(value) == 0 || value[0] != firstVersion {
			return true
		}
		s, err := decodeFirst(p, value)
		if err != nil {
			m.quarantined++ // nothing of it can be told, not even to whom
			return take(key, nil)
		}
		rows = append(rows, s)
		return true
	})
	if err != nil {
		return err
	}
	for _, key := range drop {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	for i := range rows {
		if err := rows[i].writeIndex(tx, owner); err != nil {
			return err
		}
	}
	v, err := tx.Get(boxKey(owner))
	if err != nil {
		return err
	}
	r := wire.NewReader(v[1:])
	r.Fixed(3 * 8)
	return writeBoxRow(tx, owner, boxRow{wide: r.Bool(), seen: r.I64()})
}

func convertClock(tx store.Tx) error {
	key := []byte{keyClock}
	v, err := tx.Get(key)
	if err != nil {
		return ignoreMissing(err)
	}
	if len(v) != 1+2*8 || v[0] != firstVersion {
		return nil
	}
	return tx.Set(key, encodeClock(int64(binary.BigEndian.Uint64(v[1:])), int64(binary.BigEndian.Uint64(v[9:]))))
}

// decodeFirst reads a message of version 1.
func decodeFirst(p place, value []byte) (stored, error) {
	s := stored{entry: entry{cursor: p.cursor}}
	m := &s.row
	m.To, m.Cursor = p.owner, p.cursor
	r := wire.NewReader(value[1:])
	r.Into(m.From[:])
	r.Into(m.ID[:])
	m.Once = r.Bool()
	m.Kind = readKind(r)
	m.At = time.UnixMicro(r.I64()).UTC()
	m.Expires = time.UnixMicro(r.I64()).UTC()
	s.due = r.I64()
	if c := r.LP32(maxField); len(c) > 0 {
		m.Candidates = append([]byte(nil), c...)
	}
	m.Payload = string(r.LP32(maxField))
	s.from, s.id, s.at, s.expires = m.From, m.ID, m.At, m.Expires
	s.size, s.flags = uint32(m.Size()), flagsOf(&m.Message)
	return s, done(r)
}
