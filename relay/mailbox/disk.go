package mailbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// Disk is a Mailbox in a store.Store, which the caller opens and closes. A call is
// one transaction; what waits at the same time shares its sync.
//
// The ledger in memory is the store's 'i' rows. It is changed inside Update, where
// functions run one after the other, and before the commit is known to succeed:
// the next function must see what this one did. So a mailbox whose transaction
// failed is stale, and is read again before it is used again.
type Disk struct {
	store  store.Store
	limits Limits
	clock  *clock

	loading sync.Mutex
	loaded  atomic.Bool

	mu      sync.Mutex
	ledger  ledger
	stale   map[identity.AMID]bool
	touched []identity.AMID // by the function that runs
	repairs []place         // 'i' rows that were lost
	kept    int             // 'q' rows

	expired, dropped, quarantined uint64
}

var _ Mailbox = (*Disk)(nil)

// The most that one commit holds, so that it fits into the store's (store.Tx).
const (
	commitMessages = 512
	commitBytes    = 4 << 20
	commitDeletes  = 2000
	// commitTakes is few enough that a disk with no space left still takes the names
	// that are kept of them.
	commitTakes = 48
)

// NewDisk keeps mailboxes in s, which it does not yet touch. The store's schema
// is Schema.
func NewDisk(s store.Store, l Limits) (*Disk, error) {
	if s == nil {
		return nil, errors.New("mailbox needs a store")
	}
	l, err := l.orDefault()
	if err != nil {
		return nil, err
	}
	return &Disk{
		store: s, limits: l, clock: newClock(l),
		ledger: newLedger(l), stale: map[identity.AMID]bool{},
	}, nil
}

// ready reads the store before the first call.
func (m *Disk) ready(ctx context.Context) error {
	if m.loaded.Load() {
		return nil
	}
	m.loading.Lock()
	defer m.loading.Unlock()
	if m.loaded.Load() {
		return nil
	}
	if err := m.convert(ctx); err != nil {
		return storageError(err)
	}
	if err := m.load(); err != nil {
		return storageError(err)
	}
	m.loaded.Store(true)
	return nil
}

// update runs f in a transaction, with the ledger in its hands.
func (m *Disk) update(ctx context.Context, f func(store.Tx) error) error {
	var touched []identity.AMID
	err := m.store.Update(ctx, func(tx store.Tx) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.touched = nil
		defer func() { touched = m.touched }()
		return f(tx)
	})
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, owner := range touched {
			m.stale[owner] = true
		}
	}
	return storageError(err)
}

// settle comes before every use of a mailbox in a transaction.
func (m *Disk) settle(tx store.Tx, owner identity.AMID) error {
	if n := len(m.touched); n == 0 || m.touched[n-1] != owner {
		m.touched = append(m.touched, owner)
	}
	if !m.stale[owner] {
		return nil
	}
	return m.reload(tx, owner)
}

// Open implements Mailbox.
func (m *Disk) Open(ctx context.Context, owner identity.AMID, wide bool) (int, error) {
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	now := m.clock.now()
	m.mu.Lock()
	b := m.ledger.of(owner)
	// Connecting should not cost a commit each time: the row is written when
	// something changes, and once a while to keep it from being forgotten.
	old := wide && now-b.seen > m.limits.ForgetBox.Microseconds()/8
	same := b.wide == wide && !old && !m.stale[owner]
	pending := b.pending(now)
	m.mu.Unlock()
	if same {
		return pending, nil
	}
	err := m.update(ctx, func(tx store.Tx) error {
		if err := m.settle(tx, owner); err != nil {
			return err
		}
		b := m.ledger.of(owner)
		pending = b.pending(now)
		if wide && !m.ledger.mayRemember(owner) {
			return nil
		}
		row := b.boxRow
		row.wide = wide
		if wide {
			row.seen = now
		}
		return m.remember(tx, owner, row)
	})
	if errors.Is(err, store.ErrNoSpace) {
		// The row can be written another time; mail is handed out from a full disk too.
		err = nil
	}
	return pending, err
}

func (m *Disk) remember(tx store.Tx, owner identity.AMID, row boxRow) error {
	if row == m.ledger.of(owner).boxRow {
		return nil
	}
	m.ledger.remember(owner, row)
	return writeBoxRow(tx, owner, row)
}

// Allow implements Mailbox.
func (m *Disk) Allow(ctx context.Context, owner identity.AMID, list *AllowList) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	now := m.clock.now()
	m.mu.Lock()
	err := m.ledger.allow(owner, list)
	known := m.ledger.of(owner).listed == (list != nil) && !m.stale[owner]
	m.mu.Unlock()
	if err != nil || known {
		return err
	}
	return m.update(ctx, func(tx store.Tx) error {
		if err := m.settle(tx, owner); err != nil {
			return err
		}
		row := m.ledger.of(owner).boxRow
		if row.listed = list != nil; row.listed {
			row.seen = now
		}
		return m.remember(tx, owner, row)
	})
}

// Put implements Mailbox. All messages are stored or none, unless there are more
// than one commit holds.
func (m *Disk) Put(ctx context.Context, messages []Message) ([]Stored, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	answers := make([]Stored, len(messages))
	for done := 0; done < len(messages); {
		n := commitLength(messages[done:])
		if err := m.putSome(ctx, messages[done:done+n], answers[done:]); err != nil {
			return nil, err
		}
		done += n
	}
	return answers, nil
}

func commitLength(messages []Message) int {
	var bytes int64
	for i := range messages {
		bytes += messages[i].Size()
		if i > 0 && (i == commitMessages || bytes > commitBytes) {
			return i
		}
	}
	return len(messages)
}

