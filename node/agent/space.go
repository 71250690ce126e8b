package agent

import (
	"context"
	"errors"

	"amesh/internal/store"
)

// storeWatch is the agent's store, which notes with every Update whether the disk has room.
type storeWatch struct {
	store.Store
	a *Agent
}

// Update implements store.Store. One that deletes may pass where nothing else does, and
// so says nothing about room.
func (w storeWatch) Update(ctx context.Context, f func(store.Tx) error) error {
	var seen *written
	err := w.Store.Update(ctx, func(tx store.Tx) error {
		seen = &written{Tx: tx}
		return f(seen)
	})
	switch {
	case errors.Is(err, store.ErrNoSpace):
		w.a.spaceTrouble(true)
	case err == nil && seen.set && !seen.deleted:
		w.a.spaceTrouble(false)
	}
	return err
}

// written is a transaction that remembers what was done in it.
type written struct {
	store.Tx
	set, deleted bool
}

func (w *written) Set(key, value []byte) error {
	w.set = true
	return w.Tx.Set(key, value)
}

func (w *written) Delete(key []byte) error {
	w.deleted = true
	return w.Tx.Delete(key)
}

// spaceTrouble notes whether the disk has room, and logs when that changes.
func (a *Agent) spaceTrouble(full bool) {
	switch {
	case full && !a.noSpace.Swap(true):
		a.Logger.Error("the disk is full; messages wait until there is room")
	case !full && a.noSpace.Load() && a.noSpace.Swap(false):
		a.Logger.Info("the disk has room again")
	}
}

// NoSpace reports whether the last commit failed because the disk is full.
func (a *Agent) NoSpace() bool { return a.noSpace.Load() }

// tryRoom writes next to nothing to a disk that was full, or one on which nobody else
// writes would be called full for ever.
func (a *Agent) tryRoom(ctx context.Context) {
	if !a.NoSpace() {
		return
	}
	err := a.Store.Update(ctx, func(tx store.Tx) error {
		return tx.Set(a.key(rowCounter, []byte{counterRoom}), be64(uint64(a.Clock().Unix())))
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNoSpace) {
		a.fail(err)
	}
}
