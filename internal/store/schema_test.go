package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/internal/store"
)

// append marks a row with every migration it went through.
func appendTo(mark string) func(store.Tx) error {
	return func(tx store.Tx) error {
		v, err := tx.Get([]byte("k"))
		if err != nil {
			return err
		}
		return tx.Set([]byte("k"), append(append([]byte{}, v...), mark...))
	}
}

func version(v uint32, migrations map[uint32]func(store.Tx) error) store.Options {
	return store.Options{Schema: store.Schema{Name: "test", Version: v, Migrations: migrations}}
}

// made is a folder whose store has k = "v1" under schema 1.
func made(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "home")
	s, err := store.Open(dir, version(1, nil))
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, "k", "v1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// content opens the folder with opt and gives k.
func content(t *testing.T, dir string, opt store.Options) string {
	t.Helper()
	s, err := store.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	return get(t, s, "k")
}

// fingerprint has every file's name, mode, time and content.
func fingerprint(t *testing.T, dir string) map[string]string {
	t.Helper()
	prints := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		var data []byte
		if fi.Mode().IsRegular() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		prints[path] = fmt.Sprintf("%v %v %x", fi.Mode(), fi.ModTime(), sha256.Sum256(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return prints
}

func TestFolderIsPrivate(t *testing.T) {
	dir := made(t)
	for _, path := range []string{filepath.Dir(dir), dir, filepath.Join(dir, "db")} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != 0o700 {
			t.Errorf("%s has mode %04o, want 0700", path, got)
		}
	}
}

func TestStateThatIsNotForUsStaysAsItIs(t *testing.T) {
	other := version(1, nil)
	other.Schema.Name = "other"
	newer := version(2, map[uint32]func(store.Tx) error{1: appendTo("+2")})
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string)
		open store.Options
		want error
	}{
		{"newer schema", func(t *testing.T, dir string) { content(t, dir, newer) }, version(1, nil), store.ErrTooNew},
		{"another program's", func(*testing.T, string) {}, other, store.ErrSchema},
		{"no migration from so far back", func(*testing.T, string) {}, version(2, nil), store.ErrSchema},
		{"schema file cut off", writeSchema("test"), version(1, nil), store.ErrSchema},
		{"schema file empty", writeSchema(""), version(1, nil), store.ErrSchema},
		{"version zero", writeSchema("test 0\n"), version(1, nil), store.ErrSchema},
		{"version out of range", writeSchema("test 4294967296\n"), version(1, nil), store.ErrSchema},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := made(t)
			c.make(t, dir)
			before := fingerprint(t, dir)
			s, err := store.Open(dir, c.open)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("open: %v, want %v", err, c.want)
			}
			if diff := cmp.Diff(before, fingerprint(t, dir)); diff != "" {
				t.Errorf("folder changed (-before +after)\n%s", diff)
			}
		})
	}
}

func writeSchema(line string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "SCHEMA"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func loseSchema(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "SCHEMA")); err != nil {
		t.Fatal(err)
	}
}

func TestLostSchemaFile(t *testing.T) {
	newer := version(2, map[uint32]func(store.Tx) error{1: appendTo("+2")})

	dir := made(t)
	loseSchema(t, dir)
	if got := content(t, dir, version(1, nil)); got != "v1" {
		t.Errorf("same schema: k is %q, want v1", got)
	}
	if line, err := os.ReadFile(filepath.Join(dir, "SCHEMA")); string(line) != "test 1\n" {
		t.Errorf("schema file: %q, %v; want it back", line, err)
	}

	loseSchema(t, dir)
	if got := content(t, dir, newer); got != "v1+2" {
		t.Errorf("older schema: k is %q, want v1+2", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "db.v1")); err != nil {
		t.Errorf("copy before the migration: %v", err)
	}

	loseSchema(t, dir)
	if s, err := store.Open(dir, version(1, nil)); !errors.Is(err, store.ErrTooNew) {
		t.Errorf("newer schema: %v, want ErrTooNew", err)
		if err == nil {
			s.Close()
		}
	}
	if got := content(t, dir, newer); got != "v1+2" {
		t.Errorf("after the refusal: k is %q, want v1+2", got)
	}
}

func TestMigration(t *testing.T) {
	dir := made(t)
	forward := map[uint32]func(store.Tx) error{1: appendTo("+2"), 2: appendTo("+3")}
	for range 2 { // the second time there is nothing to do
		if got := content(t, dir, version(3, forward)); got != "v1+2+3" {
			t.Errorf("k is %q, want v1+2+3", got)
		}
	}
	// The way back is to put the copy in place.
	back := t.TempDir()
	if err := os.CopyFS(filepath.Join(back, "db"), os.DirFS(filepath.Join(dir, "db.v1"))); err != nil {
		t.Fatal(err)
	}
	if got := content(t, back, version(1, nil)); got != "v1" {
		t.Errorf("k in the copy is %q, want v1", got)
	}
}

// CP 32: a migration that ends in the middle leaves whole steps behind, and is taken up again.
func TestMigrationThatFailsIsTakenUpAgain(t *testing.T) {
	dir := made(t)
	boom := errors.New("boom")
	s, err := store.Open(dir, version(3, map[uint32]func(store.Tx) error{
		1: appendTo("+2"),
		2: func(tx store.Tx) error { return errors.Join(tx.Delete([]byte("k")), boom) },
	}))
	if !errors.Is(err, boom) {
		t.Errorf("open: %v, want the migration's error", err)
		if err == nil {
			s.Close()
		}
	}
	// Half way, so the program that made it must not have it.
	if s, err := store.Open(dir, version(1, nil)); !errors.Is(err, store.ErrTooNew) {
		t.Errorf("open with the old schema: %v, want ErrTooNew", err)
		if err == nil {
			s.Close()
		}
	}
	got := content(t, dir, version(3, map[uint32]func(store.Tx) error{
		1: appendTo("+twice"),
		2: appendTo("+3"),
	}))
	if got != "v1+2+3" {
		t.Errorf("k is %q, want v1+2+3", got)
	}
}
