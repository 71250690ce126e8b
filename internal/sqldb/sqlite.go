package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pressly/goose/v3"
)

// readers is how many connections read an SQLite file at the same time.
const readers = 4

// busyWait is how long SQLite waits for another process, in milliseconds.
const busyWait = "5000"

func openSQLite(ctx context.Context, path string, c Config) (_ *DB, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	d := &DB{isolation: sql.LevelSerializable}
	if c.Alone {
		if d.claim, err = claimFile(path); err != nil {
			return nil, fileTrouble(path, err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, d.claim.close())
			}
		}()
	}
	if err := c.migrateSQLite(ctx, path); err != nil {
		return nil, fileTrouble(path, err)
	}
	if d.write, err = c.sqlitePool(path, 1, "_txlock", "immediate"); err != nil {
		return nil, err
	}
	read := []string{"_query_only", "1"}
	if c.ReadCache > 0 {
		read = append(read, "_pragma", "cache_size(-"+strconv.Itoa(c.ReadCache)+")")
	}
	if d.read, err = c.sqlitePool(path, readers, read...); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	return d, nil
}

// makePrivate makes the file, and its folder, for nobody but us. SQLite gives its other
// files the mode of this one.
func makePrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("database folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return f.Close()
}

// sqlitePool opens connections that sync every commit to disk, if the file is not Volatile.
func (c Config) sqlitePool(path string, size int, options ...string) (*sql.DB, error) {
	q := url.Values{"_busy_timeout": {busyWait}, "_synchronous": {"FULL"}, "_foreign_keys": {"1"}}
	if c.Volatile {
		q.Set("_synchronous", "OFF")
	}
	for i := 0; i < len(options); i += 2 {
		q.Set(options[i], options[i+1])
	}
	at := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	pool, err := sql.Open("sqlite", at.String())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return pool, nil
}

// migrateSQLite brings the tables up to date. Processes that start at the same time
// take turns, by a lock on a second file: a lock on the first would be in our own way.
func (c Config) migrateSQLite(ctx context.Context, path string) (err error) {
	turn := path + ".lock"
	if err := makePrivate(turn); err != nil {
		return err
	}
	lock, err := c.sqlitePool(turn, 1, "_txlock", "exclusive", "_busy_timeout", "60000")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	tx, err := lock.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("lock %s: %w", turn, err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	o := []string{"_journal_mode", "WAL", "_txlock", "immediate"}
	if c.PageSize > 0 {
		o = append(o, "_pragma", "page_size("+strconv.Itoa(c.PageSize)+")")
	}
	pool, err := c.sqlitePool(path, 2, o...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	return c.migrate(ctx, goose.DialectSQLite3, pool)
}
