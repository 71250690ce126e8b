package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"amesh/internal/sqldb"
)

// liteCommitter commits to SQLite, statement by statement: each is prepared.
type liteCommitter struct {
	db                        *sqldb.DB
	message, recipient, queue *sql.Stmt
	update                    *sql.Stmt
	attempt, requeue, dequeue *sql.Stmt
}

func newLiteCommitter(ctx context.Context, db *sqldb.DB) (*liteCommitter, error) {
	c := &liteCommitter{db: db}
	for _, p := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&c.message, insertMessage + onConflict}, {&c.recipient, insertRecipient + onConflict}, {&c.queue, insertQueue},
		{&c.update, updateOutcome}, {&c.attempt, insertAttempt}, {&c.requeue, requeue}, {&c.dequeue, dequeue},
	} {
		var err error
		if *p.to, err = db.Pool().PrepareContext(ctx, p.query); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare: %w", err), c.close())
		}
	}
	return c, nil
}

func (c *liteCommitter) close() error {
	var all []error
	for _, s := range []*sql.Stmt{c.message, c.recipient, c.queue, c.update, c.attempt, c.requeue, c.dequeue} {
		if s != nil {
			all = append(all, s.Close())
		}
	}
	return errors.Join(all...)
}

// commit runs under a context without an end, because SQLite's driver starts a goroutine
// for every statement under one that has an end.
func (c *liteCommitter) commit(ctx context.Context, works []*work) {
	err := c.db.Write(context.WithoutCancel(ctx), func(tx *sqldb.Tx) error {
		for _, w := range works {
			if err := c.one(tx, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return
	}
	for _, w := range works {
		if w.err = err; len(works) > 1 && alone(err) {
			c.commit(ctx, []*work{w})
		}
	}
}

// one writes one work. What is wrong with it alone is in the work; an error ends the
// transaction.
func (c *liteCommitter) one(tx *sqldb.Tx, w *work) error {
	w.err = nil
	for _, o := range w.outcomes {
		if err := c.outcome(tx, o); err != nil {
			return err
		}
	}
	for _, e := range w.entries() {
		if e.void {
			continue
		}
		r, err := c.accept(tx, e)
		if err != nil && !refused(err) {
			return err
		} else if err != nil && e != w.entry { // a notice that was sent before
			continue
		}
		if e == w.entry {
			w.receipt, w.err = r, err
		}
	}
	return nil
}

func (c *liteCommitter) accept(tx *sqldb.Tx, e *entry) (Receipt, error) {
	for range 2 {
		ok, err := c.insert(tx, e)
		if err != nil {
			return Receipt{}, err
		}
		if ok {
			return e.receipt(), nil
		}
		r, err := settle(tx, false, e)
		if !errors.Is(err, errNew) { // else its old keys are free now
			return r, err
		}
	}
	return Receipt{}, errors.New("accept: a key is in use, and of no message")
}

// insert puts a message in, or nothing at all if something of it is there.
func (c *liteCommitter) insert(tx *sqldb.Tx, e *entry) (bool, error) {
	n, seq, err := tx.Run(c.message, e.messageArgs(nil)...)
	if err != nil {
		return false, fmt.Errorf("message: %w", err)
	}
	if n == 0 {
		return false, nil
	}
	for i := range e.recipients {
		n, _, err := tx.Run(c.recipient, e.recipients[i].args(seq)...)
		if err != nil {
			return false, fmt.Errorf("recipient: %w", err)
		}
		if n == 0 {
			return false, c.takeBack(tx, seq)
		}
	}
	for target, mode := range targets(e.recipients) {
		if _, _, err := tx.Run(c.queue, seq, target, mode, e.accepted); err != nil {
			return false, fmt.Errorf("queue: %w", err)
		}
	}
	return true, nil
}

func (c *liteCommitter) takeBack(tx *sqldb.Tx, seq int64) error {
	if _, err := tx.Exec("DELETE FROM gw_recipients WHERE message = $1", seq); err != nil {
		return fmt.Errorf("take back: %w", err)
	}
	if _, err := tx.Exec("DELETE FROM gw_messages WHERE seq = $1", seq); err != nil {
		return fmt.Errorf("take back: %w", err)
	}
	return nil
}

func (c *liteCommitter) outcome(tx *sqldb.Tx, o *outcome) error {
	n, _, err := tx.Run(c.update, o.args()...)
	if err != nil {
		return fmt.Errorf("outcome: %w", err)
	}
	o.took(n)
	if !o.Untried {
		if _, _, err := tx.Run(c.attempt, o.attemptArgs()...); err != nil {
			return fmt.Errorf("attempt: %w", err)
		}
	}
	if _, _, err := tx.Run(c.requeue, o.id, o.address, sqldb.Micros(o.At)); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if _, _, err := tx.Run(c.dequeue, o.id, o.address); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}
