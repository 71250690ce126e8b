package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"amesh/internal/sqldb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresCommitter commits to PostgreSQL, which other gateways use at the same time. A
// batch takes two round trips: one asks which messages are there already and takes
// numbers, the second writes everything and commits. Unique indexes decide between
// gateways: the one that comes second starts again, and finds the other's message.
type postgresCommitter struct {
	db   *sqldb.DB
	conn *sql.Conn // nil until it is needed, and after it failed
}

const (
	// uniqueViolation is PostgreSQL's SQLSTATE for a row that is there already.
	uniqueViolation = "23505"
	// maxCollisions is how often a batch starts again because another gateway was quicker,
	// before its works go one by one.
	maxCollisions = 3
)

func (c *postgresCommitter) close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

func (c *postgresCommitter) commit(ctx context.Context, works []*work) {
	var err error
	for range maxCollisions {
		if err = c.attempt(ctx, works); !collided(err) {
			break
		}
	}
	if err == nil {
		return
	}
	for _, w := range works {
		if w.err = err; len(works) > 1 && alone(err) {
			c.commit(ctx, []*work{w})
		}
	}
}

// collided reports whether another gateway was quicker, or waited for us as we did for it.
func collided(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == uniqueViolation || sqldb.Collided(err)
}

// attempt writes the works: what is new in one transaction, and what came again after
// it, each by itself.
func (c *postgresCommitter) attempt(ctx context.Context, works []*work) error {
	var fresh, again []*entry
	var of = make(map[*entry]*work, len(works))
	for _, w := range works {
		for _, e := range w.entries() {
			of[e] = w
		}
	}
	err := c.raw(ctx, func(conn *pgx.Conn) error {
		if err := c.look(ctx, conn, works, &fresh, &again); err != nil {
			return err
		}
		return c.write(ctx, conn, works, fresh)
	})
	if err != nil {
		return err
	}
	for _, w := range works {
		w.err = nil
	}
	for _, e := range fresh {
		if w := of[e]; w.entry == e {
			w.receipt = e.receipt()
		}
	}
	for _, e := range again {
		r, err := c.settle(ctx, e)
		if w := of[e]; w.entry == e {
			w.receipt, w.err = r, err
		} else if err != nil && !errors.Is(err, ErrKeyConflict) && !errors.Is(err, ErrIDConflict) {
			w.err = err
		}
	}
	return nil
}

// raw runs fn on the committer's own connection. One that was lost while nobody used it
// is replaced: nothing was sent on it, or the messages of it are found when they are
// looked for again.
func (c *postgresCommitter) raw(ctx context.Context, fn func(*pgx.Conn) error) error {
	for try := 1; ; try++ {
		err := c.rawOnce(ctx, fn)
		if err == nil || collided(err) || try == 2 || !lost(err) {
			return err
		}
	}
}

func (c *postgresCommitter) rawOnce(ctx context.Context, fn func(*pgx.Conn) error) error {
	if c.conn == nil {
		conn, err := c.db.Pool().Conn(ctx)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		c.conn = conn
	}
	err := c.conn.Raw(func(dc any) error { return fn(dc.(*stdlib.Conn).Conn()) })
	if err != nil && !collided(err) {
		_ = c.conn.Close()
		c.conn = nil
	}
	return err
}

// lost reports whether a connection ended under a request.
func lost(err error) bool {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || sqldb.Unavailable(err) && !errors.Is(err, context.DeadlineExceeded)
}

