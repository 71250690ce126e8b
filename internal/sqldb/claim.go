package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	sqlite3 "modernc.org/sqlite/lib"
)

// claim keeps an SQLite file for one DB. It is a transaction on a second file that never
// ends by itself: SQLite's lock on that works on every system and within one process too,
// and goes with the process. One on the database would be in our own way.
type claim struct {
	pool *sql.DB
	tx   *sql.Tx
}

// claimFile returns ErrInUse if somebody has the database at path.
func claimFile(path string) (*claim, error) {
	real, err := filepath.EvalSymlinks(path) // it is one file under all its names
	if err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	beside := real + ".use"
	if err := makePrivate(beside); err != nil {
		return nil, err
	}
	pool, err := Config{}.sqlitePool(beside, 1, "_txlock", "exclusive", "_busy_timeout", "0")
	if err != nil {
		return nil, err
	}
	// The claim outlives the call, and so its context.
	tx, err := pool.BeginTx(context.Background(), nil)
	if err == nil {
		return &claim{pool, tx}, nil
	}
	if liteCode(err) == sqlite3.SQLITE_BUSY {
		err = fmt.Errorf("%w: %s", ErrInUse, path)
	} else {
		err = fmt.Errorf("lock %s: %w", beside, err)
	}
	return nil, errors.Join(err, pool.Close())
}

// close gives the file back, once. A nil claim has none.
func (c *claim) close() error {
	if c == nil {
		return nil
	}
	err := c.tx.Rollback()
	if errors.Is(err, sql.ErrTxDone) {
		err = nil // closed before
	}
	return errors.Join(err, c.pool.Close())
}
