package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"amesh/identity"
	"amesh/internal/store"
)

// Rollback marks and the epoch (session.md §8.7). A state that was put back, from a
// copy or a snapshot, would seal with keys that were used before. The mark lies where
// the copy does not reach and says how far sealing may have come since.

// MarkKeeper keeps an agent's rollback mark outside of its store. Its methods are
// called by one goroutine at a time.
type MarkKeeper interface {
	// Load returns the mark as it was saved last, nil when there is none.
	Load() ([]byte, error)
	// Save has synced the mark when it returns nil.
	Save(raw []byte) error
}

const (
	// markAhead is how many envelopes a mark reserves beyond those that are counted or
	// on their way into the store.
	markAhead = 1024
	// markUnderWay bounds what is sealed and not committed yet, by all clerks together.
	markUnderWay = 1024
	// markJudged is how far a mark may be ahead of the store after a crash; further is a
	// state that was put back. So many envelopes can be sealed between a copy of the
	// state and its return without anybody noticing, if no start lies between.
	markJudged = markAhead + markUnderWay
)

// mark counts the envelopes that the agent seals.
type mark struct {
	a *Agent

	mu       sync.Mutex
	room     sync.Cond // signalled when underWay shrank
	epoch    uint32
	sealed   uint64 // as the store has counted
	underWay uint64 // sealed, and not committed yet
	reserved uint64
	first    uint64 // reserved at the start
	void     bool   // a mark elsewhere is ahead: nothing is sealed any more
}

func newMark(a *Agent) *mark {
	m := &mark{a: a}
	m.room.L = &m.mu
	return m
}

// reserve lets n envelopes be committed, of which settle tells the end. The mark says so
// before they are. An error of the keeper is one of the disk.
func (m *mark) reserve(n int) error {
	if m.a.Mark == nil || n == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.void {
		return ErrRolledBack
	}
	for m.underWay > 0 && m.underWay+uint64(n) > markUnderWay {
		m.room.Wait()
	}
	if next := m.sealed + m.underWay + uint64(n); next > m.reserved {
		if err := m.write(next + markAhead); err != nil {
			return err
		}
	}
	m.underWay += uint64(n)
	return nil
}

// settle ends what reserve began: the envelopes are in the store, or they are nowhere.
func (m *mark) settle(n int, committed bool) {
	if m.a.Mark == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.underWay -= uint64(n)
	if committed {
		m.sealed += uint64(n)
	}
	m.room.Broadcast()
}

// write saves a mark; m.mu is held.
func (m *mark) write(reserved uint64) error {
	if err := m.save(identity.RollbackMark{Epoch: m.epoch, Reserved: reserved}); err != nil {
		return err
	}
	m.reserved = reserved
	if m.a.Raised != nil {
		m.a.Raised()
	}
	return nil
}

func (m *mark) save(mark identity.RollbackMark) error {
	raw, err := identity.SignMark(m.a.Key, mark)
	if err != nil {
		return err
	}
	if err := m.a.Mark.Save(raw); err != nil {
		return fmt.Errorf("rollback mark: %w", err)
	}
	return nil
}

// load returns the mark if there is a valid one.
func (m *mark) load() (*identity.RollbackMark, error) {
	raw, err := m.a.Mark.Load()
	if err != nil {
		return nil, fmt.Errorf("rollback mark: %w", err)
	}
	if raw == nil {
		return nil, nil
	}
	found, err := identity.ParseMark(raw, m.a.Key.Public(), "")
	if err != nil {
		m.a.Logger.Warn("the rollback mark is not ours; it counts as none", "agent", m.a.Name, "err", err)
		return nil, nil
	}
	return found, nil
}

// history is what the store knows of the agent's past.
type history struct {
	epoch  uint32
	sealed uint64
	// counted is false for a store that never counted: a new one, or one of a
	// version without marks.
	counted bool
	used    bool // there are keys that may have sealed something
	strange bool // some of them were sealed under a state key that is gone
}

func (a *Agent) history() (h history, err error) {
	err = a.Store.View(func(r store.Reader) error {
		for _, kind := range []byte{rowPrekeys, rowSession} {
			err := r.Scan(a.key(kind), nil, func(k, v []byte) bool {
				_, err := a.StateKey.Open(k, v)
				h.used, h.strange = true, h.strange || err != nil
				return true
			})
			if err != nil {
				return err
			}
		}
		epoch, _, err := counter(r, a.key(rowCounter, []byte{counterEpoch}))
		if err != nil {
			return err
		}
		h.epoch = uint32(epoch)
		h.sealed, h.counted, err = counter(r, a.key(rowCounter, []byte{counterSealed}))
		return err
	})
	return h, err
}

func counter(r store.Reader, key []byte) (v uint64, found bool, err error) {
	b, err := r.Get(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case len(b) != 8:
		return 0, false, fmt.Errorf("counter of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), true, nil
}

// rolledBack judges a store by its mark.
func rolledBack(h history, m *identity.RollbackMark) bool {
	switch {
	case h.strange:
		return true
	case m == nil:
		return h.used && (h.sealed > 0 || !h.counted)
	case m.Epoch > h.epoch:
		return true
	}
	return m.Reserved > h.sealed+markJudged
}

// open finds out whether the state was put back, and then makes sure that nothing of
// before seals again. It comes before anything else at a start.
func (m *mark) open(ctx context.Context) error {
	h, err := m.a.history()
	if err != nil {
		return err
	}
	h.epoch = max(h.epoch, 1)
	if m.a.Mark == nil {
		m.epoch = h.epoch
		return nil
	}
	found, err := m.load()
	if err != nil {
		return err
	}
	back := rolledBack(h, found)
	m.epoch, m.sealed = h.epoch, h.sealed
	if found != nil {
		m.epoch, m.sealed = max(h.epoch, found.Epoch), max(h.sealed, found.Reserved)
	}
	// Further than any mark of before, so that this start is seen in every older copy.
	m.sealed += markUnderWay + 1
	if back {
		if m.epoch++; m.epoch == 0 {
			return errors.New("there is no epoch left")
		}
		m.a.Logger.Error("rollback_detected: the state is older than its mark; every session is replaced",
			"agent", m.a.Name, "epoch", m.epoch)
		// What betrays the rollback is about to go: a start after a crash in between
		// must find it out again, by the mark.
		if err := m.write(m.sealed + markAhead); err != nil {
			return err
		}
		if err := m.a.retireAll(ctx); err != nil {
			return err
		}
	}
	err = m.a.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.Set(m.a.key(rowCounter, []byte{counterEpoch}), be64(uint64(m.epoch))); err != nil {
			return err
		}
		if back {
			at := be64(uint64(m.a.Clock().Unix()))
			if err := tx.Set(m.a.key(rowCounter, []byte{counterBack}), at); err != nil {
				return err
			}
		}
		return tx.Set(m.a.key(rowCounter, []byte{counterSealed}), be64(m.sealed))
	})
	if err != nil {
		return err
	}
	m.first = m.sealed + markAhead
	return m.write(m.first)
}

// count adds to the number of sealed envelopes in the store.
func (a *Agent) count(tx store.Tx, n int) error {
	if a.Mark == nil || n == 0 {
		return nil
	}
	key := a.key(rowCounter, []byte{counterSealed})
	v, _, err := counter(tx, key)
	if err != nil {
		return err
	}
	return tx.Set(key, be64(v+uint64(n)))
}

// Epoch is the agent's epoch, valid after Start (session.md §8.7).
func (a *Agent) Epoch() uint32 {
	a.mark.mu.Lock()
	defer a.mark.mu.Unlock()
	return a.mark.epoch
}
