package db_test

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"

	"github.com/pressly/goose/v3"
)

func TestPrekeyTables(t *testing.T)             { dbtest.SQLite(t, prekeyTables) }
func TestWithPostgresPrekeyTables(t *testing.T) { dbtest.Postgres(t, prekeyTables) }

var prekeyTables = dbtest.Cases{
	"older tables keep what was handed out": testOlderPrekeys,
}

// older makes the tables of an earlier release at a URL, and fills them.
func older(t *testing.T, url string, version int64, fill func(exec func(query string, args ...any) error) error) {
	t.Helper()
	driver, dialect := "pgx", goose.DialectPostgres
	path, lite := strings.CutPrefix(url, "sqlite://")
	if lite {
		driver, dialect = "sqlite", goose.DialectSQLite3
	}
	pool, err := sql.Open(driver, path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(dialect, pool, os.DirFS("migrations"), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.UpTo(t.Context(), version); err == nil {
		err = fill(func(query string, args ...any) error {
			_, err := pool.ExecContext(t.Context(), query, args...)
			return err
		})
	}
	if err := errors.Join(err, pool.Close()); err != nil {
		t.Fatal(err)
	}
}

func oneTimeKey(id int32, key byte) db.OneTimePrekey {
	return db.OneTimePrekey{ID: id, Key: [identity.ExchangeKeySize]byte{key}}
}

func testOlderPrekeys(t *testing.T, url string) {
	url = dbtest.Empty(t, url)
	ann := agent(t, 1)
	older(t, url, 31, func(exec func(string, ...any) error) error {
		err := exec(`INSERT INTO agents (amid, signing_key, exchange_key, tier, capabilities, relay_endpoint, status, reputation,
			strict, last_seen, created_at, updated_at) VALUES ($1, $2, $2, '', '[]', '', '', 0, FALSE, 0, 0, 0)`, ann.AMID.String(), ann.SigningKey[:])
		for i, k := range []struct {
			key  byte
			used *int64
		}{{'a', new(int64)}, {'a', nil}, {'b', nil}, {'b', nil}, {'c', nil}} {
			key := oneTimeKey(0, k.key).Key
			err = errors.Join(err, exec(`INSERT INTO one_time_prekeys (amid, prekey_id, public_key, uploaded_at, consumed_at)
				VALUES ($1, $2, $3, 1, $4)`, ann.AMID.String(), i+1, key[:], k.used))
		}
		return err
	})
	d := open(t, url)
	write(t, d, func(tx *db.Tx) error {
		if err := tx.AddOneTimePrekeys(ann.AMID, []db.OneTimePrekey{oneTimeKey(9, 'a')}, noon); err != nil {
			return err
		}
		for _, want := range []int32{4, 5, 0} {
			k, err := tx.TakeOneTimePrekey(ann.AMID, noon)
			if err != nil {
				return err
			}
			if (k == nil) != (want == 0) || k != nil && k.ID != want {
				t.Errorf("took %+v, want id %d", k, want)
			}
		}
		return nil
	})
}
