package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// Disk is a Mailbox in a store.Store, which the caller opens and closes.
type Disk struct {
	store  store.Store
	limits Limits
	clock  clock
	// highest is the greatest cursor given out by this process. Only functions
	// running inside Update touch it, and these run one after the other.
	highest Cursor
}

var _ Mailbox = (*Disk)(nil)

// NewDisk keeps mailboxes in s, which it does not yet touch.
func NewDisk(s store.Store, l Limits) (*Disk, error) {
	if s == nil {
		return nil, errors.New("mailbox needs a store")
	}
	l, err := l.orDefault()
	if err != nil {
		return nil, err
	}
	return &Disk{store: s, limits: l, clock: clock{store: s, jump: l.ClockJump}}, nil
}

// Open implements Mailbox.
func (m *Disk) Open(ctx context.Context, owner identity.AMID, wide bool) (int, error) {
	now, err := m.clock.now()
	if err != nil {
		return 0, storageError(err)
	}
	var b box
	err = m.store.View(func(r store.Reader) error {
		b, err = readBox(r, owner)
		return err
	})
	if err != nil {
		return 0, storageError(err)
	}
	// Connecting should not cost a commit each time: the row is written when
	// something changes, and once a while to keep it from being forgotten.
	stale := wide && now-b.seen > m.limits.ForgetBox.Microseconds()/8
	if b.wide == wide && !stale {
		return b.used.Messages, nil
	}
	err = m.store.Update(ctx, func(tx store.Tx) error {
		if b, err = readBox(tx, owner); err != nil {
			return err
		}
		b.wide = wide
		if wide {
			b.seen = now
		}
		return writeBox(tx, owner, b)
	})
	return b.used.Messages, storageError(err)
}

// Put implements Mailbox.
func (m *Disk) Put(ctx context.Context, messages []Message) ([]Stored, error) {
	now, err := m.clock.now()
	if err != nil {
		return nil, storageError(err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	answers := make([]Stored, len(messages))
	err = m.store.Update(ctx, func(tx store.Tx) error {
		total, err := readTotal(tx)
		if err != nil {
			return err
		}
		before := total
		for i := range messages {
			row := storedRow{Row: Row{Message: messages[i], At: at, Expires: at.Add(m.limits.TTL)}}
			row.due = now + m.limits.TTL.Microseconds()
			if answers[i], err = m.put(tx, &row, &total, now); err != nil {
				return err
			}
		}
		if total == before {
			return nil
		}
		return tx.Set([]byte{keyTotal}, total.encode())
	})
	if err != nil {
		return nil, storageError(err)
	}
	return answers, nil
}

func (m *Disk) put(tx store.Tx, row *storedRow, total *Size, now int64) (Stored, error) {
	if row.Once {
		old, err := m.named(tx, row, now)
		if err != nil || old != nil {
			return Stored{Expires: old.expires(), Repeated: true}, err
		}
	}
	b, err := readBox(tx, row.To)
	if err != nil {
		return Stored{}, err
	}
	room := m.limits.LegacyBox
	if b.wide {
		room = m.limits.Box
	}
	if !b.used.Fits(row.Size(), room) || !total.Fits(row.Size(), m.limits.Total) {
		return Stored{Err: ErrFull}, nil
	}
	row.Cursor = max(m.highest+1, b.last+1, Cursor(now))
	m.highest = row.Cursor
	b.last = row.Cursor
	b.used = b.used.Plus(1, row.Size())
	*total = total.Plus(1, row.Size())
	if row.Once {
		name := nameKey(row.To, row.From, row.ID)
		if err := tx.Set(name, binary.BigEndian.AppendUint64(nil, uint64(row.Cursor))); err != nil {
			return Stored{}, err
		}
	}
	if err := tx.Set(messageKey(row.To, row.Cursor), row.encode()); err != nil {
		return Stored{}, err
	}
	return Stored{Expires: row.Expires}, writeBox(tx, row.To, b)
}

// named finds the unexpired message stored under the name of row, or nil.
func (m *Disk) named(tx store.Tx, row *storedRow, now int64) (*storedRow, error) {
	v, err := tx.Get(nameKey(row.To, row.From, row.ID))
	if err != nil || len(v) != 8 {
		return nil, ignoreMissing(err)
	}
	key := messageKey(row.To, Cursor(binary.BigEndian.Uint64(v)))
	v, err = tx.Get(key)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	old, err := decodeMessage(row.To, key, v)
	if err != nil || old.due <= now {
		return nil, err
	}
	return &old, nil
}

func (m *storedRow) expires() time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.Expires
}

// List implements Mailbox.
func (m *Disk) List(_ context.Context, owner identity.AMID, after Cursor, max Size) ([]Row, error) {
	now, err := m.clock.now()
	if err != nil {
		return nil, storageError(err)
	}
	var rows []Row
	var bytes int64
	err = m.store.View(func(r store.Reader) error {
		return scanBox(r, owner, after+1, func(row storedRow) bool {
			if row.due <= now {
				return true
			}
			bytes += row.Size()
			if len(rows) > 0 && bytes > max.Bytes {
				return false
			}
			rows = append(rows, row.Row)
			return len(rows) < max.Messages
		})
	})
	return rows, storageError(err)
}

// Take implements Mailbox.
func (m *Disk) Take(ctx context.Context, owner identity.AMID, n int) ([]Row, error) {
	now, err := m.clock.now()
	if err != nil {
		return nil, storageError(err)
	}
	// Looking first costs nothing; an Update of nothing would cost a commit.
	if rest, err := m.List(ctx, owner, 0, Size{Messages: 1}); err != nil || len(rest) == 0 {
		return nil, err
	}
	var taken []Row
	err = m.store.Update(ctx, func(tx store.Tx) error {
		taken = nil
		var rows []storedRow
		err := scanBox(tx, owner, 0, func(row storedRow) bool {
			rows = append(rows, row)
			return len(rows) < n
		})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.due > now {
				taken = append(taken, row.Row)
			}
		}
		return remove(tx, owner, rows)
	})
	if err != nil {
		return nil, storageError(err)
	}
	return taken, nil
}

