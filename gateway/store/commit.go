package store

import (
	"context"
	"errors"
	"runtime"
	"time"
)

const (
	// maxBatch is how many requests share one transaction at most, and maxBatchBytes how
	// many bytes of messages, about.
	maxBatch      = 256
	maxBatchBytes = 4 << 20
	// gatherTurns is how often others may run before a transaction begins without them: a
	// few microseconds where nobody else has anything to do.
	gatherTurns = 20
	// commitWait ends a transaction that PostgreSQL does not end.
	commitWait = 30 * time.Second
)

// committer writes what many requests wait for.
type committer interface {
	// commit writes everything in one transaction, if it can, and notes in each work what
	// came of it.
	commit(ctx context.Context, works []*work)
	close() error
}

// work is what one request waits for: a message to accept, or outcomes.
type work struct {
	entry    *entry // nil: outcomes
	outcomes []*outcome

	receipt Receipt // of entry
	err     error
	done    chan struct{}
}

// entries are the messages of a work: its own, or the notices of its outcomes.
func (w *work) entries() []*entry {
	if w.entry != nil {
		return []*entry{w.entry}
	}
	var all []*entry
	for _, o := range w.outcomes {
		if o.notice != nil {
			all = append(all, o.notice)
		}
	}
	return all
}

func (w *work) size() int {
	n := 0
	for _, e := range w.entries() {
		n += len(e.document)
	}
	return n
}

// submit hands a work to Run and waits for its end. When ctx ends first, the work may be
// done nevertheless.
func (s *Store) submit(ctx context.Context, w *work) error {
	w.done = make(chan struct{})
	select {
	case s.works <- w:
	case <-s.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
	}
	select { // it may have been among the last
	case <-w.done:
		return w.err
	default:
		return ErrStopped
	}
}

// commits commits what is submitted until ctx is done, and what had been until then.
func (s *Store) commits(ctx context.Context) {
	for {
		select {
		case w := <-s.works:
			s.commitBatch(ctx, s.gather(w))
		case <-ctx.Done():
			select {
			case w := <-s.works:
				s.commitBatch(ctx, s.gather(w))
			default:
				return
			}
		}
	}
}

// gather takes what waits beside the first, and lets requests that are about to ask come
// first: a transaction costs more than what one of them adds to it.
func (s *Store) gather(first *work) []*work {
	batch, size, turns := []*work{first}, first.size(), gatherTurns
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case w := <-s.works:
			batch = append(batch, w)
			size += w.size()
		default:
			if turns == 0 {
				return batch
			}
			turns--
			runtime.Gosched()
		}
	}
	return batch
}

func (s *Store) commitBatch(ctx context.Context, batch []*work) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWait)
	defer cancel()
	s.commit.commit(ctx, batch)
	s.note(batch)
	var ids []string
	due := false
	for _, w := range batch {
		close(w.done)
		if w.err != nil {
			continue
		}
		for _, e := range w.entries() {
			ids = append(ids, e.source.Message.MessageID)
			if reply := e.source.Message.InReplyTo; reply != "" {
				ids = append(ids, reply)
			}
			due = due || len(targets(e.recipients)) > 0
		}
		for _, o := range w.outcomes {
			ids = append(ids, o.MessageID)
		}
	}
	if due {
		s.wake()
	}
	s.tellChange(ids)
}

// refused reports whether a message is not accepted for what it is.
func refused(err error) bool {
	return errors.Is(err, ErrKeyConflict) || errors.Is(err, ErrIDConflict) || errors.Is(err, ErrFull)
}

// alone reports whether a work that failed beside others may do well by itself: what
// failed was no fault of the database as a whole.
func alone(err error) bool { return !Unavailable(err) && !errors.Is(err, context.Canceled) }
