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
	"testing"

	"amesh/internal/sqldb/sqltest"
	"amesh/registry/db"
)

// kit makes databases with a registry's tables.
var kit = sqltest.New(func(url string) error {
	d, err := db.Open(context.Background(), url)
	if err != nil {
		return err
	}
	return d.Close()
})

// Cases are tests by name. Each gets the URL of a database of its own, with tables in
// which nothing is.
type Cases = sqltest.Cases

// Line is a way to a PostgreSQL database that can be cut and held.
type Line = sqltest.Line

// Server is a PostgreSQL server for a program that is no test.
type Server = sqltest.Server

// SQLite runs the cases on SQLite.
func SQLite(t *testing.T, cases Cases) {
	t.Helper()
	kit.SQLite(t, cases)
}

// Postgres runs the cases on PostgreSQL, if AMESH_WITH_POSTGRES=1.
func Postgres(t *testing.T, cases Cases) {
	t.Helper()
	kit.Postgres(t, cases)
}

// NewPostgres makes a new database with tables in the test program's cluster.
func NewPostgres(t *testing.T) string {
	t.Helper()
	return kit.NewPostgres(t)
}

// Empty is a database of the same kind as the one at url, without any table.
func Empty(t *testing.T, url string) string {
	t.Helper()
	return kit.Empty(t, url)
}

// NewLine makes a line to a database of NewPostgres. It is up.
func NewLine(t *testing.T, url string) *Line {
	t.Helper()
	return sqltest.NewLine(t, url)
}

// Start starts a server on a socket in a folder of its own.
func Start() (*Server, error) { return sqltest.Start() }

// Main is a *testing.M that cleans up at the end.
type Main struct{ *testing.M }

// Run runs the tests.
func (m Main) Run() int { return kit.Main(m.M).Run() }
