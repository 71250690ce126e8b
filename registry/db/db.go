// Package db keeps what a registry knows, in SQLite for one that runs beside its file,
// or in PostgreSQL for several that share one database, as package sqldb has them: with
// one set of queries, in transactions that are as good as alone.
package db

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"time"

	"amesh/internal/sqldb"
)

// ErrNotFound reports a row that is not there.
var ErrNotFound = errors.New("not found")

// Errors of Open; sqldb says what they report.
var (
	ErrNewer   = sqldb.ErrNewer
	ErrURL     = sqldb.ErrURL
	ErrDamaged = sqldb.ErrDamaged
	ErrFile    = sqldb.ErrFile
)

const (
	// migrationLock is the key of PostgreSQL's advisory lock: "ameshreg".
	migrationLock = 0x616d657368726567
	// readCache is what each reader of an SQLite file keeps of it in memory, in KiB: the
	// index of what a hundred thousand agents can do, so that a search need not read it
	// from the file.
	readCache = 16384
)

// DB is an open database. It is safe for concurrent use.
type DB struct{ *sqldb.DB }

// Tx is a transaction.
type Tx struct{ *sqldb.Tx }

// Open opens the database at a URL, postgres://… or sqlite://PATH or the path of an
// SQLite file, makes it if it is a file that is not there, and brings its tables up to
// date; several processes may do so at the same time. It returns ErrURL, ErrNewer,
// ErrDamaged, ErrFile, or an error for which Unavailable is true and which may pass.
func Open(ctx context.Context, url string) (*DB, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	d, err := sqldb.Open(ctx, url, sqldb.Config{
		Migrations: dir, Versions: "goose_db_version", Lock: migrationLock, Application: "amesh registry", ReadCache: readCache,
	})
	if err != nil {
		return nil, err
	}
	return &DB{d}, nil
}

// CheckURL returns ErrURL for a URL that cannot be one of a database. It asks nobody.
func CheckURL(url string) error { return sqldb.CheckURL(url) }

// Unavailable reports whether the database could not be asked, or gave up, for a reason
// that is no fault of the question: the same may go well later.
func Unavailable(err error) bool { return sqldb.Unavailable(err) }

// Write runs fn in a transaction that sees and leaves the database as if it were the
// only one. What fn changed is on disk when Write returns nil, and undone when fn
// returns an error, which Write then returns. fn may run several times and must change
// nothing but the database.
func (d *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	return d.DB.Write(ctx, func(tx *sqldb.Tx) error { return fn(&Tx{tx}) })
}

// View runs fn in a transaction that only reads, all of it from one moment.
func (d *DB) View(ctx context.Context, fn func(*Tx) error) error {
	return d.DB.View(ctx, func(tx *sqldb.Tx) error { return fn(&Tx{tx}) })
}

// one turns the error of a row that is not there into ErrNotFound.
func one(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// Micros is how times are written into rows.
func Micros(t time.Time) int64 { return sqldb.Micros(t) }

// Time is what Micros wrote.
func Time(micros int64) time.Time { return sqldb.Time(micros) }
