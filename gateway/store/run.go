package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"amesh/internal/sqldb"
)

const (
	// aliveInterval is how often a gateway looks for others that died, and so about how
	// long what those had leased waits.
	aliveInterval = 2 * time.Second
	// sweepInterval is how often old messages are looked for.
	sweepInterval = 10 * time.Minute
	// sweepBatch is how many of them go in one transaction.
	sweepBatch = 200
	// DefaultRetention is Options.Retention where it is zero.
	DefaultRetention = 30 * 24 * time.Hour
)

// Options are what Run does by itself.
type Options struct {
	// Retention is how long a message is kept after it has ended for all its recipients:
	// acknowledged, delivered elsewhere, or failed; and no shorter than its key counts.
	Retention time.Duration
	// Failed hears of what went wrong in the background and is tried again. It may be nil.
	Failed func(error)
}

// Run commits what Accept and Finish wait for, gives back the leases of gateways that
// died, and forgets what is older than it has to be, until ctx is done; then it finishes
// what waits, and returns nil. Accept and Finish wait for it. It is called once.
func (s *Store) Run(ctx context.Context, o Options) error {
	defer close(s.stopped)
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.commits(ctx) })
	if s.postgres {
		all.Go(func() {
			every(ctx, aliveInterval, func() {
				if err := s.freeDead(ctx); err != nil && ctx.Err() == nil {
					o.Failed(err)
				}
			})
		})
	}
	every(ctx, sweepInterval, func() {
		if err := s.sweep(ctx, time.Now(), o.Retention); err != nil && ctx.Err() == nil {
			o.Failed(err)
		}
	})
	return nil
}

// every calls fn now and after every pause, until ctx is done.
func every(ctx context.Context, pause time.Duration, fn func()) {
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		fn()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep forgets messages that have ended.
func (s *Store) sweep(ctx context.Context, now time.Time, retention time.Duration) error {
	after := int64(0)
	for ctx.Err() == nil {
		next, done, err := s.sweepSome(ctx, after, sqldb.Micros(now), sqldb.Micros(now.Add(-retention)))
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if done {
			return nil
		}
		after = next
	}
	return nil
}

// ended holds of messages that ended before $1 and whose key counts no more at $2.
const ended = `m.accepted < $1 AND m.key_until <= $2 AND NOT EXISTS (SELECT 1 FROM gw_recipients r WHERE r.message = m.seq
	AND (r.` + isOpen + ` OR r.inbox = 1 OR COALESCE(r.acked, r.changed, m.accepted) >= $1))`

// sweepSome looks at some messages behind one of them, and returns the last it has seen,
// or that there are no more.
func (s *Store) sweepSome(ctx context.Context, after, now, before int64) (last int64, done bool, err error) {
	var seen int
	var old *int64
	q := s.read(ctx)
	if err := q.QueryRow(`SELECT count(*), max(seq) FROM (SELECT seq FROM gw_messages WHERE seq > $1 AND accepted < $2 ORDER BY seq LIMIT $3) x`,
		after, before, sweepBatch).Scan(&seen, &old); err != nil || old == nil {
		return after, true, err
	}
	var gone []any
	err = q.Query(func(scan func(...any) error) error {
		var seq int64
		err := scan(&seq)
		gone = append(gone, seq)
		return err
	}, "SELECT m.seq FROM gw_messages m WHERE m.seq > $3 AND m.seq <= $4 AND "+ended, before, now, after, *old)
	if err == nil && len(gone) > 0 {
		err = s.forget(ctx, gone)
	}
	return *old, seen < sweepBatch, err
}

// forget removes messages.
func (s *Store) forget(ctx context.Context, seqs []any) error {
	in := " IN (" + places(1, len(seqs)) + ")"
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, query := range []string{
			"DELETE FROM gw_attempts WHERE message" + in, "DELETE FROM gw_queue WHERE message" + in,
			"DELETE FROM gw_recipients WHERE message" + in, "DELETE FROM gw_messages WHERE seq" + in,
		} {
			if _, err := tx.Exec(query, seqs...); err != nil {
				return err
			}
		}
		return nil
	})
}
