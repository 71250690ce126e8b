package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"amesh/internal/sqldb"
)

// maxLeaseBytes is about how many bytes of messages one Lease returns: the first job in
// any case.
const maxLeaseBytes = 32 << 20

// place is a place in the queue.
type place struct {
	message int64
	target  string
	mode    int
	size    int64
}

// Lease takes jobs that are due, those first that are due for longest.
func (s *Store) Lease(ctx context.Context, r LeaseRequest) ([]Job, error) {
	var taken []place
	err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if taken, err = s.due(tx, r); err != nil {
			return err
		}
		for _, p := range taken {
			if _, err := tx.Exec("UPDATE gw_queue SET due = $1, worker = $2 WHERE message = $3 AND target = $4",
				sqldb.Micros(r.Until), s.worker.id, p.message, p.target); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	jobs := make([]Job, 0, len(taken))
	q := s.read(ctx)
	for _, p := range taken {
		j, err := s.job(q, p)
		if errors.Is(err, ErrNotFound) { // finished since it was due
			continue
		}
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// due finds places that are due, and that no other gateway is about to take.
func (s *Store) due(tx *sqldb.Tx, r LeaseRequest) (list []place, err error) {
	c := conditions{}
	c.add("q.due <= %s", sqldb.Micros(r.Now))
	if len(r.Except) > 0 {
		args := make([]any, len(r.Except))
		for i, target := range r.Except {
			args[i] = target
		}
		c.add("q.target NOT IN (%s"+strings.Repeat(", %s", len(args)-1)+")", args...)
	}
	query := "SELECT q.message, q.target, q.mode, length(m.document) FROM gw_queue q JOIN gw_messages m ON m.seq = q.message" +
		c.where() + " ORDER BY q.due, q.message LIMIT $" + strconv.Itoa(len(c.args)+1)
	if s.postgres {
		query += " FOR UPDATE OF q SKIP LOCKED"
	}
	var size int64
	err = tx.Query(func(scan func(...any) error) error {
		var p place
		if err := scan(&p.message, &p.target, &p.mode, &p.size); err != nil {
			return err
		}
		if size += p.size; size <= maxLeaseBytes || len(list) == 0 {
			list = append(list, p)
		}
		return nil
	}, query, append(c.args, r.Limit)...)
	return list, err
}

func (s *Store) job(q asker, p place) (Job, error) {
	j := Job{Mode: unpackMode(p.mode), Target: p.target}
	var f found
	err := f.scan(q.QueryRow("SELECT "+foundColumns+" FROM gw_messages m WHERE m.seq = $1", p.message).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return j, ErrNotFound
	}
	if err != nil {
		return j, fmt.Errorf("job: %w", err)
	}
	j.MessageID, j.Sender, j.Origin = unpackID(f.id), f.sender, originOf(f.origin, f.sender)
	j.Accepted, j.Document = sqldb.Time(f.accepted), unpackDocument(f.document, f.id)
	j.Queued = j.Accepted
	err = q.Query(func(scan func(...any) error) error {
		var r JobRecipient
		var since *int64
		var base int
		if err := scan(&r.Address, &r.Attempts, &since, &base); err != nil {
			return err
		}
		r.Attempts -= base
		if at := fromMoment(since); at.After(j.Queued) {
			j.Queued = at
		}
		j.Recipients = append(j.Recipients, r)
		return nil
	}, "SELECT address, attempts, queued, COALESCE(base, 0) FROM gw_recipients WHERE message = $1 AND target = $2 AND "+isOpen+" ORDER BY n",
		p.message, p.target)
	if err != nil {
		return j, fmt.Errorf("job: %w", err)
	}
	if len(j.Recipients) == 0 {
		return j, ErrNotFound
	}
	return j, nil
}

// NextDue is when the next job is due that nobody works on, or whose lease ends; false:
// there is none.
func (s *Store) NextDue(ctx context.Context) (time.Time, bool, error) {
	var due *int64
	if err := s.read(ctx).QueryRow("SELECT min(due) FROM gw_queue").Scan(&due); err != nil {
		return time.Time{}, false, fmt.Errorf("next due: %w", err)
	}
	return fromMoment(due), due != nil, nil
}

// QueueStats counts what is in the queue.
func (s *Store) QueueStats(ctx context.Context) (st QueueStats, err error) {
	q := s.read(ctx)
	var oldest *int64
	err = errors.Join(
		q.Query(func(scan func(...any) error) error {
			var state, n int
			err := scan(&state, &n)
			if state == queued {
				st.Queued = n
			} else {
				st.Retrying = n
			}
			return err
		}, `SELECT r.state, count(*) FROM gw_queue q JOIN gw_recipients r ON r.message = q.message AND r.target = q.target
			WHERE r.`+isOpen+` GROUP BY r.state`),
		q.QueryRow("SELECT count(*) FROM gw_queue WHERE worker IS NOT NULL").Scan(&st.Leased),
		q.QueryRow("SELECT count(*) FROM gw_recipients WHERE dead IS NOT NULL").Scan(&st.Dead),
		q.QueryRow("SELECT min(accepted) FROM gw_messages WHERE seq = (SELECT min(message) FROM gw_queue)").Scan(&oldest),
		q.Query(func(scan func(...any) error) error {
			var t TargetStats
			var next int64
			err := scan(&t.Target, &t.Jobs, &next)
			t.Next = sqldb.Time(next)
			st.Targets = append(st.Targets, t)
			return err
		}, "SELECT target, count(*), min(due) FROM gw_queue GROUP BY target ORDER BY count(*) DESC, target LIMIT 100"),
	)
	if err != nil {
		return st, fmt.Errorf("queue: %w", err)
	}
	st.Oldest = fromMoment(oldest)
	return st, nil
}
