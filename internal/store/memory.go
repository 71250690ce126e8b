package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// ErrCrashed is returned by a Memory that crashed, for every call.
var ErrCrashed = errors.New("crashed")

// Phase says on which side of a commit a Memory crashes.
type Phase int

const (
	// BeforeCommit crashes with nothing of the commit kept.
	BeforeCommit Phase = iota + 1
	// AfterCommit crashes when the commit is durable but before anybody was told.
	AfterCommit
)

// Memory is a Store without a disk that can crash, for tests. A crash stops it
// for ever; Reopen gives a new one over what was durable, as a restarted process
// finds it. It commits each Update singly, and like the disk it makes no commit
// for an Update that wrote nothing.
type Memory struct {
	gate gate
	// turn is held by the running Update. A channel and not a mutex, so that a
	// waiting Update can give up.
	turn chan struct{}

	mu      sync.Mutex
	durable rows
	commits int
	crashes map[int]Phase
	failure error // of the next commit
	dead    error // ErrCrashed or ErrPoisoned
}

// NewMemory gives an empty store.
func NewMemory() *Memory {
	return &Memory{turn: make(chan struct{}, 1), crashes: map[int]Phase{}}
}

// CrashAt makes the n-th commit of this store (the first is 1) a crash. It may be
// called several times; the earliest one wins.
func (m *Memory) CrashAt(n int, phase Phase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashes[n] = phase
}

// Crash stops the store now, between two commits.
func (m *Memory) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = ErrCrashed
}

// Fail makes the next commit fail with err, as a disk would. After ENOSPC nothing
// was changed and the store goes on; after anything else it is poisoned. A failed
// commit is not durable; for one that is, see AfterCommit.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Commits counts the commits that became durable since NewMemory or Reopen.
func (m *Memory) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// Hash is a digest of the whole durable content, for tests that say "no state
// change". It works on a closed or crashed store too.
func (m *Memory) Hash() [32]byte {
	m.mu.Lock()
	image := m.durable
	m.mu.Unlock()
	h := sha256.New()
	for _, r := range image {
		var n [8]byte
		binary.BigEndian.PutUint32(n[:4], uint32(len(r.key)))
		binary.BigEndian.PutUint32(n[4:], uint32(len(r.value)))
		h.Write(n[:])
		h.Write(r.key)
		h.Write(r.value)
	}
	return [32]byte(h.Sum(nil))
}

// Reopen gives a new store over the durable content, without crash points. If
// this one is still running it crashes: two processes never share a folder.
func (m *Memory) Reopen() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead == nil && !m.gate.closed() {
		m.dead = ErrCrashed
	}
	next := NewMemory()
	next.durable = m.durable
	return next
}

// View implements Store.
func (m *Memory) View(f func(Reader) error) error {
	image, err := m.enter()
	if err != nil {
		return err
	}
	defer m.gate.leave()
	return f(image)
}

// Update implements Store.
func (m *Memory) Update(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := m.enter(); err != nil {
		return err
	}
	defer m.gate.leave()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.turn }()

	image, err := m.image()
	if err != nil {
		return err
	}
	o := newOverlay(image)
	if err := o.run(f); err != nil {
		return err
	}
	return m.commit(o.written)
}

// Close implements Store.
func (m *Memory) Close() error {
	m.gate.close()
	_, err := m.image()
	return err
}

func (m *Memory) enter() (rows, error) {
	// A dead store says what it died of, also after Close.
	image, err := m.image()
	if err != nil {
		return nil, err
	}
	return image, m.gate.enter()
}

func (m *Memory) image() (rows, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.durable, m.dead
}

func (m *Memory) commit(written rows) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead != nil {
		return m.dead
	}
	if len(written) == 0 {
		return nil
	}
	if err := m.failure; err != nil {
		m.failure = nil
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		m.dead = fmt.Errorf("%w: %w", ErrPoisoned, err)
		return m.dead
	}
	phase := m.crashes[m.commits+1]
	if phase == BeforeCommit {
		m.dead = ErrCrashed
		return m.dead
	}
	m.durable = merge(m.durable, written, false)
	m.commits++
	if phase == AfterCommit {
		m.dead = ErrCrashed
	}
	return m.dead
}
