package db_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/organization"

	"github.com/google/go-cmp/cmp"
)

func TestOrganizations(t *testing.T)             { dbtest.SQLite(t, organizationCases) }
func TestWithPostgresOrganizations(t *testing.T) { dbtest.Postgres(t, organizationCases) }

var organizationCases = dbtest.Cases{
	"an organisation comes back as it was":    testOrganizationComesBack,
	"a domain belongs to the verified one":    testOrganizationOf,
	"T78 lookalikes of verified ones":         testLookalikes,
	"the longest due comes first":             testDue,
	"claims and consents end":                 testClaimsEnd,
	"an agent is a member of one by consent":  testMembers,
	"two verified of one domain cannot stand": testOneVerified,
}

func org(t *testing.T, id, name, domain string, state organization.State) db.Organization {
	t.Helper()
	n, err := organization.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := organization.ParseDomain(domain)
	if err != nil {
		t.Fatal(err)
	}
	o := db.Organization{
		ID: id, Name: n, Domain: d, Admin: agent(t, 1).AMID, Challenge: "agentmesh-verify=x", ChallengeExpires: noon.Add(time.Hour),
		Health: organization.Health{State: state}, Created: noon,
	}
	if state != organization.Claimed {
		o.Health.Proved, o.Health.Next, o.DNSSEC, o.Certificate = noon, noon.Add(time.Hour), true, "cert"
	}
	return o
}

func putOrg(t *testing.T, d *db.DB, list ...db.Organization) {
	t.Helper()
	for _, o := range list {
		write(t, d, func(tx *db.Tx) error { return tx.PutOrganization(o) })
	}
}

func testOrganizationComesBack(t *testing.T, url string) {
	d := open(t, url)
	want := org(t, "1", "Example, Inc.", "example.com", organization.Claimed)
	for range 2 {
		putOrg(t, d, want)
		write(t, d, func(tx *db.Tx) error {
			got, err := tx.Organization("1")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			return err
		})
		want.Health = organization.Health{State: organization.Verified, FailedDays: 1, Proved: noon, Next: noon.Add(time.Hour)}
		want.Certificate, want.DNSSEC, want.Challenge = "cert", true, "agentmesh-verify=y"
	}
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.Organization("2"); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("nobody: %v", err)
		}
		return nil
	})
}

func testOrganizationOf(t *testing.T, url string) {
	d := open(t, url)
	of := func(want string) {
		t.Helper()
		write(t, d, func(tx *db.Tx) error {
			got, err := tx.OrganizationOf("example.com")
			if errors.Is(err, db.ErrNotFound) {
				err = nil
			}
			if got.ID != want {
				t.Errorf("found %q, want %q", got.ID, want)
			}
			return err
		})
	}
	putOrg(t, d, org(t, "claim", "One", "example.com", organization.Claimed))
	of("")
	lapsed := org(t, "lapsed", "Two", "example.com", organization.Lapsed)
	putOrg(t, d, lapsed)
	of("lapsed")
	later := org(t, "later", "Three", "example.com", organization.Lapsed)
	later.Health.Proved = noon.Add(time.Minute)
	putOrg(t, d, later)
	of("later")
	putOrg(t, d, org(t, "verified", "Four", "example.com", organization.Verified), org(t, "other", "Five", "example.org", organization.Verified))
	of("verified")
	write(t, d, func(tx *db.Tx) error {
		n, err := tx.CountClaims(agent(t, 1).AMID)
		if n != 1 {
			t.Errorf("%d claims", n)
		}
		return err
	})
}

func testLookalikes(t *testing.T, url string) {
	d := open(t, url)
	putOrg(t, d, org(t, "1", "Paypal", "paypal.com", organization.Verified), org(t, "2", "Claimed", "claimed.com", organization.Claimed),
		org(t, "3", "Lapsed", "lapsed.com", organization.Lapsed))
	for _, c := range []struct{ name, domain, want string }{
		{"Other", "other.com", ""}, {"Other", "paypal.com", "1"}, {"Other", "paypa1.com", "1"}, {"Pay Pal", "other.com", "1"},
		{"PaypaI", "other.com", "1"}, {"Claimed", "claimed.com", ""}, {"Lapsed", "lapsed.com", ""},
	} {
		write(t, d, func(tx *db.Tx) error {
			got, err := tx.LookalikeOrganization(org(t, "9", c.name, c.domain, organization.Claimed))
			if errors.Is(err, db.ErrNotFound) {
				err = nil
			}
			if got.ID != c.want {
				t.Errorf("%s at %s: like %q, want %q", c.name, c.domain, got.ID, c.want)
			}
			return err
		})
	}
	write(t, d, func(tx *db.Tx) error {
		if got, err := tx.LookalikeOrganization(org(t, "1", "Paypal", "paypal.com", organization.Verified)); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("like itself: %+v %v", got, err)
		}
		return nil
	})
}