func (m *Disk) putSome(ctx context.Context, messages []Message, answers []Stored) error {
	now := m.clock.now()
	at := time.Now().UTC().Truncate(time.Microsecond)
	return m.update(ctx, func(tx store.Tx) (err error) {
		for i := range messages {
			if answers[i], err = m.put(tx, &messages[i], at, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *Disk) put(tx store.Tx, message *Message, at time.Time, now int64) (Stored, error) {
	owner := message.To
	if err := m.settle(tx, owner); err != nil {
		return Stored{}, err
	}
	v := m.ledger.judge(message, now)
	if v.repeats(now) {
		first, err := m.first(tx, place{owner, v.old.cursor})
		if err == nil {
			return Stored{Expires: first.expires, Repeated: true}, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return Stored{}, err
		}
		// The transaction that stored it failed, and its caller has not yet said
		// so. It must not be taken for stored.
		if err := m.reload(tx, owner); err != nil {
			return Stored{}, err
		}
		v = m.ledger.judge(message, now)
	}
	if v.err != nil {
		return Stored{Err: v.err}, nil
	}
	if v.named {
		if err := m.remove(tx, owner, []Cursor{v.old.cursor}); err != nil {
			return Stored{}, err
		}
	}
	row := stored{
		entry: entry{
			cursor: m.ledger.next(now), due: now + m.limits.TTL.Microseconds(),
			from: message.From, id: message.ID, size: uint32(message.Size()), flags: v.flags,
		},
		at: at, expires: at.Add(m.limits.TTL), row: Row{Message: *message},
	}
	m.ledger.add(owner, row.entry)
	return Stored{Expires: row.expires}, row.write(tx, owner)
}

// first reads how a message was stored the first time.
func (m *Disk) first(tx store.Tx, p place) (stored, error) {
	key := rowKey(keyIndex, p.owner, p.cursor)
	v, err := tx.Get(key)
	if err != nil {
		return stored{}, err
	}
	s, err := decodeIndex(p, key, v)
	if isDamage(err) {
		return getMessage(tx, p)
	}
	return s, err
}

// remove deletes rows of one mailbox and their entries.
func (m *Disk) remove(tx store.Tx, owner identity.AMID, cursors []Cursor) error {
	for _, e := range m.ledger.remove(owner, cursors) {
		for _, kind := range []byte{keyIndex, keyMessage} {
			if err := tx.Delete(rowKey(kind, owner, e.cursor)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Take implements Mailbox.
func (m *Disk) Take(ctx context.Context, owner identity.AMID, n int) ([]Row, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	var taken []Row
	bad := map[Cursor]bool{}
	for {
		now := m.clock.now()
		m.mu.Lock()
		b := m.ledger.of(owner)
		// Looking first costs nothing; an Update would cost a commit's turn.
		empty := !m.stale[owner] && len(b.oldest(1, now, bad)) == 0
		m.mu.Unlock()
		if empty {
			break
		}
		var damaged []Cursor
		err := m.update(ctx, func(tx store.Tx) (err error) {
			taken, damaged, err = m.take(tx, owner, min(n, commitTakes), now, bad)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, c := range damaged {
			bad[c] = true
		}
		m.giveUpDamaged(ctx, owner, damaged)
		if len(taken) > 0 || len(damaged) == 0 {
			break
		}
	}
	return taken, nil
}

func (m *Disk) take(tx store.Tx, owner identity.AMID, n int, now int64, not map[Cursor]bool) ([]Row, []Cursor, error) {
	if err := m.settle(tx, owner); err != nil {
		return nil, nil, err
	}
	b := m.ledger.of(owner)
	var taken []Row
	var rows []stored
	var damaged []Cursor
	for _, c := range b.oldest(n, now, not) {
		s, err := getMessage(tx, place{owner, c})
		if isDamage(err) {
			damaged = append(damaged, c)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		taken, rows = append(taken, s.row), append(rows, s)
	}
	return taken, damaged, m.bury(tx, owner, rows)
}

// Delete implements Mailbox.
func (m *Disk) Delete(ctx context.Context, owner identity.AMID, cursors []Cursor) (int, error) {
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	deleted := 0
	for len(cursors) > 0 {
		some := cursors[:min(len(cursors), commitDeletes)]
		cursors = cursors[len(some):]
		n := 0
		err := m.update(ctx, func(tx store.Tx) error {
			if err := m.settle(tx, owner); err != nil {
				return err
			}
			b := m.ledger.of(owner)
			before := len(b.entries)
			err := m.remove(tx, owner, some)
			b = m.ledger.of(owner)
			n = before - len(b.entries)
			return err
		})
		if err != nil {
			return deleted, err
		}
		deleted += n
	}
	return deleted, nil
}

// Usage implements Mailbox.
func (m *Disk) Usage(ctx context.Context, owner identity.AMID) (Size, error) {
	if err := m.ready(ctx); err != nil {
		return Size{}, err
	}
	m.mu.Lock()
	used, stale := m.ledger.of(owner).used, m.stale[owner]
	m.mu.Unlock()
	if !stale {
		return used, nil
	}
	counted := false
	err := m.update(ctx, func(tx store.Tx) error {
		err := m.settle(tx, owner)
		used, counted = m.ledger.of(owner).used, err == nil
		return err
	})
	if counted && errors.Is(err, store.ErrNoSpace) {
		err = nil // there was nothing to write
	}
	return used, err
}

// Stats implements Mailbox.
func (m *Disk) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.ledger.stats()
	s.Expired, s.NoticesDropped, s.Quarantined = m.expired, m.dropped, m.quarantined
	s.ClockJumps = m.clock.jumped()
	return s
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
	case err == nil, errors.Is(err, ErrStorage), errors.Is(err, ErrBroken):
		return err
	case errors.Is(err, store.ErrPoisoned):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}