// look asks which entries are there, and takes numbers for the others.
func (c *postgresCommitter) look(ctx context.Context, conn *pgx.Conn, works []*work, fresh, again *[]*entry) error {
	*fresh, *again = nil, nil
	var all []*entry
	var ids, keys [][]byte
	for _, w := range works {
		for _, e := range w.entries() {
			all = append(all, e)
			ids = append(ids, e.id)
			for _, r := range e.recipients {
				if r.dedup != nil {
					keys = append(keys, r.dedup)
				}
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	seen := map[string]bool{}
	note := func(raw []byte) { seen[string(raw)] = true }
	b := &pgx.Batch{}
	b.Queue("SELECT id FROM gw_messages WHERE id = ANY($1)", ids).Query(eachBytes(note))
	b.Queue("SELECT dedup FROM gw_recipients WHERE dedup = ANY($1)", keys).Query(eachBytes(note))
	next := 0
	b.Queue("SELECT nextval('gw_message_numbers') FROM generate_series(1, $1)", len(all)).Query(func(rows pgx.Rows) error {
		var seq int64
		_, err := pgx.ForEachRow(rows, []any{&seq}, func() error { all[next].seq = seq; next++; return nil })
		return err
	})
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("look for messages: %w", err)
	}
	for _, e := range all {
		known := seen[string(e.id)]
		for _, r := range e.recipients {
			known = known || r.dedup != nil && seen[string(r.dedup)]
		}
		if known {
			*again = append(*again, e)
			continue
		}
		*fresh = append(*fresh, e)
		note(e.id)
		for _, r := range e.recipients {
			if r.dedup != nil {
				note(r.dedup)
			}
		}
	}
	slices.SortFunc(*fresh, func(a, b *entry) int { return bytes.Compare(a.order(), b.order()) })
	return nil
}

// order is by what entries are put in, so that two gateways which put in the same ones do
// not wait for each other in a circle.
func (e *entry) order() []byte {
	if len(e.recipients) > 0 && e.recipients[0].dedup != nil {
		return e.recipients[0].dedup
	}
	return e.id
}

func eachBytes(fn func([]byte)) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var raw []byte
		_, err := pgx.ForEachRow(rows, []any{&raw}, func() error { fn(raw); return nil })
		return err
	}
}

// write writes what is new and the outcomes, in one round trip that commits.
func (c *postgresCommitter) write(ctx context.Context, conn *pgx.Conn, works []*work, fresh []*entry) error {
	b := &pgx.Batch{}
	for _, e := range fresh {
		b.Queue(insertMessage, e.messageArgs(e.seq)...)
		for j := range e.recipients {
			b.Queue(insertRecipient, e.recipients[j].args(e.seq)...)
		}
		for target, mode := range targets(e.recipients) {
			b.Queue(insertQueue, e.seq, target, mode, e.accepted)
		}
	}
	for _, o := range sorted(works) {
		b.Queue(updateOutcome, o.args()...)
		if !o.Untried {
			b.Queue(insertAttempt, o.attemptArgs()...)
		}
		b.Queue(requeue, o.id, o.address, sqldb.Micros(o.At))
		b.Queue(dequeue, o.id, o.address)
	}
	if b.Len() == 0 {
		return nil
	}
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// settle accepts what came again, or is new again because its key is too old.
func (c *postgresCommitter) settle(ctx context.Context, e *entry) (r Receipt, err error) {
	for range maxCollisions {
		err = c.db.Write(ctx, func(tx *sqldb.Tx) error {
			r, err = settle(tx, true, e)
			if errors.Is(err, errNew) {
				r, err = insertAlone(tx, e)
			}
			return err
		})
		if !collided(err) {
			break
		}
	}
	return r, err
}

func insertAlone(tx *sqldb.Tx, e *entry) (Receipt, error) {
	var seq int64
	if err := tx.QueryRow("SELECT nextval('gw_message_numbers')").Scan(&seq); err != nil {
		return Receipt{}, err
	}
	if _, err := tx.Exec(insertMessage, e.messageArgs(seq)...); err != nil {
		return Receipt{}, err
	}
	for i := range e.recipients {
		if _, err := tx.Exec(insertRecipient, e.recipients[i].args(seq)...); err != nil {
			return Receipt{}, err
		}
	}
	for target, mode := range targets(e.recipients) {
		if _, err := tx.Exec(insertQueue, seq, target, mode, e.accepted); err != nil {
			return Receipt{}, err
		}
	}
	return e.receipt(), nil
}
