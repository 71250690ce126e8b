package store

import (
	"context"
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
		return s.take(tx, taken, r.Until)
	})
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	if len(taken) == 0 {
		return nil, nil
	}
	return s.jobs(s.read(ctx), taken)
}

// take makes places ours until some time.
func (s *Store) take(tx *sqldb.Tx, list []place, until time.Time) error {
	if len(list) == 0 {
		return nil
	}
	var in strings.Builder
	args := []any{sqldb.Micros(until), s.worker.id}
	for i, p := range list {
		if i > 0 {
			in.WriteByte(',')
		}
		args = append(args, p.message, p.target)
		fmt.Fprintf(&in, "(CAST($%d AS BIGINT), CAST($%d AS TEXT))", len(args)-1, len(args)) // PostgreSQL takes them for texts otherwise
	}
	_, err := tx.Exec("UPDATE gw_queue SET due = $1, worker = $2 WHERE (message, target) IN (VALUES "+in.String()+")", args...)
	return err
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

// jobs are those at some places, in their order, but for those that have been finished
// since.
func (s *Store) jobs(q asker, list []place) ([]Job, error) {
	seqs := make([]any, len(list))
	for i, p := range list {
		seqs[i] = p.message
	}
	in := " IN (" + places(1, len(seqs)) + ")"
	at := make(map[int64]Job, len(list))
	err := q.Query(func(scan func(...any) error) error {
		var f found
		err := f.scan(scan)
		at[f.seq] = Job{
			MessageID: unpackID(f.id), Sender: f.sender, Origin: originOf(f.origin, f.sender), Accepted: sqldb.Time(f.accepted),
			Document: unpackDocument(f.document, f.id),
		}
		return err
	}, "SELECT "+foundColumns+" FROM gw_messages m WHERE m.seq"+in, seqs...)
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	open, err := openRecipients(q, in, seqs)
	if err != nil {
		return nil, err
	}
	all := make([]Job, 0, len(list))
	for _, p := range list {
		j := at[p.message]
		j.Mode, j.Target, j.Queued = unpackMode(p.mode), p.target, j.Accepted
		for _, r := range open[line{p.message, p.target}] {
			j.Recipients = append(j.Recipients, r.JobRecipient)
			if r.since.After(j.Queued) {
				j.Queued = r.since
			}
		}
		if j.MessageID != "" && len(j.Recipients) > 0 {
			all = append(all, j)
		}
	}
	return all, nil
}

// line is a message and one of its targets.
type line struct {
	message int64
	target  string
}

// openRecipient is one that is not at its end, and since when it is tried: zero, since it
// was accepted.
type openRecipient struct {
	JobRecipient
	since time.Time
}

// openRecipients are those of some messages.
func openRecipients(q asker, in string, seqs []any) (map[line][]openRecipient, error) {
	all := make(map[line][]openRecipient, len(seqs))
	err := q.Query(func(scan func(...any) error) error {
		var at line
		var r openRecipient
		var since *int64
		var base int
		err := scan(&at.message, &at.target, &r.Address, &r.Attempts, &since, &base)
		r.Attempts -= base
		r.since = fromMoment(since)
		all[at] = append(all[at], r)
		return err
	}, "SELECT message, target, address, attempts, queued, COALESCE(base, 0) FROM gw_recipients WHERE message"+in+
		" AND target IS NOT NULL AND "+isOpen+" ORDER BY message, n", seqs...)
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return all, nil
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
