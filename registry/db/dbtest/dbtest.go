// Package dbtest gives tests the databases that a registry runs on: an SQLite file, and
// a PostgreSQL cluster that lives as long as the test program. A suite of cases runs on
// both:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(dbtest.Main{M: m}) }
//	func TestAgents(t *testing.T) { dbtest.SQLite(t, agents) }
//	func TestWithPostgresAgents(t *testing.T) { dbtest.Postgres(t, agents) }
//
// Tables are made once in a test program and copied from then on, which is most of the
// time that a case would take.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"amesh/registry/db"
)

// Cases are tests by name. Each gets the URL of a database of its own, with tables in
// which nothing is.
type Cases map[string]func(t *testing.T, url string)

// SQLite runs the cases on SQLite.
func SQLite(t *testing.T, cases Cases) {
	t.Helper()
	run(t, cases, newSQLite)
}

// Postgres runs the cases on PostgreSQL, if AMESH_WITH_POSTGRES=1.
func Postgres(t *testing.T, cases Cases) {
	t.Helper()
	if os.Getenv("AMESH_WITH_POSTGRES") != "1" {
		t.Skip("needs PostgreSQL's initdb and postgres; set AMESH_WITH_POSTGRES=1")
	}
	run(t, cases, NewPostgres)
}

func run(t *testing.T, cases Cases, open func(*testing.T) string) {
	t.Helper()
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Empty is a database of the same kind as the one at url, without any table.
func Empty(t *testing.T, url string) string {
	t.Helper()
	if strings.HasPrefix(url, "postgres://") {
		return createPostgres(t, "template0")
	}
	return "sqlite://" + filepath.Join(t.TempDir(), "empty.db")
}

// Main is a *testing.M that cleans up at the end.
type Main struct{ *testing.M }

// Run runs the tests.
func (m Main) Run() int {
	defer func() {
		if err := errors.Join(stopCluster(), os.RemoveAll(lite.dir)); err != nil {
			fmt.Fprintln(os.Stderr, "dbtest:", err)
		}
	}()
	return m.M.Run()
}

// lite is the SQLite file that is copied.
var lite struct {
	sync.Once
	dir   string
	bytes []byte
	err   error
}

func newSQLite(t *testing.T) string {
	t.Helper()
	lite.Do(func() { lite.bytes, lite.err = makeLite() })
	if lite.err != nil {
		t.Fatalf("SQLite: %v", lite.err)
	}
	path := filepath.Join(t.TempDir(), "registry.db")
	if err := os.WriteFile(path, lite.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite://" + path
}

func makeLite() (b []byte, err error) {
	if lite.dir, err = os.MkdirTemp("", "amesh-lite"); err != nil {
		return nil, err
	}
	path := filepath.Join(lite.dir, "template.db")
	if err := migrate(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// migrate makes the tables of a database.
func migrate(url string) error {
	d, err := db.Open(context.Background(), url)
	if err != nil {
		return err
	}
	return d.Close()
}
