// Package sqldb is a database of one server in SQLite, for a server that runs beside its
// file, or in PostgreSQL for several that share it: opening it by URL, its migrations,
// its transactions, and which of its errors pass by waiting. One set of queries can do
// for both: placeholders are $1, $2, …, which both understand; times are microseconds
// since 1970 in a BIGINT, bytes are BYTEA, ids and names are TEXT, lists are JSON in a
// TEXT.
//
// What changes something runs in Write, in a transaction that is as good as alone:
// SQLite has one writer, and PostgreSQL's serializable transactions are tried again
// when they collide. So no query locks anything, and there is no race to think of, but
// for a server that asks PostgreSQL for less (Config.Isolation).
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	// ErrNewer reports a database that a later version of the server has written. It is
	// left as it is.
	ErrNewer = errors.New("the database was written by a newer version of amesh")
	// ErrURL reports a database URL that cannot be right.
	ErrURL = errors.New("database URL")
	// ErrDamaged reports an SQLite file that is none, or is broken inside.
	ErrDamaged = errors.New("the database is damaged")
	// ErrFile reports an SQLite file that cannot be opened or brought up to date. The
	// system's reason is in the error too, where it is known: fs.ErrPermission,
	// syscall.ENOSPC.
	ErrFile = errors.New("the database file cannot be used")
	// ErrInUse reports an SQLite file that somebody has for himself (Config.Alone).
	ErrInUse = errors.New("the database file is in use by another process")
)

// Config is what one kind of server's database is. Only Migrations, Versions, Lock and
// Application are required.
type Config struct {
	// Migrations are plain SQL files for goose that the database understands.
	Migrations fs.FS
	// Versions is the table in which goose notes which of them have run. Servers of
	// different kinds share a PostgreSQL database if theirs differ.
	Versions string
	// Lock is the key of PostgreSQL's advisory lock under which they run.
	Lock int64
	// Application is the server's name in PostgreSQL's list of connections.
	Application string
	// ReadCache is what each of the connections that read an SQLite file keeps of it in
	// memory, in KiB.
	ReadCache int
	// PageSize is that of an SQLite file, in bytes, where it is made anew.
	PageSize int
	// Isolation is that of PostgreSQL's transactions in Write: sql.LevelSerializable where
	// it is zero. With less, queries have to lock what they read.
	Isolation sql.IsolationLevel
	// Connections is how many one server holds to PostgreSQL at most: 16 where it is zero,
	// and no fewer than 4. IdleTime is how long one is kept that nobody uses, which is as
	// long as it lives where it is zero. They do nothing for SQLite.
	Connections int
	IdleTime    time.Duration
	// Volatile leaves it to the system when an SQLite file gets to the disk.
	Volatile bool
	// Alone keeps an SQLite file from others that open it Alone, until Close or the end of
	// the process, however it ends.
	Alone bool
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	write, read *sql.DB // the same with PostgreSQL
	postgres    bool
	isolation   sql.IsolationLevel
	claim       *claim // nil: others may open it too
}

// Open opens the database at a URL, postgres://… or sqlite://PATH or the path of an
// SQLite file, makes it if it is a file that is not there, and brings its tables up to
// date; several processes may do so at the same time. It returns ErrURL, ErrNewer,
// ErrDamaged, ErrFile, ErrInUse, or an error for which Unavailable is true and which may pass.
func Open(ctx context.Context, url string, c Config) (*DB, error) {
	if err := CheckURL(url); err != nil {
		return nil, err
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if c.Isolation == sql.LevelDefault {
		c.Isolation = sql.LevelSerializable
	}
	switch {
	case !ok:
		return openSQLite(ctx, url, c)
	case scheme == "sqlite":
		return openSQLite(ctx, rest, c)
	}
	return openPostgres(ctx, url, c)
}

// IsPostgres reports whether a URL is one of PostgreSQL.
func IsPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// CheckURL returns ErrURL for a URL that cannot be one of a database. It asks nobody.
func CheckURL(url string) error {
	scheme, rest, ok := strings.Cut(url, "://")
	switch {
	case url == "" || ok && rest == "":
		return fmt.Errorf("%w: it is empty", ErrURL)
	case !ok || scheme == "sqlite":
		return nil
	case scheme == "postgres" || scheme == "postgresql":
		// The error's text names host and user, and leaves out the password.
		if _, err := pgx.ParseConfig(url); err != nil {
			return fmt.Errorf("%w: %w", ErrURL, err)
		}
		return nil
	}
	return fmt.Errorf("%w: scheme %.20q, want postgres or sqlite", ErrURL, scheme)
}

// Close closes the database. Transactions that still run fail.
func (d *DB) Close() error {
	if d.read == d.write {
		return d.write.Close()
	}
	return errors.Join(d.read.Close(), d.write.Close(), d.claim.close())
}

// Pool is the pool of connections that may write; with SQLite there is one in it.
func (d *DB) Pool() *sql.DB { return d.write }

// Kind is "sqlite" or "postgres".
func (d *DB) Kind() string {
	if d.postgres {
		return "postgres"
	}
	return "sqlite"
}

// maxTries is how often Write runs a transaction that collides with others. The pause
// between two tries grows to a few milliseconds, so this is a second of bad luck.
const maxTries = 100

// Write runs fn in a transaction that sees and leaves the database as if it were the
// only one, unless Config.Isolation is less. What fn changed is on disk when Write returns
// nil (but see Config.Volatile), and undone when fn returns an error, which Write then
// returns. fn may run several times and must change nothing but the database.
func (d *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		err := d.run(ctx, d.write, &sql.TxOptions{Isolation: d.isolation}, fn)
		if err == nil || !Collided(err) || try == maxTries {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// View runs fn in a transaction that only reads, all of it from one moment.
func (d *DB) View(ctx context.Context, fn func(*Tx) error) error {
	return d.run(ctx, d.read, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, fn)
}

func (d *DB) run(ctx context.Context, pool *sql.DB, o *sql.TxOptions, fn func(*Tx) error) (err error) {
	defer func() { err = damage(err) }()
	tx, err := pool.BeginTx(ctx, o)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := fn(&Tx{ctx: ctx, tx: tx}); err != nil {
		_ = tx.Rollback()
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Ping asks whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	return d.View(ctx, func(tx *Tx) error {
		var one int
		return tx.QueryRow("SELECT 1").Scan(&one)
	})
}

// Micros is how times are written into rows.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// Time is what Micros wrote.
func Time(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
