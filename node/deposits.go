package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"amesh/identity"
	"amesh/relay"
)

// sealer is what deposits need of an agent.
type sealer interface {
	RollbackMark() identity.RollbackMark
	Behind(found identity.RollbackMark, left uint64) bool
	TakeBack(found identity.RollbackMark) error
}

// deposits leave an agent's rollback mark at its relays whenever it was raised, and look at
// what lies there (session.md §8.7, relay.md §10).
type deposits struct {
	key   identity.PrivateKey
	of    func() sealer
	lines func() []*relay.Client // called without mu
	log   *slog.Logger
	news  chan struct{}

	mu    sync.Mutex
	left  map[string]identity.RollbackMark // by relay id: the highest that was left by this process
	here  map[string]identity.RollbackMark // what was left on the connection that lives; zero: nothing yet
	found []identity.RollbackMark          // not looked at yet
}

func newDeposits(key identity.PrivateKey, of func() sealer, lines func() []*relay.Client, log *slog.Logger) *deposits {
	return &deposits{
		key: key, of: of, lines: lines, log: log, news: make(chan struct{}, 1),
		left: make(map[string]identity.RollbackMark), here: make(map[string]identity.RollbackMark),
	}
}

// raised hears that the mark was raised.
func (m *deposits) raised() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// gone hears that a relay is not connected.
func (m *deposits) gone(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.here, id)
}

// connected hears what a relay keeps for us, nil for nothing. Only now something is left
// there, so that what others left is seen for what it is.
func (m *deposits) connected(id string, kept *identity.RollbackMark) {
	m.mu.Lock()
	m.here[id] = identity.RollbackMark{}
	if kept != nil {
		m.found = append(m.found, *kept)
	}
	m.mu.Unlock()
	m.raised()
}

// run serves until ctx ends. It returns an error when the agent could not be taken back.
func (m *deposits) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.news:
		}
		back, err := m.judge()
		if err != nil {
			return err
		}
		if back {
			<-ctx.Done() // the agent ends, and with it the node
			return nil
		}
		for _, c := range m.lines() {
			if err := m.leave(c); err != nil {
				return err
			}
		}
	}
}

// judge looks at what was found, before anything is left.
func (m *deposits) judge() (back bool, err error) {
	m.mu.Lock()
	list := m.found
	m.found = nil
	m.mu.Unlock()
	for _, found := range list {
		if m.of().Behind(found, m.own(found)) {
			m.log.Error("rollback_detected: a relay keeps a mark that is ahead of the state; it was put back, or a copy of it runs elsewhere",
				"relay", found.Server, "epoch", found.Epoch)
			return true, m.of().TakeBack(found)
		}
	}
	return false, nil
}

// own is the highest number that this process has left where a mark was found, in the
// mark's epoch.
func (m *deposits) own(found identity.RollbackMark) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if left := m.left[found.Server]; left.Epoch == found.Epoch {
		return left.Reserved
	}
	return 0
}

// leave deposits the mark at a relay that does not have it. It is noted first: the answer
// may come at once.
func (m *deposits) leave(c *relay.Client) error {
	id := c.RelayID()
	mark := m.of().RollbackMark()
	mark.Server = id
	raw, err := identity.SignMark(m.key, mark)
	if err != nil {
		return err
	}
	m.mu.Lock()
	last, connected := m.here[id]
	if !connected || last == mark {
		m.mu.Unlock()
		return nil
	}
	m.here[id], m.left[id] = mark, mark
	m.mu.Unlock()
	c.Deposit(raw, func(kept *identity.RollbackMark, err error) {
		switch {
		case kept != nil:
			m.mu.Lock()
			m.found = append(m.found, *kept)
			m.mu.Unlock()
			m.raised()
		case !errors.Is(err, relay.ErrNoExtension) && !errors.Is(err, relay.ErrDisconnected):
			m.log.Debug("relay keeps no rollback mark", "relay", id, "err", err)
		}
	})
	return nil
}
