package sqldb

import (
	"context"
	"database/sql"
)

// Tx is a transaction. It lives as long as the function that got it runs, under the
// context of that call, and is not safe for concurrent use.
type Tx struct {
	ctx context.Context
	tx  *sql.Tx
}

// Exec runs a statement and returns how many rows it changed.
func (t *Tx) Exec(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Run runs a statement that was prepared on the Pool, and returns how many rows it
// changed and the key of the last that SQLite put in.
func (t *Tx) Run(s *sql.Stmt, args ...any) (rows, last int64, err error) {
	r, err := t.tx.StmtContext(t.ctx, s).ExecContext(t.ctx, args...)
	if err != nil {
		return 0, 0, err
	}
	if rows, err = r.RowsAffected(); err != nil {
		return 0, 0, err
	}
	last, _ = r.LastInsertId() // PostgreSQL has none
	return rows, last, nil
}

// QueryRow asks for one row.
func (t *Tx) QueryRow(query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(t.ctx, query, args...)
}

// Query asks for rows and calls each with every one of them, which it scans. No other
// query may run meanwhile.
func (t *Tx) Query(each func(scan func(dest ...any) error) error, query string, args ...any) error {
	rows, err := t.tx.QueryContext(t.ctx, query, args...)
	return scanAll(rows, err, each)
}

// Reader reads without a transaction, under the context of the call that made it: what
// several questions find may be of different moments.
type Reader struct {
	ctx  context.Context
	pool *sql.DB
}

// Read reads without a transaction.
func (d *DB) Read(ctx context.Context) Reader { return Reader{ctx, d.read} }

// QueryRow asks for one row.
func (r Reader) QueryRow(query string, args ...any) *sql.Row {
	return r.pool.QueryRowContext(r.ctx, query, args...)
}

// Query asks for rows and calls each with every one of them, which it scans.
func (r Reader) Query(each func(scan func(dest ...any) error) error, query string, args ...any) error {
	rows, err := r.pool.QueryContext(r.ctx, query, args...)
	return scanAll(rows, err, each)
}

// scanAll calls each with every row of what a query returned.
func scanAll(rows *sql.Rows, err error, each func(scan func(dest ...any) error) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
