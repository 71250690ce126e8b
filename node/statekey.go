package node

import (
	"context"
	"errors"
	"time"

	"amesh/internal/store"
	"amesh/node/agent"
)

// stateKeyEvery is how often it is looked whether the state key is due for a change.
// The key itself says when: after a day.
const stateKeyEvery = time.Hour

// turnStateKey changes the state key every day, so that what was deleted from the state
// cannot be read from a stolen disk for longer (docs/protocol/session.md §14).
func (m *mesh) turnStateKey(ctx context.Context) error {
	tick := time.NewTicker(stateKeyEvery)
	defer tick.Stop()
	for {
		if err := m.changeStateKey(ctx); err != nil {
			if errors.Is(err, store.ErrPoisoned) {
				return err
			}
			// The old key stays in use; nothing is lost but a day.
			m.node.cfg.Logger.Warn("the state key could not be changed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (m *mesh) changeStateKey(ctx context.Context) error {
	now := m.node.cfg.Clock()
	if !m.stateKey.Due(now) {
		return nil
	}
	var prefixes [][]byte
	err := m.store.View(func(r store.Reader) (err error) {
		prefixes, err = agent.SealedPrefixes(r)
		return err
	})
	if err != nil || len(prefixes) == 0 {
		return err
	}
	if err := store.ChangeKey(ctx, m.store, m.stateKey, now, prefixes); err != nil {
		if ctx.Err() != nil {
			return nil // the next start finishes it
		}
		return err
	}
	m.node.cfg.Logger.Debug("the state key was changed")
	return nil
}
