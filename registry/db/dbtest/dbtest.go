// Package dbtest gives tests the databases that a registry runs on: an SQLite file, and
// a PostgreSQL cluster that lives as long as the test program. A suite of cases runs on
// both:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(dbtest.Main{m}) }
//	func TestAgents(t *testing.T) { dbtest.SQLite(t, agents) }
//	func TestWithPostgresAgents(t *testing.T) { dbtest.Postgres(t, agents) }
package dbtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Cases are tests by name. Each gets the URL of an empty database of its own.
type Cases map[string]func(t *testing.T, url string)

// SQLite runs the cases on SQLite.
func SQLite(t *testing.T, cases Cases) {
	t.Helper()
	run(t, cases, func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "registry.db") })
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

// Main is a *testing.M that stops the cluster at the end.
type Main struct{ *testing.M }

// Run runs the tests.
func (m Main) Run() int {
	defer stopCluster()
	return m.M.Run()
}
