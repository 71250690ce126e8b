package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"

	"github.com/google/go-cmp/cmp"
)

func TestTrust(t *testing.T)             { dbtest.SQLite(t, trustCases) }
func TestWithPostgresTrust(t *testing.T) { dbtest.Postgres(t, trustCases) }

var trustCases = dbtest.Cases{
	"the best certificate makes the tier":           testTierOfCertificates,
	"a certificate takes along what it signed":      testRevokeOrganization,
	"a certificate is revoked once":                 testRevokeOnce,
	"a tier ends with its certificate":              testTierExpires,
	"the list has what has not expired":             testRevokedList,
	"what was revoked is forgotten after its end":   testRevokedForgotten,
	"a revoked agent has nothing left":              testRevokedAgent,
	"an agent is revoked once, at two instances":    testRevokeAgentOnce,
	"the log has every change in order":             testRevocationLog,
	"of several statements the earliest one counts": testStatements,
}

func issue(tx *db.Tx, who identity.AMID, issuer, organization string, tier wire.Tier, issued time.Time) (string, error) {
	serial := newSerial()
	return serial, tx.AddCertificate(db.Certificate{
		Serial: serial, Issuer: issuer, AMID: who, OrganizationID: organization, Owner: "o" + organization, Tier: tier,
		Document: "{}", Compact: []byte{1}, Issued: issued, Expires: issued.Add(365 * 24 * time.Hour),
	}, issued)
}

func tierOf(t testing.TB, d *db.DB, who identity.AMID) wire.Tier {
	t.Helper()
	a, err := find(t.(*testing.T), d, who)
	if err != nil {
		t.Fatal(err)
	}
	return a.Tier
}

func testTierOfCertificates(t *testing.T, url string) {
	d := open(t, url)
	ann := person(t, d, 1)
	var account, member string
	write(t, d, func(tx *db.Tx) (err error) {
		account, err = issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		return err
	})
	if got := tierOf(t, d, ann.AMID); got != wire.TierVerified {
		t.Errorf("with an account: %s", got)
	}
	if _, score := reputationOf(t, d, ann.AMID); math.Abs(score-0.6) > 1e-9 {
		t.Errorf("score %v", score)
	}
	write(t, d, func(tx *db.Tx) (err error) {
		member, err = issue(tx, ann.AMID, "", "7", wire.TierOrganization, noon)
		return err
	})
	write(t, d, func(tx *db.Tx) error {
		best, err := tx.BestCertificate(ann.AMID, noon)
		if best.Serial != member || !bytes.Equal(best.Compact, []byte{1}) || best.AMID != ann.AMID || !best.Issued.Equal(noon) {
			t.Errorf("best is %+v", best)
		}
		return err
	})
	write(t, d, func(tx *db.Tx) error { return tx.RevokeMembership("7", ann.AMID, "other", noon) })
	if got := tierOf(t, d, ann.AMID); got != wire.TierVerified {
		t.Errorf("no member any more: %s", got)
	}
	write(t, d, func(tx *db.Tx) error { return tx.RevokeCertificate(account, "other", noon) })
	if got := tierOf(t, d, ann.AMID); got != wire.TierAnonymous {
		t.Errorf("nothing left: %s", got)
	}
}

