package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"amesh/internal/sqldb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresCommitter commits to PostgreSQL, which other gateways use at the same time. A
// batch takes one round trip, in which one statement puts in all messages of which
// nothing is there. Unique indexes decide between gateways: the one that comes second
// starts again, and finds the other's message.
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
	of := make(map[*entry]*work, len(works))
	first, again := split(works, of)
	err := c.raw(ctx, func(conn *pgx.Conn) error { return c.write(ctx, conn, works, first) })
	if err != nil {
		return err
	}
	for _, w := range works {
		w.err = nil
	}
	for _, e := range first {
		if w := of[e]; !e.fresh {
			again = append(again, e)
		} else if w.entry == e {
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
		if _, err := conn.ExecContext(ctx, prepareConnection); err != nil {
			return errors.Join(fmt.Errorf("connect: %w", err), conn.Close())
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

// split notes whose the entries are, and puts aside those that have something in common
// with one before them.
func split(works []*work, of map[*entry]*work) (first, again []*entry) {
	seen := map[string]bool{}
	for _, w := range works {
		for _, e := range w.entries() {
			of[e] = w
			known := seen[string(e.id)]
			for _, r := range e.recipients {
				known = known || r.dedup != nil && seen[string(r.dedup)]
			}
			if known {
				again = append(again, e)
				continue
			}
			first = append(first, e)
			seen[string(e.id)] = true
			for _, r := range e.recipients {
				if r.dedup != nil {
					seen[string(r.dedup)] = true
				}
			}
		}
	}
	return first, again
}

// The statements that put in a message of which nothing is there. The others do nothing
// if the first one did nothing: they want a message that this transaction has put in.
const (
	insertNew = `INSERT INTO gw_messages (seq, accepted, key_until, id, hash, sender, origin, in_reply_to, verification, document)
		SELECT nextval('gw_message_numbers'), $1::bigint, $2::bigint, $3::bytea, $4::bytea, $5::text, $6::text, $7::bytea, $8::text, $9::bytea
		WHERE NOT EXISTS (SELECT 1 FROM gw_recipients WHERE dedup = ANY($10::bytea[])) ON CONFLICT DO NOTHING`
	insertNewRecipient = `INSERT INTO gw_recipients (message, n, mode, state, inbox, attempts, address, dedup, shown, target, changed, code, text)
		SELECT seq, $2::smallint, $3::smallint, $4::smallint, $5::smallint, $6::integer, $7::text, $8::bytea, $9::text, $10::text, $11::bigint,
		$12::text, $13::text FROM gw_messages WHERE id = $1 AND xmin = pg_current_xact_id()::xid`
	insertNewQueue = `INSERT INTO gw_queue (message, target, mode, due) SELECT seq, $2::text, $3::smallint, accepted
		FROM gw_messages WHERE id = $1 AND xmin = pg_current_xact_id()::xid`
)

// prepareConnection makes a connection ready for these statements: their plans are made
// while tables are empty and kept when they are full, so that they must not read them
// from end to end.
const prepareConnection = `SELECT set_config('enable_seqscan', 'off', false),
	set_config('enable_bitmapscan', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false)`

// write writes what is new and the outcomes, in one round trip that commits, and notes
// which entries were new.
func (c *postgresCommitter) write(ctx context.Context, conn *pgx.Conn, works []*work, first []*entry) error {
	b := &pgx.Batch{}
	for _, e := range first {
		e.queue(b)
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

// queue queues the statements that put in a message, and notes whether they did.
func (e *entry) queue(b *pgx.Batch) {
	keys := make([][]byte, 0, len(e.recipients))
	for _, r := range e.recipients {
		if r.dedup != nil {
			keys = append(keys, r.dedup)
		}
	}
	b.Queue(insertNew, append(e.messageArgs(nil)[1:], keys)...).Exec(func(tag pgconn.CommandTag) error {
		e.fresh = tag.RowsAffected() == 1
		return nil
	})
	for i := range e.recipients {
		args := e.recipients[i].args(0)
		args[0] = e.id
		b.Queue(insertNewRecipient, args...)
	}
	for target, mode := range targets(e.recipients) {
		b.Queue(insertNewQueue, e.id, target, mode)
	}
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
