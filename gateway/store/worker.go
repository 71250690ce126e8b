package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"amesh/internal/sqldb"
)

// workerLock is the first half of PostgreSQL's advisory lock that a gateway holds for as
// long as it lives, "amgw"; the second half is the gateway's number. Where it is free,
// the gateway is dead, and what it had leased may go to others.
const workerLock = 0x616d6777

// unlockWait is how long a database may take to hear of a gateway's end.
const unlockWait = 2 * time.Second

// worker is the number under which a gateway leases. With PostgreSQL it is taken from a
// sequence.
type worker struct {
	id   int64
	pool *sql.DB
	conn *sql.Conn // holds the lock
}

func (w *worker) register(ctx context.Context, db *sqldb.DB) error {
	w.pool = db.Pool()
	if err := w.pool.QueryRowContext(ctx, "SELECT nextval('gw_workers') % 2147483647").Scan(&w.id); err != nil {
		return fmt.Errorf("number of this gateway: %w", err)
	}
	return w.hold(ctx)
}

// hold takes the lock, or makes sure that it is still held. Whoever lost its connection
// has lost its leases too, and takes the lock again for those to come.
func (w *worker) hold(ctx context.Context) error {
	if w.conn != nil {
		if err := w.conn.PingContext(ctx); err == nil {
			return nil
		}
		_ = w.conn.Close()
		w.conn = nil
	}
	conn, err := w.pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1, $2)", workerLock, w.id); err != nil {
		return errors.Join(fmt.Errorf("lock of this gateway: %w", err), conn.Close())
	}
	w.conn = conn
	return nil
}

// close gives the lock back, so that others need not wait for the end of the connection.
func (w *worker) close() error {
	if w.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), unlockWait)
	defer cancel()
	_, _ = w.conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1, $2)", workerLock, w.id) // it ends with its connection
	return w.conn.Close()
}

// freeDead gives back what gateways had leased that are dead.
func (s *Store) freeDead(ctx context.Context) error {
	if err := s.worker.hold(ctx); err != nil {
		return err
	}
	var others []int64
	err := s.read(ctx).Query(func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		others = append(others, id)
		return err
	}, "SELECT DISTINCT worker FROM gw_queue WHERE worker IS NOT NULL AND worker <> $1", s.worker.id)
	if err != nil {
		return fmt.Errorf("other gateways: %w", err)
	}
	for _, id := range others {
		freed := false
		err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
			if err := tx.QueryRow("SELECT pg_try_advisory_xact_lock($1, $2)", workerLock, id).Scan(&freed); err != nil || !freed {
				return err
			}
			_, err := tx.Exec("UPDATE gw_queue SET worker = NULL, due = 0 WHERE worker = $1", id)
			return err
		})
		if err != nil {
			return fmt.Errorf("leases of a dead gateway: %w", err)
		}
		if freed {
			s.wake()
		}
	}
	return nil
}

// freeAll gives back everything that is leased.
func (s *Store) freeAll(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec("UPDATE gw_queue SET worker = NULL, due = 0 WHERE worker IS NOT NULL")
		return err
	})
	if err != nil {
		return fmt.Errorf("leases of the last process: %w", err)
	}
	return nil
}
