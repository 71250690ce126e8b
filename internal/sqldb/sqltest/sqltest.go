// Package sqltest gives tests the databases that a server runs on: an SQLite file, and a
// PostgreSQL cluster that lives as long as the test program. A suite of cases runs on
// both:
//
//	var kit = sqltest.New(migrate)
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(kit.Main(m)) }
//	func TestAgents(t *testing.T) { kit.SQLite(t, agents) }
//	func TestWithPostgresAgents(t *testing.T) { kit.Postgres(t, agents) }
//
// Tables are made once in a test program and copied from then on, which is most of the
// time that a case would take.
package sqltest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Cases are tests by name. Each gets the URL of a database of its own, with tables in
// which nothing is.
type Cases map[string]func(t *testing.T, url string)

// Kit makes databases with one kind of tables.
type Kit struct {
	migrate func(url string) error

	mu      sync.Mutex
	cluster *cluster // nil until the first that needs PostgreSQL
	lite    []byte   // the SQLite file that is copied, nil until the first that needs it
}

// New is a kit of databases in which migrate has made the tables.
func New(migrate func(url string) error) *Kit { return &Kit{migrate: migrate} }

// SQLite runs the cases on SQLite.
func (k *Kit) SQLite(t *testing.T, cases Cases) {
	t.Helper()
	run(t, cases, k.NewSQLite)
}

// Postgres runs the cases on PostgreSQL, if AMESH_WITH_POSTGRES=1.
func (k *Kit) Postgres(t *testing.T, cases Cases) {
	t.Helper()
	if os.Getenv("AMESH_WITH_POSTGRES") != "1" {
		t.Skip("needs PostgreSQL's initdb and postgres; set AMESH_WITH_POSTGRES=1")
	}
	run(t, cases, k.NewPostgres)
}

func run(t *testing.T, cases Cases, open func(*testing.T) string) {
	t.Helper()
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Empty is a database of the same kind as the one at url, without any table.
func (k *Kit) Empty(t *testing.T, url string) string {
	t.Helper()
	if strings.HasPrefix(url, "postgres://") {
		return k.createPostgres(t, "template0")
	}
	return "sqlite://" + filepath.Join(t.TempDir(), "empty.db")
}

// Main is a *testing.M that cleans up at the end.
type Main struct {
	*testing.M
	kit *Kit
}

// Main wraps a program's tests.
func (k *Kit) Main(m *testing.M) Main { return Main{m, k} }

// Run runs the tests.
func (m Main) Run() int {
	defer func() {
		if err := m.kit.stopCluster(); err != nil {
			fmt.Fprintln(os.Stderr, "sqltest:", err)
		}
	}()
	return m.M.Run()
}

// NewSQLite makes a new SQLite file with tables, which goes with the test.
func (k *Kit) NewSQLite(t *testing.T) string {
	t.Helper()
	raw, err := k.template()
	if err != nil {
		t.Fatalf("SQLite: %v", err)
	}
	path := filepath.Join(t.TempDir(), "tables.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite://" + path
}

func (k *Kit) template() (b []byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lite != nil {
		return k.lite, nil
	}
	dir, err := os.MkdirTemp("", "amesh-lite")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "template.db")
	if err := k.migrate(path); err != nil {
		return nil, err
	}
	k.lite, err = os.ReadFile(path)
	return k.lite, err
}
