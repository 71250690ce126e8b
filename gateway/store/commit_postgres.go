package store

import (
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
		if w := of[e]; e.void {
			continue
		} else if !e.fresh {
			again = append(again, e)
		} else if w.entry == e {
			w.receipt = e.receipt()
		}
	}
	for _, e := range again {
		if e.void {
			continue
		}
		r, err := c.settle(ctx, e)
		if w := of[e]; w.entry == e {
			w.receipt, w.err = r, err
		} else if err != nil && !refused(err) {
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

// insertNew puts in messages of which nothing is there, with their recipients and their
// places in the queue, and returns the ids of those.
const insertNew = `WITH known AS MATERIALIZED (
	SELECT r.id FROM unnest($10::bytea[], $17::bytea[]) AS r (id, dedup) WHERE EXISTS (SELECT 1 FROM gw_recipients g WHERE g.dedup = r.dedup)
), new AS (
	INSERT INTO gw_messages (seq, id, accepted, key_until, hash, sender, origin, in_reply_to, verification, document)
	SELECT nextval('gw_message_numbers'), m.* FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::text[],
		$7::bytea[], $8::text[], $9::bytea[]) AS m (id, accepted, key_until, hash, sender, origin, in_reply_to, verification, document)
	WHERE m.id NOT IN (SELECT known.id FROM known)
	ON CONFLICT DO NOTHING RETURNING seq, id, accepted
), recipients AS (
	INSERT INTO gw_recipients (message, n, mode, state, inbox, attempts, address, dedup, shown, target, code, text)
	SELECT new.seq, r.n, r.mode, r.state, r.inbox, r.attempts, r.address, r.dedup, r.shown, r.target, r.code, r.text
	FROM unnest($10::bytea[], $11::smallint[], $12::smallint[], $13::smallint[], $14::smallint[], $15::integer[], $16::text[],
		$17::bytea[], $18::text[], $19::text[], $20::text[], $21::text[])
		AS r (id, n, mode, state, inbox, attempts, address, dedup, shown, target, code, text) JOIN new ON new.id = r.id
), queue AS (
	INSERT INTO gw_queue (message, target, mode, due)
	SELECT new.seq, q.target, q.mode, new.accepted FROM unnest($22::bytea[], $23::text[], $24::smallint[]) AS q (id, target, mode)
	JOIN new ON new.id = q.id
) SELECT id FROM new`

// prepareConnection makes a connection ready for this statement: its plan is made while
// tables are empty and kept when they are full, so that it must not read them from end
// to end.
const prepareConnection = `SELECT set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
	set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
	set_config('plan_cache_mode', 'force_generic_plan', false)`

// columns are what many entries put into the columns of insertNew.
type columns struct {
	id, hash, inReplyTo, document [][]byte
	accepted, keyUntil            []int64
	sender                        []string
	origin, verification          []*string
	of, dedup                     [][]byte
	n, mode, state, inbox         []int16
	attempts                      []int32
	address                       []string
	shown, target, code, text     []*string
	queueOf                       [][]byte
	queueTarget                   []string
	queueMode                     []int16
}

func (c *columns) add(e *entry) {
	c.id, c.hash, c.inReplyTo, c.document = append(c.id, e.id), append(c.hash, e.hash), append(c.inReplyTo, e.inReplyTo), append(c.document, e.document)
	c.accepted, c.keyUntil = append(c.accepted, e.accepted), append(c.keyUntil, e.keyUntil)
	c.sender, c.origin, c.verification = append(c.sender, e.sender), append(c.origin, e.origin), append(c.verification, e.verification)
	for _, r := range e.recipients {
		c.of, c.dedup, c.address = append(c.of, e.id), append(c.dedup, r.dedup), append(c.address, r.address)
		c.n, c.mode, c.state = append(c.n, int16(r.n)), append(c.mode, int16(r.mode)), append(c.state, int16(r.state))
		c.inbox, c.attempts = append(c.inbox, int16(r.inbox)), append(c.attempts, int32(r.attempts))
		c.shown, c.target = append(c.shown, r.shown), append(c.target, r.target)
		c.code, c.text = append(c.code, r.code), append(c.text, r.text)
	}
	for target, mode := range targets(e.recipients) {
		c.queueOf, c.queueTarget, c.queueMode = append(c.queueOf, e.id), append(c.queueTarget, target), append(c.queueMode, int16(mode))
	}
}

func (c *columns) args() []any {
	return []any{
		c.id, c.accepted, c.keyUntil, c.hash, c.sender, c.origin, c.inReplyTo, c.verification, c.document,
		c.of, c.n, c.mode, c.state, c.inbox, c.attempts, c.address, c.dedup, c.shown, c.target, c.code, c.text,
		c.queueOf, c.queueTarget, c.queueMode,
	}
}

// write writes what is new and the outcomes, in one round trip that commits, and notes
// which entries were new. Where outcomes have notices there are two: whether they are
// written depends on what the outcomes change.
func (c *postgresCommitter) write(ctx context.Context, conn *pgx.Conn, works []*work, first []*entry) error {
	outcomes, b := sorted(works), &pgx.Batch{}
	if !slices.ContainsFunc(outcomes, func(o *outcome) bool { return o.notice != nil }) {
		putNew(b, first)
		putOutcomes(b, outcomes)
		return send(ctx, conn, b)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		putOutcomes(b, outcomes)
		if err := send(ctx, tx, b); err != nil {
			return err
		}
		b = &pgx.Batch{}
		putNew(b, slices.DeleteFunc(slices.Clone(first), func(e *entry) bool { return e.void }))
		return send(ctx, tx, b)
	})
}

// putNew adds to a batch what may be new.
func putNew(b *pgx.Batch, first []*entry) {
	if len(first) == 0 {
		return
	}
	byID := make(map[string]*entry, len(first))
	var all columns
	for _, e := range first {
		e.fresh, byID[string(e.id)] = false, e
		all.add(e)
	}
	b.Queue(insertNew, all.args()...).Query(func(rows pgx.Rows) error {
		var id []byte
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { byID[string(id)].fresh = true; return nil })
		return err
	})
}

// putOutcomes adds outcomes to a batch.
func putOutcomes(b *pgx.Batch, outcomes []*outcome) {
	for _, o := range outcomes {
		b.Queue(updateOutcome, o.args()...).Exec(func(tag pgconn.CommandTag) error { o.took(tag.RowsAffected()); return nil })
		if !o.Untried {
			b.Queue(insertAttempt, o.attemptArgs()...)
		}
		b.Queue(requeue, o.id, o.address, sqldb.Micros(o.At))
		b.Queue(dequeue, o.id, o.address)
	}
}

// send sends a batch, if there is something in it.
func send(ctx context.Context, to interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if err := to.SendBatch(ctx, b).Close(); err != nil {
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