// Delete implements Mailbox.
func (m *Disk) Delete(ctx context.Context, owner identity.AMID, cursors []Cursor) (int, error) {
	var n int
	err := m.store.Update(ctx, func(tx store.Tx) error {
		rows, err := readRows(tx, owner, cursors)
		n = len(rows)
		if err != nil || n == 0 {
			return err
		}
		return remove(tx, owner, rows)
	})
	return n, storageError(err)
}

// Usage implements Mailbox.
func (m *Disk) Usage(_ context.Context, owner identity.AMID) (Size, error) {
	var b box
	err := m.store.View(func(r store.Reader) (err error) {
		b, err = readBox(r, owner)
		return err
	})
	return b.used, storageError(err)
}

func readRows(tx store.Tx, owner identity.AMID, cursors []Cursor) ([]storedRow, error) {
	rows := make([]storedRow, 0, len(cursors))
	for _, c := range cursors {
		key := messageKey(owner, c)
		v, err := tx.Get(key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		row, err := decodeMessage(owner, key, v)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// remove deletes rows of one mailbox with their names and their share of the
// counters.
func remove(tx store.Tx, owner identity.AMID, rows []storedRow) error {
	b, err := readBox(tx, owner)
	if err != nil {
		return err
	}
	total, err := readTotal(tx)
	if err != nil {
		return err
	}
	for i := range rows {
		row := &rows[i]
		if err := removeName(tx, row); err != nil {
			return err
		}
		if err := tx.Delete(messageKey(owner, row.Cursor)); err != nil {
			return err
		}
		b.used = b.used.Plus(-1, -row.Size())
		total = total.Plus(-1, -row.Size())
	}
	if err := writeBox(tx, owner, b); err != nil {
		return err
	}
	return tx.Set([]byte{keyTotal}, total.encode())
}

// removeName removes the name of a row, unless a later row has it by now.
func removeName(tx store.Tx, row *storedRow) error {
	if !row.Once {
		return nil
	}
	name := nameKey(row.To, row.From, row.ID)
	v, err := tx.Get(name)
	if err != nil || len(v) != 8 || Cursor(binary.BigEndian.Uint64(v)) != row.Cursor {
		return ignoreMissing(err)
	}
	return tx.Delete(name)
}

// scanBox calls f for the rows of owner from a cursor on, until it returns false.
func scanBox(r store.Reader, owner identity.AMID, from Cursor, f func(storedRow) bool) error {
	var bad error
	err := r.Scan(messagePrefix(owner), messageKey(owner, from), func(key, value []byte) bool {
		row, err := decodeMessage(owner, key, value)
		if err != nil {
			bad = err
			return false
		}
		return f(row)
	})
	return errors.Join(err, bad)
}

func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// storageError keeps the store's words and adds what the relay decides by.
func storageError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrPoisoned):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}