func testRevokeOrganization(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	var o string
	write(t, d, func(tx *db.Tx) (err error) {
		if o, err = issue(tx, identity.AMID{}, "", "7", wire.TierOrganization, noon); err != nil {
			return err
		}
		_, err = issue(tx, ann.AMID, o, "7", wire.TierOrganization, noon)
		_, other := issue(tx, bob.AMID, "", "8", wire.TierOrganization, noon)
		return errors.Join(err, other)
	})
	write(t, d, func(tx *db.Tx) error {
		c, err := tx.OrganizationCertificate("7", noon)
		if c.Serial != o || !c.AMID.IsZero() {
			t.Errorf("got %+v", c)
		}
		return err
	})
	write(t, d, func(tx *db.Tx) error { return tx.RevokeCertificate(o, "cessation_of_operation", noon) })
	if a, b := tierOf(t, d, ann.AMID), tierOf(t, d, bob.AMID); a != wire.TierAnonymous || b != wire.TierOrganization {
		t.Errorf("member %s, member of another %s", a, b)
	}
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.OrganizationCertificate("7", noon); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("can still sign: %v", err)
		}
		return tx.RevokeOrganization("8", "other", noon)
	})
	if got := tierOf(t, d, bob.AMID); got != wire.TierOrganization {
		t.Errorf("an organisation's own certificates: its member is %s", got)
	}
	write(t, d, func(tx *db.Tx) error { return tx.RevokeMembership("8", bob.AMID, "other", noon) })
	if got := tierOf(t, d, bob.AMID); got != wire.TierAnonymous {
		t.Errorf("organisation gone: %s", got)
	}
}

func testRevokeOnce(t *testing.T, url string) {
	d := open(t, url)
	ann := person(t, d, 1)
	write(t, d, func(tx *db.Tx) error {
		serial, err := issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		if err != nil {
			return err
		}
		if err := tx.RevokeCertificate(serial, "superseded", noon); err != nil {
			return err
		}
		if err := tx.RevokeCertificate(serial, "other", noon.Add(time.Hour)); !errors.Is(err, db.ErrDuplicate) {
			t.Errorf("again: %v", err)
		}
		if err := tx.RevokeCertificate("00", "other", noon); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
		c, err := tx.Certificate(serial)
		if !c.Revoked.Equal(noon) || c.Reason != "superseded" {
			t.Errorf("got %+v", c)
		}
		return err
	})
}

func testTierExpires(t *testing.T, url string) {
	d := open(t, url)
	ann := person(t, d, 1)
	write(t, d, func(tx *db.Tx) error {
		_, err := issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		return err
	})
	end := noon.Add(365 * 24 * time.Hour)
	tier := func(now time.Time, want wire.Tier) {
		t.Helper()
		write(t, d, func(tx *db.Tx) error { return errors.Join(tx.ExpireTiers(now), tx.ForgetCertificates(now)) })
		if got := tierOf(t, d, ann.AMID); got != want {
			t.Errorf("at %s: %s, want %s", now, got, want)
		}
	}
	tier(end.Add(-time.Microsecond), wire.TierVerified)
	write(t, d, func(tx *db.Tx) error {
		_, err := issue(tx, ann.AMID, "", "7", wire.TierOrganization, noon.Add(time.Hour))
		_, renewed := issue(tx, ann.AMID, "", "", wire.TierVerified, noon.Add(2*time.Hour))
		return errors.Join(err, renewed)
	})
	tier(end, wire.TierOrganization)
	tier(end.Add(time.Hour), wire.TierVerified)
	tier(end.Add(100*24*time.Hour), wire.TierAnonymous)
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.BestCertificate(ann.AMID, noon); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("the expired are still there: %v", err)
		}
		return nil
	})
}

func testRevokedForgotten(t *testing.T, url string) {
	d := open(t, url)
	ann := person(t, d, 1)
	write(t, d, func(tx *db.Tx) error {
		serial, err := issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		return errors.Join(err, tx.RevokeCertificate(serial, "other", noon), tx.PutRevocationList([]byte("{}"), 1, 1, noon))
	})
	revoked := func(now time.Time, rows, listed int64) {
		t.Helper()
		write(t, d, func(tx *db.Tx) error {
			forgotten := tx.ForgetCertificates(now)
			n, err := tx.CountRevoked()
			_, _, had, _, err2 := tx.RevocationList()
			if n != rows || had != listed {
				t.Errorf("%d are kept, the list is of %d, want %d and %d", n, had, rows, listed)
			}
			return errors.Join(forgotten, err, err2)
		})
	}
	end := noon.Add(365 * 24 * time.Hour)
	revoked(end, 1, 1)
	revoked(end.Add(31*24*time.Hour), 0, -1)
}

