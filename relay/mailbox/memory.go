package mailbox

import (
	"context"
	"sync"
	"time"

	"amesh/identity"
)

// Memory is a Mailbox in maps: it keeps its promises until the process ends. It
// has the quotas of a Disk and no store, for tests, demos and relays whose
// operator wants nothing written.
type Memory struct {
	limits Limits
	clock  *clock

	mu               sync.Mutex
	ledger           ledger
	rows             map[place]*Row
	expired, dropped uint64
}

var _ Mailbox = (*Memory)(nil)

// NewMemory gives an empty mailbox.
func NewMemory(l Limits) (*Memory, error) {
	l, err := l.orDefault()
	if err != nil {
		return nil, err
	}
	m := &Memory{limits: l, clock: newClock(l), ledger: newLedger(l), rows: map[place]*Row{}}
	m.clock.start(0, 0, false)
	return m, nil
}

// Open implements Mailbox.
func (m *Memory) Open(_ context.Context, owner identity.AMID, wide bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, now := m.ledger.of(owner), m.clock.now()
	if wide && m.ledger.mayRemember(owner) || !wide && b.wide {
		row := b.boxRow
		row.wide = wide
		if wide {
			row.seen = now
		}
		m.ledger.remember(owner, row)
	}
	return b.pending(now), nil
}

// Allow implements Mailbox.
func (m *Memory) Allow(_ context.Context, owner identity.AMID, list *AllowList) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ledger.allow(owner, list); err != nil {
		return err
	}
	row := m.ledger.of(owner).boxRow
	if row.listed = list != nil; row.listed {
		row.seen = m.clock.now()
	}
	m.ledger.remember(owner, row)
	return nil
}

// Put implements Mailbox.
func (m *Memory) Put(_ context.Context, messages []Message) ([]Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	answers := make([]Stored, len(messages))
	for i := range messages {
		answers[i] = m.put(&messages[i])
	}
	return answers, nil
}

func (m *Memory) put(message *Message) Stored {
	now := m.clock.now()
	v := m.ledger.judge(message, now)
	switch {
	case v.repeats(now):
		return Stored{Expires: m.rows[place{message.To, v.old.cursor}].Expires, Repeated: true}
	case v.err != nil:
		return Stored{Err: v.err}
	case v.named:
		m.remove(message.To, []Cursor{v.old.cursor})
	}
	row := &Row{Message: *message}
	// The caller's candidates are its own.
	row.Candidates = append([]byte(nil), message.Candidates...)
	m.store(message.To, row, entry{
		from: message.From, id: message.ID, size: uint32(message.Size()), flags: v.flags,
	}, now)
	return Stored{Expires: row.Expires}
}

// store gives a row its place and its times.
func (m *Memory) store(owner identity.AMID, row *Row, e entry, now int64) {
	e.cursor, e.due = m.ledger.next(now), now+m.limits.TTL.Microseconds()
	row.Cursor = e.cursor
	row.At = time.Now().UTC().Truncate(time.Microsecond)
	row.Expires = row.At.Add(m.limits.TTL)
	m.ledger.add(owner, e)
	m.rows[place{owner, e.cursor}] = row
}

func (m *Memory) remove(owner identity.AMID, cursors []Cursor) int {
	gone := m.ledger.remove(owner, cursors)
	for i := range gone {
		delete(m.rows, place{owner, gone[i].cursor})
	}
	return len(gone)
}

// List implements Mailbox.
func (m *Memory) List(_ context.Context, owner identity.AMID, after Cursor, max Size) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.ledger.of(owner)
	l := listing{now: m.clock.now(), max: max}
	for _, e := range b.after(after) {
		if !l.add(&stored{entry: e, row: *m.rows[place{owner, e.cursor}]}) {
			break
		}
	}
	return l.rows, nil
}

// Take implements Mailbox.
func (m *Memory) Take(_ context.Context, owner identity.AMID, n int) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.ledger.of(owner)
	cursors := b.oldest(n, m.clock.now(), nil)
	var taken []Row
	for _, c := range cursors {
		taken = append(taken, *m.rows[place{owner, c}])
	}
	for _, e := range m.ledger.remove(owner, cursors) {
		m.bury(owner, e)
	}
	return taken, nil
}

// bury forgets all of a removed row but its name and when that is given up.
func (m *Memory) bury(owner identity.AMID, e entry) {
	p := place{owner, e.cursor}
	expires := m.rows[p].Expires
	delete(m.rows, p)
	if !e.flags.has(flagOnce) {
		return
	}
	kept, dropped := m.ledger.bury(owner, e)
	for i := range dropped {
		delete(m.rows, place{owner, dropped[i].cursor})
	}
	if kept {
		m.rows[p] = &Row{Expires: expires}
	}
}

// Delete implements Mailbox.
func (m *Memory) Delete(_ context.Context, owner identity.AMID, cursors []Cursor) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.remove(owner, cursors), nil
}

// Usage implements Mailbox.
func (m *Memory) Usage(_ context.Context, owner identity.AMID) (Size, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ledger.of(owner).used, nil
}

// Expire implements Mailbox.
func (m *Memory) Expire(context.Context) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, _ := m.clock.read()
	n := 0
	for _, p := range m.ledger.overdue(now) {
		row := *m.rows[p]
		delete(m.rows, p)
		if len(m.ledger.unbury(p.owner, []Cursor{p.cursor})) > 0 {
			continue
		}
		m.ledger.remove(p.owner, []Cursor{p.cursor})
		if row.Notice != nil {
			continue
		}
		n++
		if row.Once {
			m.notify(row.From, &Notice{Reason: Expired, ID: row.ID, To: p.owner, Taken: row.At}, now)
		}
	}
	for _, owner := range m.ledger.forgotten(now) {
		m.ledger.lists.drop(owner)
		m.ledger.remember(owner, boxRow{})
	}
	m.expired += uint64(n)
	return n, nil
}

func (m *Memory) notify(sender identity.AMID, n *Notice, now int64) {
	if m.ledger.of(sender).notices >= m.limits.Notices {
		m.dropped++
		return
	}
	row := &Row{Message: Message{To: sender, ID: n.ID}, Notice: n}
	m.store(sender, row, entry{id: n.ID, flags: flagNotice}, now)
	n.At = row.At
}

// Stats implements Mailbox.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.ledger.stats()
	s.Expired, s.NoticesDropped, s.ClockJumps = m.expired, m.dropped, m.clock.jumped()
	return s
}
