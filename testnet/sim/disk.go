package sim

import (
	"bytes"
	"context"
	"sync"

	"amesh/internal/store"
)

// disk is the store of one process. It passes a point before and after each commit,
// and notes what became durable.
type disk struct {
	pr  *process
	mem *store.Memory
	mu  sync.Mutex // one commit at a time, so that the history has their order
}

func (d *disk) View(f func(store.Reader) error) error {
	if d.pr.dead.Load() {
		return store.ErrCrashed
	}
	return d.mem.View(f)
}

func (d *disk) Update(ctx context.Context, f func(store.Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.pr.p.w
	if d.pr.dead.Load() {
		return store.ErrCrashed
	}
	if d.pr.p.full.Load() {
		return store.ErrNoSpace
	}
	rec := &recorder{}
	err := d.mem.Update(ctx, func(tx store.Tx) error {
		rec.Tx = tx
		if err := f(rec); err != nil || len(rec.writes) == 0 {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.point(d.pr, "before a commit") {
			return store.ErrCrashed
		}
		return nil
	})
	if err != nil || len(rec.writes) == 0 {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.pr.p.committed(rec.writes)
	if w.point(d.pr, "after a commit") {
		return store.ErrCrashed
	}
	return nil
}

func (d *disk) Close() error { return d.mem.Close() }

// recorder keeps what a transaction wrote.
type recorder struct {
	store.Tx
	writes []write
}

func (r *recorder) Set(key, value []byte) error {
	r.writes = append(r.writes, write{bytes.Clone(key), append([]byte{}, value...)})
	return r.Tx.Set(key, value)
}

func (r *recorder) Delete(key []byte) error {
	r.writes = append(r.writes, write{key: bytes.Clone(key)})
	return r.Tx.Delete(key)
}