func testRevokedList(t *testing.T, url string) {
	d := open(t, url)
	ann := person(t, d, 1)
	write(t, d, func(tx *db.Tx) error {
		old, err := issue(tx, ann.AMID, "", "", wire.TierVerified, noon.Add(-300*24*time.Hour))
		fresh, err2 := issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		_, err3 := issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		if err := errors.Join(err, err2, err3, tx.RevokeCertificate(old, "other", noon), tx.RevokeCertificate(fresh, "superseded", noon)); err != nil {
			return err
		}
		list, err := tx.RevokedCertificates(noon.Add(100 * 24 * time.Hour))
		if len(list) != 1 || list[0].Serial.String() != fresh || list[0].Reason != "superseded" || !list[0].At.Equal(noon) {
			t.Errorf("got %+v", list)
		}
		n, err2 := tx.CountRevoked()
		if n != 2 {
			t.Errorf("%d were revoked, want 2", n)
		}
		if _, _, _, _, err := tx.RevocationList(); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("a list before the first: %v", err)
		}
		for i := range uint64(2) {
			if err := tx.PutRevocationList([]byte("{}"), i+1, n, noon); err != nil {
				return err
			}
		}
		document, number, revoked, issued, err3 := tx.RevocationList()
		if string(document) != "{}" || number != 2 || revoked != 2 || !issued.Equal(noon) {
			t.Errorf("got %s, %d, %d, %s", document, number, revoked, issued)
		}
		return errors.Join(err, err2, err3)
	})
}

func testRevokedAgent(t *testing.T, url string) {
	d := open(t, url)
	ann := person(t, d, 1)
	notes := "lost laptop"
	want := db.Revocation{ID: "1", AMID: ann.AMID, Reason: "key_compromise", By: ann.AMID, At: noon, Notes: &notes, Strict: true}
	write(t, d, func(tx *db.Tx) error {
		_, err := issue(tx, ann.AMID, "", "", wire.TierVerified, noon)
		_, err2 := tx.Exec("INSERT INTO signed_prekeys (amid, prekey_id, public_key, signature, uploaded_at) VALUES ($1, 1, $2, $2, 0)", ann.AMID.String(), []byte{1})
		_, err3 := tx.Exec("INSERT INTO one_time_prekeys (amid, prekey_id, public_key, uploaded_at) VALUES ($1, 1, $2, 0)", ann.AMID.String(), []byte{1})
		return errors.Join(err, err2, err3, tx.Revoke(want))
	})
	a, err := find(t, d, ann.AMID)
	if err != nil || a.Tier != wire.TierAnonymous || a.Status != wire.StatusOffline {
		t.Errorf("%+v, %v", a, err)
	}
	write(t, d, func(tx *db.Tx) error {
		got, err := tx.Revocation(ann.AMID)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		var keys int
		err2 := tx.QueryRow("SELECT (SELECT COUNT(*) FROM signed_prekeys) + (SELECT COUNT(*) FROM one_time_prekeys)").Scan(&keys)
		if keys != 0 {
			t.Errorf("%d prekeys are left", keys)
		}
		revoked, err3 := tx.Revoked(ann.AMID)
		other, err4 := tx.Revoked(identity.AMID{1})
		if !revoked || other {
			t.Errorf("revoked %v, another %v", revoked, other)
		}
		return errors.Join(err, err2, err3, err4)
	})
}

