package db_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/oauth"
)

func TestOAuth(t *testing.T)             { dbtest.SQLite(t, oauthCases) }
func TestWithPostgresOAuth(t *testing.T) { dbtest.Postgres(t, oauthCases) }

var oauthCases = dbtest.Cases{
	"T68 a state is taken once by several instances": testStateOnce,
	"T68 a state belongs to one browser":             testStateBrowser,
	"a state ends":                                   testStateEnds,
	"a newer state takes the place of the older":     testStateNewer,
	"an account vouches for so many":                 testVouchLimit,
	"instances together keep to the limit":           testVouchTogether,
	"what vouches goes with the agent":               testVouchGone,
}

// signIn puts a state of agent 1 into a database.
func signIn(t *testing.T, d *db.DB, n byte) oauth.State {
	t.Helper()
	a := agent(t, 1)
	s := oauth.State{Hash: [32]byte{n}, AMID: a.AMID, Provider: "work", Expires: noon.Add(time.Minute)}
	write(t, d, func(tx *db.Tx) error {
		if err := tx.PutAgent(a); err != nil {
			return err
		}
		return tx.PutOAuthState(s)
	})
	return s
}

func testStateOnce(t *testing.T, url string) {
	first, second := open(t, url), open(t, url)
	s, browser := signIn(t, first, 1), [32]byte{9}
	write(t, second, func(tx *db.Tx) error { return tx.OpenOAuthState(s.Hash, browser, noon) })
	var taken atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		d := first
		if i%2 == 1 {
			d = second
		}
		wg.Go(func() {
			var got oauth.State
			err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
				got, err = tx.TakeOAuthState(s.Hash, browser, noon)
				return err
			})
			switch {
			case err == nil && got.AMID == s.AMID && got.Provider == "work":
				taken.Add(1)
			case !errors.Is(err, oauth.ErrState):
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1 {
		t.Errorf("taken %d times", n)
	}
}

func testStateBrowser(t *testing.T, url string) {
	d := open(t, url)
	s, mine, other := signIn(t, d, 1), [32]byte{9}, [32]byte{8}
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.TakeOAuthState(s.Hash, [32]byte{}, noon); !errors.Is(err, oauth.ErrState) {
			t.Errorf("taken without a browser: %v", err)
		}
		for range 2 {
			if err := tx.OpenOAuthState(s.Hash, mine, noon); err != nil {
				t.Errorf("opened: %v", err)
			}
		}
		if err := tx.OpenOAuthState(s.Hash, other, noon); !errors.Is(err, oauth.ErrState) {
			t.Errorf("opened by another: %v", err)
		}
		if _, err := tx.TakeOAuthState(s.Hash, other, noon); !errors.Is(err, oauth.ErrState) {
			t.Errorf("taken by another: %v", err)
		}
		s.Browser = mine
		got, err := tx.TakeOAuthState(s.Hash, mine, noon)
		if got != s {
			t.Errorf("got %+v, want %+v", got, s)
		}
		return err
	})
}

func testStateEnds(t *testing.T, url string) {
	d := open(t, url)
	s := signIn(t, d, 1)
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.OAuthState(s.Hash, s.Expires); !errors.Is(err, oauth.ErrState) {
			t.Errorf("after its time: %v", err)
		}
		if err := tx.ForgetOAuthStates(s.Expires.Add(-time.Microsecond)); err != nil {
			return err
		}
		if _, err := tx.OAuthState(s.Hash, noon); err != nil {
			t.Errorf("swept too early: %v", err)
		}
		if err := tx.ForgetOAuthStates(s.Expires); err != nil {
			return err
		}
		if _, err := tx.OAuthState(s.Hash, noon); !errors.Is(err, oauth.ErrState) {
			t.Errorf("not swept: %v", err)
		}
		return nil
	})
}

func testStateNewer(t *testing.T, url string) {
	d := open(t, url)
	old := signIn(t, d, 1)
	write(t, d, func(tx *db.Tx) error { return tx.OpenOAuthState(old.Hash, [32]byte{9}, noon) })
	s := signIn(t, d, 2)
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.OAuthState(old.Hash, noon); !errors.Is(err, oauth.ErrState) {
			t.Errorf("the older one: %v", err)
		}
		got, err := tx.OAuthState(s.Hash, noon)
		if got != s {
			t.Errorf("got %+v, want %+v: no browser has opened it", got, s)
		}
		return err
	})
}

var ann = oauth.Person{Provider: "github", ID: "42", Username: "ann"}

// agents registers n agents.
func agents(t *testing.T, d *db.DB, n byte) []db.Agent {
	t.Helper()
	list := make([]db.Agent, n)
	for i := range list {
		list[i] = agent(t, byte(i+1))
		write(t, d, func(tx *db.Tx) error { return tx.PutAgent(list[i]) })
	}
	return list
}

func testVouchLimit(t *testing.T, url string) {
	d := open(t, url)
	list := agents(t, d, 3)
	vouch := func(i int, p oauth.Person) error {
		return d.Write(t.Context(), func(tx *db.Tx) error { return tx.Vouch(list[i].AMID, p, 2, noon) })
	}
	for i, want := range []error{nil, nil, db.ErrTooMany} {
		if err := vouch(i, ann); !errors.Is(err, want) {
			t.Errorf("agent %d: %v, want %v", i, err, want)
		}
	}
	if err := vouch(0, ann); err != nil {
		t.Errorf("once more for the first: %v", err)
	}
	if err := vouch(2, oauth.Person{Provider: "google", ID: "42"}); err != nil {
		t.Errorf("the same number elsewhere is somebody else: %v", err)
	}
	if err := vouch(0, oauth.Person{Provider: "github", ID: "43"}); err != nil {
		t.Fatal(err)
	}
	if err := vouch(2, ann); err != nil {
		t.Errorf("after another account took over the first: %v", err)
	}
}

func testVouchTogether(t *testing.T, url string) {
	first, second := open(t, url), open(t, url)
	list := agents(t, first, 8)
	var good atomic.Int32
	var wg sync.WaitGroup
	for i, a := range list {
		d := first
		if i%2 == 1 {
			d = second
		}
		wg.Go(func() {
			err := d.Write(t.Context(), func(tx *db.Tx) error { return tx.Vouch(a.AMID, ann, 3, noon) })
			if err == nil {
				good.Add(1)
			} else if !errors.Is(err, db.ErrTooMany) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := good.Load(); n != 3 {
		t.Errorf("vouches for %d agents, want 3", n)
	}
}

func testVouchGone(t *testing.T, url string) {
	d := open(t, url)
	a := agents(t, d, 1)[0]
	vouched := func() (is bool) {
		write(t, d, func(tx *db.Tx) (err error) {
			is, err = tx.Vouched(a.AMID)
			return err
		})
		return is
	}
	for name, end := range map[string]func(*db.Tx) error{
		"removed":   func(tx *db.Tx) error { return tx.RemoveAgent(a.AMID) },
		"withdrawn": func(tx *db.Tx) error { return tx.ForgetVouchers(a.AMID) },
	} {
		write(t, d, func(tx *db.Tx) error {
			if err := tx.PutAgent(a); err != nil {
				return err
			}
			return tx.Vouch(a.AMID, ann, 1, noon)
		})
		before := vouched()
		write(t, d, end)
		if after := vouched(); !before || after {
			t.Error(name, fmt.Sprint(before, after))
		}
	}
}
