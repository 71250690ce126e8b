package agents

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"amesh/gateway/store"
)

// Run keeps the Directory up to date with the database, and tells it who was heard of,
// until ctx ends. While the database is away the last snapshot counts.
func (d *Directory) Run(ctx context.Context) error {
	refresh := time.NewTicker(RefreshEvery)
	defer refresh.Stop()
	touch := time.NewTicker(TouchEvery)
	defer touch.Stop()
	away := false
	for {
		var err error
		select {
		case <-ctx.Done():
			// The last word of who was heard of; if it does not arrive, little is lost.
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := d.touch(ending); err != nil {
				d.cfg.Logger.Debug("last access not written", "err", err)
			}
			return nil
		case <-refresh.C:
			err = d.Load(ctx)
		case <-touch.C:
			err = d.touch(ctx)
		}
		if ctx.Err() != nil {
			continue
		}
		if err != nil && !away {
			d.cfg.Logger.Warn("agents not up to date", "err", err)
		}
		away = err != nil
	}
}

// touch writes down when agents were last heard of.
func (d *Directory) touch(ctx context.Context) error {
	d.mu.Lock()
	dirty := d.dirty
	d.dirty = map[string]time.Time{}
	d.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	list := make([]store.Touched, 0, len(dirty))
	for _, address := range slices.Sorted(maps.Keys(dirty)) {
		list = append(list, store.Touched{Address: address, At: dirty[address]})
	}
	if err := d.cfg.Rows.Touch(ctx, list); err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		for address, at := range dirty {
			if d.dirty[address].IsZero() {
				d.dirty[address] = at
			}
		}
		return fmt.Errorf("last access: %w", err)
	}
	return nil
}
