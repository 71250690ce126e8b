package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(dbtest.Main{M: m}) }

func TestDatabase(t *testing.T)             { dbtest.SQLite(t, cases) }
func TestWithPostgresDatabase(t *testing.T) { dbtest.Postgres(t, cases) }

var cases = dbtest.Cases{
	"an agent comes back as it was":                testAgentComesBack,
	"a signature is used once":                     testSignatureUsedOnce,
	"an error undoes the transaction":              testErrorUndoes,
	"colliding writers count right":                testCollidingWriters,
	"many open the same database at once":          testManyOpen,
	"a newer schema is refused untouched":          testNewerRefused,
	"a reader writes nothing":                      testReaderWritesNothing,
	"a removed agent takes its capabilities along": testRemoved,
}

var noon = time.Date(2026, 2, 1, 12, 0, 0, 123456000, time.UTC)

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
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

func write(t *testing.T, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func agent(t *testing.T, n byte) db.Agent {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed([]byte(strings.Repeat(string(n), 32)))
	if err != nil {
		t.Fatal(err)
	}
	name, relay := "Ann", "wss://relay.example/v1/connect"
	return db.Agent{
		AMID: key.AMID(), SigningKey: key.Public(), ExchangeKey: [32]byte{9, n}, Tier: wire.TierAnonymous, DisplayName: &name,
		Capabilities: []string{"chat", "travel"}, RelayEndpoint: relay, Status: wire.StatusOnline, Reputation: 0.5,
		Strict: true, LastSeen: noon, Created: noon.Add(-time.Hour), Updated: noon.Add(time.Second),
	}
}

func find(t *testing.T, d *db.DB, who identity.AMID) (a db.Agent, err error) {
	t.Helper()
	err = d.View(t.Context(), func(tx *db.Tx) error {
		var err error
		a, err = tx.Agent(who)
		return err
	})
	return a, err
}

func testAgentComesBack(t *testing.T, url string) {
	d := open(t, url)
	want := agent(t, 1)
	if _, err := find(t, d, want.AMID); !errors.Is(err, db.ErrNotFound) {
		t.Fatalf("before: %v", err)
	}
	for _, change := range []func(){
		func() {},
		func() {
			want.DisplayName, want.Capabilities, want.Strict, want.Status = nil, []string{}, false, wire.StatusDND
		},
	} {
		change()
		write(t, d, func(tx *db.Tx) error { return tx.PutAgent(want) })
		got, err := find(t, d, want.AMID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
	}
}

func testSignatureUsedOnce(t *testing.T, url string) {
	d := open(t, url)
	use := func(id byte, want bool) {
		t.Helper()
		write(t, d, func(tx *db.Tx) error {
			first, err := tx.UseSignature([32]byte{id}, noon)
			if first != want {
				t.Errorf("signature %d is new: %v", id, first)
			}
			return err
		})
	}
	use(1, true)
	use(1, false)
	use(2, true)
	write(t, d, func(tx *db.Tx) error { return tx.ForgetSignatures(noon) })
	use(1, false)
	write(t, d, func(tx *db.Tx) error { return tx.ForgetSignatures(noon.Add(time.Microsecond)) })
	use(1, true)
}

func testErrorUndoes(t *testing.T, url string) {
	d := open(t, url)
	a := agent(t, 1)
	sentinel := errors.New("changed my mind")
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		if err := tx.PutAgent(a); err != nil {
			return err
		}
		return sentinel
	})
	if !errors.Is(err, sentinel) {
		t.Fatal(err)
	}
	if _, err := find(t, d, a.AMID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the agent is there: %v", err)
	}
}

// Each writer reads before it writes: alone, that is a count; beside others without
// isolation it would lose some.
func testCollidingWriters(t *testing.T, url string) {
	d := open(t, url)
	a := agent(t, 1)
	a.Reputation = 0
	write(t, d, func(tx *db.Tx) error { return tx.PutAgent(a) })
	const writers, each = 6, 5
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					a, err := tx.Agent(a.AMID)
					if err != nil {
						return err
					}
					a.Reputation++
					return tx.PutAgent(a)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := find(t, d, a.AMID); err != nil || got.Reputation != writers*each {
		t.Errorf("counted %v, %v", got.Reputation, err)
	}
}

func testManyOpen(t *testing.T, url string) {
	url = dbtest.Empty(t, url)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d, err := db.Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func testNewerRefused(t *testing.T, url string) {
	d := open(t, url)
	a := agent(t, 1)
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"); err != nil {
			return err
		}
		return tx.PutAgent(a)
	})
	if _, err := db.Open(t.Context(), url); !errors.Is(err, db.ErrNewer) || !strings.Contains(fmt.Sprint(err), "99999") {
		t.Errorf("opened: %v", err)
	}
	if _, err := find(t, d, a.AMID); err != nil {
		t.Errorf("what was there: %v", err)
	}
}

func testReaderWritesNothing(t *testing.T, url string) {
	d := open(t, url)
	if err := d.View(t.Context(), func(tx *db.Tx) error { return tx.PutAgent(agent(t, 1)) }); err == nil {
		t.Error("a view wrote")
	}
}

func testRemoved(t *testing.T, url string) {
	d := open(t, url)
	a := agent(t, 1)
	write(t, d, func(tx *db.Tx) error { return tx.PutAgent(a) })
	write(t, d, func(tx *db.Tx) error { return tx.RemoveAgent(a.AMID) })
	write(t, d, func(tx *db.Tx) error {
		var n int
		err := tx.QueryRow("SELECT count(*) FROM agent_capabilities").Scan(&n)
		if n != 0 {
			t.Errorf("%d capabilities are left", n)
		}
		return err
	})
}

func TestURLs(t *testing.T) {
	for _, bad := range []string{"", "sqlite://", "mysql://root@localhost/x", "postgres://%zz"} {
		if d, err := db.Open(t.Context(), bad); !errors.Is(err, db.ErrURL) {
			t.Errorf("%q: %v %v", bad, d, err)
		}
	}
	_, err := db.Open(t.Context(), "postgres://ann:geheim@localhost:port/x")
	if !errors.Is(err, db.ErrURL) || strings.Contains(err.Error(), "geheim") {
		t.Errorf("the error of a bad URL: %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space & %", "data")
	d := open(t, filepath.Join(dir, "registry.db"))
	write(t, d, func(tx *db.Tx) error { return tx.PutAgent(agent(t, 1)) })
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestUnavailable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for name, url := range map[string]string{
		"nobody listens":    "postgres://postgres@127.0.0.1:1/x",
		"no socket":         "postgres://postgres@/x?host=" + t.TempDir(),
		"folder in the way": "sqlite:///dev/null/registry.db",
	} {
		_, err := db.Open(ctx, url)
		if err == nil {
			t.Errorf("%s: opened", name)
		}
		if got, want := db.Unavailable(err), strings.HasPrefix(url, "postgres"); got != want {
			t.Errorf("%s: unavailable %v: %v", name, got, err)
		}
	}
}