func testDue(t *testing.T, url string) {
	d := open(t, url)
	for i, id := range []string{"a", "b", "c", "d"} {
		o := org(t, id, "Name "+id, id+".com", organization.Verified)
		o.Health.Next = noon.Add(-time.Duration(i) * time.Minute)
		putOrg(t, d, o)
	}
	putOrg(t, d, org(t, "claim", "Claim", "e.com", organization.Claimed))
	for _, c := range []struct {
		now   time.Time
		limit int
		want  []string
	}{{noon, 9, []string{"d", "c", "b", "a"}}, {noon, 2, []string{"d", "c"}}, {noon.Add(-2 * time.Minute), 9, []string{"d", "c"}}} {
		write(t, d, func(tx *db.Tx) error {
			list, err := tx.DueOrganizations(c.now, c.limit)
			var got []string
			for _, o := range list {
				got = append(got, o.ID)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("due %v, want %v", got, c.want)
			}
			return err
		})
	}
}

func testClaimsEnd(t *testing.T, url string) {
	d := open(t, url)
	claim, proved := org(t, "claim", "One", "a.com", organization.Claimed), org(t, "proved", "Two", "b.com", organization.Lapsed)
	putOrg(t, d, claim, proved)
	a := agents(t, d, 1)[0]
	write(t, d, func(tx *db.Tx) error { return tx.Consent(a.AMID, "proved", claim.ChallengeExpires) })
	for _, c := range []struct {
		now   time.Time
		there bool
	}{{claim.ChallengeExpires.Add(-time.Microsecond), true}, {claim.ChallengeExpires, false}} {
		write(t, d, func(tx *db.Tx) error { return tx.ForgetClaims(c.now) })
		write(t, d, func(tx *db.Tx) error {
			if _, err := tx.Organization("claim"); (err == nil) != c.there {
				t.Errorf("claim: %v", err)
			}
			_, err := tx.Organization("proved")
			return err
		})
	}
	write(t, d, func(tx *db.Tx) error {
		ok, err := tx.TakeConsent(a.AMID, "proved", noon)
		if ok {
			t.Error("the consent is there")
		}
		return err
	})
}

func testMembers(t *testing.T, url string) {
	d := open(t, url)
	putOrg(t, d, org(t, "1", "One", "a.com", organization.Verified), org(t, "2", "Two", "b.com", organization.Verified))
	a := agents(t, d, 2)
	take := func(id string, now time.Time, want bool) {
		t.Helper()
		write(t, d, func(tx *db.Tx) error {
			got, err := tx.TakeConsent(a[0].AMID, id, now)
			if got != want {
				t.Errorf("consent to %s: %v", id, got)
			}
			return err
		})
	}
	take("1", noon, false)
	write(t, d, func(tx *db.Tx) error { return tx.Consent(a[0].AMID, "1", noon.Add(time.Second)) })
	take("2", noon, false)
	take("1", noon.Add(time.Second), false)
	take("1", noon, true)
	take("1", noon, false)
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(tx.Join(a[0].AMID, "1", noon), tx.Join(a[1].AMID, "1", noon))
	})
	write(t, d, func(tx *db.Tx) error {
		n, err := tx.CountMembers("1")
		if err != nil || n != 2 {
			t.Errorf("%d members, %v", n, err)
		}
		of, err := tx.MemberOf(a[0].AMID)
		if of.ID != "1" {
			t.Errorf("member of %q", of.ID)
		}
		return err
	})
	write(t, d, func(tx *db.Tx) error { return errors.Join(tx.Leave(a[0].AMID), tx.RemoveAgent(a[1].AMID)) })
	write(t, d, func(tx *db.Tx) error {
		if _, err := tx.MemberOf(a[0].AMID); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("after leaving: %v", err)
		}
		n, err := tx.CountMembers("1")
		if n != 0 {
			t.Errorf("%d members", n)
		}
		return err
	})
}

func testOneVerified(t *testing.T, url string) {
	d := open(t, url)
	putOrg(t, d, org(t, "1", "One", "a.com", organization.Verified))
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		return tx.PutOrganization(org(t, "2", "Two", "a.com", organization.Verified))
	})
	if err == nil {
		t.Error("both stand")
	}
}
