// Package marks keeps rollback marks for agents on a relay: one for each, where a
// copy of the agent's own state does not reach. It knows nothing of what is in them;
// whoever uses it says which of two is kept. A mark that was not asked for during
// Limits.Forget is forgotten; none gives way to another agent's.
package marks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
	"amesh/relay/mailbox"
)

// Keys beside those of the mailbox, in the same store.
//
//	'e' owner   a mark
//	'E'         how long the relay has run
const (
	keyMark  = 'e'
	keyClock = 'E'
)

const (
	rowVersion = 1
	// maxMark is the longest mark, in bytes (docs/protocol/session.md §2.7).
	maxMark = 353
)

// Limits are the numbers of a Disk. The zero Limits stands for the defaults.
type Limits struct {
	// Entries is how many agents have a mark. A row takes about 400 bytes.
	// Default 1,000,000.
	Entries int
	// Forget is how long a mark is kept that nobody asks for, in time that the relay
	// runs: no clock that is set wrong, and no outage, makes it forget. Default 30 days.
	Forget time.Duration
	// SweepRows is how many are removed in one commit. Default 256.
	SweepRows int
}

func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return Limits{Entries: 1_000_000, Forget: 30 * 24 * time.Hour, SweepRows: 256}, nil
	}
	if l.Entries <= 0 || l.Forget <= 0 || l.SweepRows <= 0 {
		return l, errors.New("limits of rollback marks must be positive")
	}
	return l, nil
}

// Disk keeps marks in a store. It is safe for concurrent use. Its errors are ErrFull,
// or wrap mailbox.ErrStorage or mailbox.ErrBroken.
type Disk struct {
	store  store.Store
	limits Limits

	mu      sync.Mutex
	started time.Time // zero until the store was read, at the first call
	base    time.Duration
	entries int
}

// New checks the limits. It reads nothing.
func New(s store.Store, l Limits) (*Disk, error) {
	if s == nil {
		return nil, errors.New("rollback marks need a store")
	}
	l, err := l.orDefault()
	if err != nil {
		return nil, err
	}
	return &Disk{store: s, limits: l}, nil
}

// row is a mark with when it was last asked for, by running time.
type row struct {
	used time.Duration
	mark []byte
}

func (v row) encode() []byte {
	w := wire.NewWriter(11 + len(v.mark))
	w.U8(rowVersion)
	w.I64(int64(v.used))
	w.LP16(v.mark)
	return w.Bytes()
}

// decode copies what it keeps. A row that cannot be read is one without a mark, and
// forgotten at the next sweep.
func decode(b []byte) row {
	r := wire.NewReader(b)
	version := r.U8()
	v := row{used: time.Duration(r.I64())}
	mark := r.LP16(maxMark)
	if r.Done() != nil || version != rowVersion {
		return row{}
	}
	v.mark = append([]byte(nil), mark...)
	return v
}

func keyOf(owner identity.AMID) []byte { return append([]byte{keyMark}, owner[:]...) }

// Get returns the mark of owner, nil if there is none, and keeps it from being
// forgotten.
func (d *Disk) Get(ctx context.Context, owner identity.AMID) ([]byte, error) {
	now, err := d.now()
	if err != nil {
		return nil, err
	}
	var found row
	err = d.store.View(func(r store.Reader) error {
		found, err = read(r, owner)
		return err
	})
	if err != nil || found.mark == nil {
		return nil, storageError(err)
	}
	if now-found.used < d.limits.Forget/8 {
		return found.mark, nil
	}
	err = d.store.Update(ctx, func(tx store.Tx) error {
		latest, err := read(tx, owner)
		if err != nil || latest.mark == nil {
			return err
		}
		found = row{used: now, mark: latest.mark}
		return tx.Set(keyOf(owner), found.encode())
	})
	return found.mark, storageError(err)
}

