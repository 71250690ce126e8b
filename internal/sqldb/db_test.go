package sqldb

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// Servers of two kinds keep their tables in one database and know nothing of each other.
func TestTwoKindsOfServersShareADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tables.db")
	first := small(t, path)
	other := tables
	other.Versions = "other_db_version"
	other.Migrations = fstest.MapFS{"00007_others.sql": {Data: []byte("-- +goose Up\nCREATE TABLE others (name TEXT PRIMARY KEY);\n")}}
	second, err := Open(t.Context(), path, other)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for table, d := range map[string]*DB{"things": first, "others": second} {
		err := d.Write(t.Context(), func(tx *Tx) error {
			_, err := tx.Exec("INSERT INTO " + table + " (name) VALUES ('here')")
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", table, err)
		}
	}
	if d, err := Open(t.Context(), path, tables); err != nil {
		t.Errorf("the first again: %v", err)
	} else if err := d.Close(); err != nil {
		t.Error(err)
	}
	newer := tables
	newer.Migrations = fstest.MapFS{"00002_less.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")}}
	if _, err := Open(t.Context(), path, newer); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "migration 1") {
		t.Errorf("one that does not know the first's migration: %v", err)
	}
}