func testRevokeAgentOnce(t *testing.T, url string) {
	one, two := open(t, url), open(t, url)
	const n = 10
	var people []db.Agent
	for i := range n {
		people = append(people, person(t, one, i))
	}
	var mu sync.Mutex
	won := map[identity.AMID]int{}
	var wg sync.WaitGroup
	for i, d := range []*db.DB{one, two, one, two} {
		for _, a := range people {
			wg.Go(func() {
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					return tx.Revoke(db.Revocation{ID: fmt.Sprint(a.AMID, i), AMID: a.AMID, Reason: "other", By: a.AMID, At: noon})
				})
				if err != nil && !errors.Is(err, db.ErrDuplicate) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					won[a.AMID]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	write(t, two, func(tx *db.Tx) error {
		list, total, err := tx.Revocations(n*2, 0)
		log, err2 := tx.RevocationsSince(0, n*2)
		if len(list) != n || total != n || len(log) != n || len(won) != n {
			t.Errorf("%d of %d revocations, %d lines, %d winners, want %d", len(list), total, len(log), len(won), n)
		}
		for i, l := range log {
			if l.Number != int64(i+1) {
				t.Errorf("line %d has number %d", i, l.Number)
			}
		}
		return errors.Join(err, err2)
	})
	for who, times := range won {
		if times != 1 {
			t.Errorf("%s was revoked %d times", who, times)
		}
	}
}

func testRevocationLog(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	revoke := func(who identity.AMID, id string, at time.Time) {
		write(t, d, func(tx *db.Tx) error {
			return tx.Revoke(db.Revocation{ID: id, AMID: who, Reason: "other", By: who, At: at})
		})
	}
	revoke(ann.AMID, "1", noon)
	revoke(bob.AMID, "2", noon.Add(time.Second))
	write(t, d, func(tx *db.Tx) error { return errors.Join(tx.LiftRevocation(ann.AMID), tx.LiftRevocation(ann.AMID)) })
	write(t, d, func(tx *db.Tx) error {
		for since, want := range map[int64]string{
			0: fmt.Sprint("1 ", ann.AMID, " lifted, 2 ", bob.AMID, " revoked, 3 ", ann.AMID, " lifted, "),
			2: fmt.Sprint("3 ", ann.AMID, " lifted, "), 3: "", math.MaxInt64: "",
		} {
			log, err := tx.RevocationsSince(since, 10)
			if err != nil {
				return err
			}
			got := ""
			for _, l := range log {
				word := " revoked, "
				if l.Revocation == nil {
					word = " lifted, "
				}
				got += fmt.Sprint(l.Number, " ", l.AMID, word)
			}
			if got != want {
				t.Errorf("since %d: %s, want %s", since, got, want)
			}
		}
		list, total, err := tx.Revocations(10, 0)
		if total != 1 || len(list) != 1 || list[0].AMID != bob.AMID {
			t.Errorf("%d revocations: %+v", total, list)
		}
		page, _, err2 := tx.Revocations(10, 1)
		if len(page) != 0 {
			t.Errorf("behind the end: %+v", page)
		}
		return errors.Join(err, err2)
	})
}

func testStatements(t *testing.T, url string) {
	d := open(t, url)
	key, err := identity.PrivateKeyFromSeed(bytes.Repeat([]byte{5}, 32))
	if err != nil {
		t.Fatal(err)
	}
	statement := func(issued time.Time) *identity.Revocation {
		raw, err := identity.SignRevocation(key, identity.Revocation{Issued: issued, Reason: identity.Compromised}, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := identity.ParseRevocation(raw)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		issued time.Time
		fresh  bool
	}{{noon, true}, {noon, false}, {noon.Add(time.Hour), false}, {noon.Add(-time.Hour), true}} {
		write(t, d, func(tx *db.Tx) error {
			fresh, err := tx.PutStatement(statement(c.issued), noon)
			if fresh != c.fresh {
				t.Errorf("issued %s: new is %v", c.issued, fresh)
			}
			return err
		})
	}
	write(t, d, func(tx *db.Tx) error {
		raw, err := tx.Statement(key.AMID())
		if !bytes.Equal(raw, statement(noon.Add(-time.Hour)).Raw()) {
			t.Errorf("kept %x", raw)
		}
		if _, err := tx.Statement(identity.AMID{1}); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("of nobody: %v", err)
		}
		return err
	})
}
