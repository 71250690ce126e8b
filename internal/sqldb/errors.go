package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Conditions of PostgreSQL, by SQLSTATE (PostgreSQL 15, appendix A).
const (
	stateSerialization = "40001"
	stateDeadlock      = "40P01"
)

// Collided reports whether the transaction would have gone well without another one.
func Collided(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == stateSerialization || pg.Code == stateDeadlock)
}

// Unavailable reports whether the database could not be asked, or gave up, for a reason
// that is no fault of the question: the same may go well later.
func Unavailable(err error) bool {
	if err == nil || errors.Is(err, ErrDamaged) || errors.Is(err, ErrFile) {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:2] {
		case "08", "40", "53", "57", "58": // connection, collision, resources, operator, system
			return true
		}
		return pg.Code == "25006" // a standby, which only reads
	}
	if code := liteCode(err); code != sqlite3.SQLITE_OK {
		switch code {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM:
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || pgconn.Timeout(err) {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	for _, e := range []error{
		context.DeadlineExceeded, context.Canceled, driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// damage adds ErrDamaged to what SQLite says of a file that it cannot read as one.
func damage(err error) error {
	switch liteCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		if !errors.Is(err, ErrDamaged) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}

// liteCode is SQLite's primary result code, 0 for an error that is not of SQLite.
func liteCode(err error) int {
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() & 0xFF
	}
	return sqlite3.SQLITE_OK
}

// fileTrouble says why the SQLite file at path did not open: unlike a server it comes
// back by no waiting, but for another process that holds its lock.
func fileTrouble(path string, err error) error {
	switch liteCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s: %w", path, damage(err))
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %s: %w: %w", ErrFile, path, syscall.ENOSPC, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR:
		if reason := openable(path); reason != nil {
			return fmt.Errorf("%w: %w", ErrFile, reason)
		}
		return fmt.Errorf("%w: %s: %w", ErrFile, path, err)
	}
	return err
}

// openable is the system's word on a file that SQLite cannot open.
func openable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// pause waits before another try, longer the more there were, and not as long as
// whoever it collided with.
func pause(ctx context.Context, try int) error {
	t := time.NewTimer(rand.N(time.Duration(min(try, 20)) * time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
