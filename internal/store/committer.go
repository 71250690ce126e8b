package store

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

// request is one waiting Update.
type request struct {
	f     func(Tx) error
	taken atomic.Bool
	done  chan error
}

// take decides, once, between the committer that starts f and the caller that
// gives up.
func (r *request) take() bool { return r.taken.CompareAndSwap(false, true) }

// commitQueue is the committer: it folds all Updates that wait into one commit,
// and while that commit is synced the next ones gather.
func (d *disk) commitQueue() {
	for {
		select {
		case r := <-d.queue:
			d.fold(r)
		case <-d.quit:
			// Nobody is inside any more; what may still lie in the queue was given
			// up by its caller.
			return
		}
	}
}

// fold runs first and what waits behind it, and commits.
func (d *disk) fold(first *request) {
	g := d.newGroup()
	for r := first; r != nil; r = d.next(g) {
		if r.take() {
			g = d.join(g, r)
		}
	}
	d.finish(g)
}

// next is the next waiting request, or nil when the group should be committed.
func (d *disk) next(g *group) *request {
	if g.size.payload >= groupPayload {
		return nil
	}
	for range 2 {
		select {
		case r := <-d.queue:
			return r
		default:
			// Those who were just answered are about to come back. Letting them run
			// first makes groups that are half again as big.
			runtime.Gosched()
		}
	}
	return nil
}

// group is a commit in the making: what its Updates wrote, above the snapshot
// they read.
type group struct {
	layer
	snapshot *snapshot
	size     size
	err      error // why there is nothing to commit to
	space    int64 // free bytes above the reserve, when the group began
	answers  []answer
}

// answer is what a request will be told if the commit succeeds. Also an f that
// failed waits for it: it may have failed because of what an earlier f of the
// group wrote, and that is not true before it is durable.
type answer struct {
	request *request
	err     error
}

func (d *disk) newGroup() *group {
	s, err := d.snapshot()
	if err != nil {
		return &group{err: err}
	}
	g := &group{layer: layer{below: s}, snapshot: s}
	if g.err = d.writable(); g.err != nil {
		return g
	}
	free, err := d.free()
	if err != nil {
		g.err = err // nothing was tried, so nothing is in doubt
		return g
	}
	g.space = free - d.reserve
	return g
}

// join runs a request's f and adds what it wrote to the group, or to a new group
// when this one is full.
func (d *disk) join(g *group, r *request) *group {
	if g.err != nil {
		g.answers = append(g.answers, answer{request: r})
		return g
	}
	o := newOverlay(g)
	err := o.run(r.f)
	if p := new(panicError); errors.As(err, &p) {
		d.log.Error("update panicked", "err", err, "stack", string(p.stack))
	}
	if err != nil || len(o.written) == 0 {
		g.answers = append(g.answers, answer{r, err})
		return g
	}
	if !g.size.plus(o.size).fits() {
		d.finish(g)
		if g = d.newGroup(); g.err != nil {
			g.answers = append(g.answers, answer{request: r})
			return g
		}
	}
	if err := d.room(g, o); err != nil {
		g.answers = append(g.answers, answer{r, err})
		return g
	}
	g.written = merge(g.written, o.written, true)
	g.size = g.size.plus(o.size)
	g.answers = append(g.answers, answer{request: r})
	return g
}

// room says ErrNoSpace when the overlay should not be written any more. It is
// certain then that nothing was committed, which no error of Badger's is.
func (d *disk) room(g *group, o *overlay) error {
	left := g.space - int64(g.size.payload) - int64(o.size.payload)
	if left >= 0 {
		return nil
	}
	if o.deletes() && o.size.payload <= leanPayload && left+d.reserve >= d.reserve/leanShare {
		return nil
	}
	return ErrNoSpace
}

// finish commits the group and tells everybody.
func (d *disk) finish(g *group) {
	err := g.err
	if g.snapshot != nil {
		g.snapshot.release()
	}
	if err == nil && len(g.written) > 0 {
		err = d.commit(g.written)
	}
	for _, a := range g.answers {
		if err != nil {
			a.err = err
		}
		a.request.done <- a.err
	}
}

// commit makes rows durable and visible.
//
// Every error poisons, also a full disk. Badger does not wrap causes, so ENOSPC
// cannot be told from EIO; and after any failed write it is in no state to go on:
// its value log counts bytes that it did not write, a memtable it could not make
// is nil, and a page of the write-ahead log that was not written back is a hole
// at which the replay after a restart stops, with everything behind it.
func (d *disk) commit(written rows) error {
	if err := d.writable(); err != nil {
		return err
	}
	version := d.version + 1 // written by this goroutine only
	txn := d.db.NewTransactionAt(d.version, true)
	for _, r := range written {
		set := func() error { return txn.Set(r.key, r.value) }
		if r.gone {
			set = func() error { return txn.Delete(r.key) }
		}
		if err := set(); err != nil {
			// Before the commit: Badger has seen nothing yet.
			txn.Discard()
			return fmt.Errorf("commit: %w", err)
		}
	}
	err := d.attempt(nil, func() error {
		defer txn.Discard()
		return d.commitAt(txn, version)
	})
	if err == nil {
		err = d.swallowed()
	}
	if err == nil {
		err = d.names.sync()
	}
	if err != nil {
		return d.fail(err)
	}
	d.advance(version)
	return nil
}

// syncFailed takes down a sync error that Badger logs and then forgets.
func (d *disk) syncFailed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncFail = err
}

func (d *disk) swallowed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncFail
}