// Keep stores a mark if there is none, or if it replaces the one that there is, and
// returns the one that is kept then, synced. replaces must not block.
func (d *Disk) Keep(ctx context.Context, owner identity.AMID, mark []byte, replaces func(kept []byte) bool) ([]byte, error) {
	now, err := d.now()
	if err != nil {
		return nil, err
	}
	kept, added := mark, 0
	err = d.store.Update(ctx, func(tx store.Tx) error {
		old, err := read(tx, owner)
		if err != nil {
			return err
		}
		if kept, added = mark, 0; old.mark != nil && !replaces(old.mark) {
			kept = old.mark
			return nil
		}
		if old.mark == nil {
			if !d.room() {
				return mailbox.ErrFull
			}
			added = 1
		}
		return tx.Set(keyOf(owner), row{used: now, mark: mark}.encode())
	})
	if errors.Is(err, mailbox.ErrFull) {
		return nil, err
	}
	if err != nil {
		return nil, storageError(err)
	}
	d.count(added)
	return kept, nil
}

// Sweep forgets marks that nobody asked for and writes down how long the relay has
// run. It is called now and then, by one caller.
func (d *Disk) Sweep(ctx context.Context) error {
	now, err := d.now()
	if err != nil {
		return err
	}
	err = d.store.Update(ctx, func(tx store.Tx) error {
		w := wire.NewWriter(9)
		w.U8(rowVersion)
		w.I64(int64(now))
		return tx.Set([]byte{keyClock}, w.Bytes())
	})
	for err == nil {
		var stale []identity.AMID
		if stale, err = d.stale(now); err != nil || len(stale) == 0 {
			break
		}
		err = d.forget(ctx, stale, now)
	}
	return storageError(err)
}

// stale finds some marks that are to be forgotten.
func (d *Disk) stale(now time.Duration) (owners []identity.AMID, err error) {
	err = d.store.View(func(r store.Reader) error {
		owners = nil
		return r.Scan([]byte{keyMark}, nil, func(key, value []byte) bool {
			if len(key) == 1+identity.AMIDSize && d.forgotten(decode(value), now) {
				owners = append(owners, identity.AMID(key[1:]))
			}
			return len(owners) < d.limits.SweepRows
		})
	})
	return owners, err
}

func (d *Disk) forgotten(v row, now time.Duration) bool {
	return v.mark == nil || now-v.used > d.limits.Forget
}

func (d *Disk) forget(ctx context.Context, owners []identity.AMID, now time.Duration) error {
	gone := 0
	err := d.store.Update(ctx, func(tx store.Tx) error {
		gone = 0
		for _, owner := range owners {
			v, err := read(tx, owner)
			if err != nil {
				return err
			}
			// It may have been asked for since it was found.
			if !d.forgotten(v, now) {
				continue
			}
			if err := tx.Delete(keyOf(owner)); err != nil {
				return err
			}
			gone++
		}
		return nil
	})
	if err == nil {
		d.count(-gone)
	}
	return err
}

func read(r store.Reader, owner identity.AMID) (row, error) {
	v, err := r.Get(keyOf(owner))
	if errors.Is(err, store.ErrNotFound) {
		return row{}, nil
	}
	if err != nil {
		return row{}, err
	}
	return decode(v), nil
}

func (d *Disk) room() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.entries < d.limits.Entries
}

func (d *Disk) count(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries += n
}

// now is how long the relay has run, in this process and before. The first call reads
// the store.
func (d *Disk) now() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started.IsZero() {
		if err := d.load(); err != nil {
			return 0, storageError(err)
		}
	}
	return d.base + time.Since(d.started), nil
}

// load reads how long the relay has run and counts the marks; the caller holds the
// mutex.
func (d *Disk) load() error {
	base, entries := time.Duration(0), 0
	err := d.store.View(func(r store.Reader) error {
		v, err := r.Get([]byte{keyClock})
		if err == nil {
			row := wire.NewReader(v)
			version := row.U8()
			if base = time.Duration(row.I64()); row.Done() != nil || version != rowVersion || base < 0 {
				base = 0 // nothing is forgotten early
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return r.Scan([]byte{keyMark}, nil, func([]byte, []byte) bool {
			entries++
			return true
		})
	})
	if err == nil {
		d.started, d.base, d.entries = time.Now(), base, entries
	}
	return err
}

// storageError keeps the store's words and adds what a relay decides by.
func storageError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrPoisoned):
		return fmt.Errorf("%w: %w", mailbox.ErrBroken, err)
	}
	return fmt.Errorf("%w: %w", mailbox.ErrStorage, err)
}
