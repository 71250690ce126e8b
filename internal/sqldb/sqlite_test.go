package sqldb

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

// tables is a database with a table.
var tables = Config{Versions: "test_db_version", Lock: 1, Application: "test", Migrations: fstest.MapFS{
	"00001_things.sql": {Data: []byte("-- +goose Up\nCREATE TABLE things (name TEXT PRIMARY KEY, value BYTEA);\n-- +goose Down\nDROP TABLE things;\n")},
}}

// A server comes back by waiting; a file does not, so whoever opens it is told at once.
func TestFileThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"no database": {func(t *testing.T, path string) { overwrite(t, path, []byte("hello\n")) }, ErrDamaged},
		"cut short": {func(t *testing.T, path string) {
			closed(t, path)
			if err := os.Truncate(path, 8192); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"a folder": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrFile},
		"nobody's": {func(t *testing.T, path string) {
			if os.Getuid() == 0 {
				t.Skip("SKIP: root may open everything")
			}
			closed(t, path)
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
		}, fs.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "tables.db")
			c.make(t, path)
			_, err := Open(t.Context(), path, tables)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %v of %s", err, c.want, path)
			}
			if Unavailable(err) {
				t.Errorf("%v: as if it passed by waiting", err)
			}
		})
	}
}

// A disk that is full ends the start, and under a running registry may get room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tables.db")
	d := small(t, path)
	err := d.Write(t.Context(), func(tx *Tx) error {
		if _, err := tx.Exec("PRAGMA max_page_count = 1"); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO things (name, value) VALUES ('big', $1)", make([]byte, 1<<20))
		return err
	})
	if !Unavailable(err) {
		t.Fatalf("running: %v is for ever", err)
	}
	if err := fileTrouble(path, err); !errors.Is(err, ErrFile) || !errors.Is(err, syscall.ENOSPC) || Unavailable(err) {
		t.Errorf("at the start: %v", err)
	}
}

// What passes by waiting is no fault of the file.
func TestFileTroubleLeavesTheRest(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, context.Canceled, ErrNewer} {
		if got := fileTrouble("tables.db", err); !errors.Is(got, err) || errors.Is(got, ErrFile) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// small makes a database with nothing in it but its tables.
func small(t *testing.T, path string) *DB {
	t.Helper()
	d, err := Open(context.Background(), path, tables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func closed(t *testing.T, path string) {
	t.Helper()
	d, err := Open(t.Context(), path, tables)
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
