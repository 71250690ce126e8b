package db_test

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestReputation(t *testing.T)             { dbtest.SQLite(t, reputationCases) }
func TestWithPostgresReputation(t *testing.T) { dbtest.Postgres(t, reputationCases) }

var reputationCases = dbtest.Cases{
	"a rating counts once both sides reported the session":   testRatingWaits,
	"a session is rated once":                                testRatedOnce,
	"a network counts once in 24 hours, also over midnight":  testNetworkCountsOnce,
	"ratings of each other weigh a fifth":                    testMutual,
	"ratings of each other that waited for the reports":      testMutualLater,
	"an owner does not rate itself":                          testSameOwner,
	"sides that do not agree":                                testDisagreement,
	"many rate one at once, at two instances":                testRateAtOnce,
	"both sides report at once":                              testReportAtOnce,
	"words that wait too long are forgotten":                 testForget,
	"a flag is raised, and goes":                             testFlagGoes,
	"leaders are rated, not revoked, and know the intent":    testLeaders,
	"T73: a ring of strangers praises one":                   testT73,
	"T74: a hundred agents of one organisation speak ill":    testT74,
	"a rater that starts over takes its words along":         testRaterGone,
	"who starts over owes nobody a favour":                   testUncounted,
	"a value is shared by all instances":                     testValue,
	"who is not registered is neither rated nor reported on": testUnregistered,
}

// person is a registered agent, 30 days old, whose number makes its key.
func person(t testing.TB, d *db.DB, n int) db.Agent {
	t.Helper()
	var a db.Agent
	if err := d.Write(t.Context(), func(tx *db.Tx) error {
		a = newPerson(t, n, noon.Add(-30*24*time.Hour))
		return tx.PutAgent(a)
	}); err != nil {
		t.Fatal(err)
	}
	return a
}

func newPerson(t testing.TB, n int, created time.Time) db.Agent {
	t.Helper()
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n))
	key, err := identity.PrivateKeyFromSeed(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return db.Agent{
		AMID: key.AMID(), SigningKey: key.Public(), ExchangeKey: [32]byte{9, 1}, Tier: wire.TierAnonymous,
		Status: wire.StatusOnline, Reputation: 0.5, Created: created, LastSeen: noon, Updated: noon,
	}
}

// prove gives an agent a certificate of an owner.
func prove(tx *db.Tx, who identity.AMID, owner string, tier wire.Tier) error {
	return tx.AddCertificate(db.Certificate{
		Serial: newSerial(), AMID: who, Owner: owner, Tier: tier, Document: "{}",
		Issued: noon.Add(-time.Hour), Expires: noon.Add(365 * 24 * time.Hour),
	}, noon)
}

func newSerial() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x", b)
}

func meet(tx *db.Tx, session string, a, b identity.AMID, outcome wire.Outcome, at time.Time) error {
	for _, reporter := range []identity.AMID{a, b} {
		_, err := tx.ReportSession(db.SessionReport{
			ID: uuid.NewString(), SessionID: session, Initiator: a, Receiver: b, Reporter: reporter,
			Intent: "travel", Outcome: outcome, Started: at.Add(-time.Minute), At: at,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func rating(from, to identity.AMID, session, network string, score float64, at time.Time) db.Rating {
	return db.Rating{ID: uuid.NewString(), Target: to, Rater: from, SessionID: session, Score: score, Tags: []string{"helpful"}, Network: network, At: at}
}

func reputationOf(t testing.TB, d *db.DB, who identity.AMID) (r db.Reputation, score float64) {
	t.Helper()
	err := d.View(t.Context(), func(tx *db.Tx) (err error) {
		if r, err = tx.Reputation(who); err != nil {
			return err
		}
		a, err := tx.Agent(who)
		score = a.Reputation
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, score
}

func testRatingWaits(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	report := func(reporter identity.AMID) {
		write(t, d, func(tx *db.Tx) error {
			_, err := tx.ReportSession(db.SessionReport{ID: "r", SessionID: "s", Initiator: ann.AMID, Receiver: bob.AMID, Reporter: reporter,
				Outcome: wire.OutcomeSuccess, Started: noon, At: noon})
			return err
		})
	}
	counts := func(when string, want int) {
		t.Helper()
		if r, _ := reputationOf(t, d, bob.AMID); r.RatingsCount != want || r.Sessions != want {
			t.Errorf("%s: %d ratings and %d sessions count, want %d", when, r.RatingsCount, r.Sessions, want)
		}
	}
	write(t, d, func(tx *db.Tx) error { return tx.AddRating(rating(ann.AMID, bob.AMID, "s", "", 1, noon)) })
	counts("rated", 0)
	report(ann.AMID)
	report(ann.AMID)
	counts("one side, twice", 0)
	report(bob.AMID)
	counts("both sides", 1)
	write(t, d, func(tx *db.Tx) error {
		return tx.AddRating(rating(bob.AMID, ann.AMID, "s", "", 1, noon.Add(48*time.Hour)))
	})
	if r, _ := reputationOf(t, d, ann.AMID); r.RatingsCount != 1 {
		t.Error("a rating after the reports does not count")
	}
	write(t, d, func(tx *db.Tx) error {
		tags, err := tx.Tags(bob.AMID)
		if diff := cmp.Diff([]wire.TagCount{{Tag: "helpful", Count: 1}}, tags); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func testRatedOnce(t *testing.T, url string) {
	d := open(t, url)
	ann, bob, eve := person(t, d, 1), person(t, d, 2), person(t, d, 3)
	write(t, d, func(tx *db.Tx) error { return tx.AddRating(rating(ann.AMID, bob.AMID, "s", "", 1, noon)) })
	for _, target := range []identity.AMID{bob.AMID, eve.AMID} {
		err := d.Write(t.Context(), func(tx *db.Tx) error { return tx.AddRating(rating(ann.AMID, target, "s", "", 0, noon)) })
		if !errors.Is(err, db.ErrDuplicate) {
			t.Errorf("got %v, want ErrDuplicate", err)
		}
	}
	// Somebody else's session of the same name is another one.
	write(t, d, func(tx *db.Tx) error { return tx.AddRating(rating(eve.AMID, bob.AMID, "s", "", 1, noon)) })
}

func testNetworkCountsOnce(t *testing.T, url string) {
	d := open(t, url)
	bob := person(t, d, 0)
	night := time.Date(2026, 2, 1, 23, 59, 0, 0, time.UTC)
	for n, c := range []struct {
		network string
		at      time.Time
		want    int
	}{
		{"a", night, 1},
		{"a", night.Add(2 * time.Minute), 1}, // the day changed
		{"b", night.Add(2 * time.Minute), 2},
		{"", night.Add(3 * time.Minute), 3}, // not known: no reason to doubt
		{"", night.Add(3 * time.Minute), 4},
		{"a", night.Add(24*time.Hour + time.Minute), 4}, // a day after the second, not the first
		{"a", night.Add(49 * time.Hour), 5},
	} {
		from := person(t, d, n+1)
		session := fmt.Sprint("s", n)
		write(t, d, func(tx *db.Tx) error {
			if err := meet(tx, session, from.AMID, bob.AMID, wire.OutcomeSuccess, c.at); err != nil {
				return err
			}
			return tx.AddRating(rating(from.AMID, bob.AMID, session, c.network, 1, c.at))
		})
		if r, _ := reputationOf(t, d, bob.AMID); r.RatingsCount != c.want {
			t.Errorf("rating %d: %d count, want %d", n, r.RatingsCount, c.want)
		}
	}
}

func testMutual(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(
			prove(tx, ann.AMID, "account:1", wire.TierVerified), prove(tx, bob.AMID, "account:2", wire.TierVerified),
			meet(tx, "s", ann.AMID, bob.AMID, wire.OutcomeRejected, noon),
			tx.AddRating(rating(ann.AMID, bob.AMID, "s", "", 1, noon)))
	})
	_, alone := reputationOf(t, d, bob.AMID)
	// An answer about a session that nobody else reported changes nothing.
	write(t, d, func(tx *db.Tx) error { return tx.AddRating(rating(bob.AMID, ann.AMID, "made up", "", 0, noon)) })
	if _, still := reputationOf(t, d, bob.AMID); still != alone {
		t.Errorf("alone %v, answered in vain %v", alone, still)
	}
	write(t, d, func(tx *db.Tx) error {
		return tx.AddRating(rating(bob.AMID, ann.AMID, "s", "", 1, noon.Add(23*time.Hour)))
	})
	_, bobs := reputationOf(t, d, bob.AMID)
	_, anns := reputationOf(t, d, ann.AMID)
	base := 0.6
	if gain := (bobs - base) / (alone - base); math.Abs(gain-0.2) > 0.01 || math.Abs(anns-bobs) > 1e-4 {
		t.Errorf("alone %v, mutual %v and %v", alone, bobs, anns)
	}
}

func testMutualLater(t *testing.T, url string) {
	for name, c := range map[string]struct {
		apart time.Duration
		want  float64 // of what one alone would move the score
	}{"within a day": {24 * time.Hour, 0.2}, "later": {24*time.Hour + time.Second, 1}} {
		d := open(t, url)
		ann, bob := person(t, d, 1), person(t, d, 2)
		write(t, d, func(tx *db.Tx) error {
			session := name
			return errors.Join(
				prove(tx, ann.AMID, "account:1 "+name, wire.TierVerified), prove(tx, bob.AMID, "account:2 "+name, wire.TierVerified),
				tx.AddRating(rating(ann.AMID, bob.AMID, session, "", 1, noon)),
				tx.AddRating(rating(bob.AMID, ann.AMID, session, "", 1, noon.Add(c.apart))),
				meet(tx, session, ann.AMID, bob.AMID, wire.OutcomeRejected, noon.Add(c.apart)))
		})
		for _, who := range []identity.AMID{ann.AMID, bob.AMID} {
			var weight float64
			write(t, d, func(tx *db.Tx) error {
				return tx.QueryRow("SELECT weight FROM ratings WHERE target = $1", who.String()).Scan(&weight)
			})
			if _, got := reputationOf(t, d, who); math.Abs(weight-c.want) > 1e-9 || got <= 0.6 {
				t.Errorf("%s: weight %v, want %v, score %v", name, weight, c.want, got)
			}
		}
		write(t, d, func(tx *db.Tx) error { return errors.Join(tx.RemoveAgent(ann.AMID), tx.RemoveAgent(bob.AMID)) })
	}
}

func testSameOwner(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(
			prove(tx, ann.AMID, "organization:1", wire.TierOrganization), prove(tx, bob.AMID, "organization:1", wire.TierOrganization),
			meet(tx, "s", ann.AMID, bob.AMID, wire.OutcomeSuccess, noon),
			tx.AddRating(rating(ann.AMID, bob.AMID, "s", "", 1, noon)))
	})
	if r, score := reputationOf(t, d, bob.AMID); r.RatingsCount != 0 || math.Abs(score-0.7) > 1e-9 {
		t.Errorf("%d ratings count, score %v", r.RatingsCount, score)
	}
}

func testDisagreement(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	report := func(session string, reporter identity.AMID, outcome wire.Outcome, started time.Time) {
		write(t, d, func(tx *db.Tx) error {
			_, err := tx.ReportSession(db.SessionReport{ID: uuid.NewString(), SessionID: session, Initiator: ann.AMID, Receiver: bob.AMID,
				Reporter: reporter, Outcome: outcome, Started: started, At: noon})
			return err
		})
		write(t, d, func(tx *db.Tx) error {
			err := tx.AddRating(rating(ann.AMID, bob.AMID, session, "", 0, noon))
			if errors.Is(err, db.ErrDuplicate) {
				return nil
			}
			return err
		})
	}
	report("times", ann.AMID, wire.OutcomeSuccess, noon)
	report("times", bob.AMID, wire.OutcomeSuccess, noon.Add(db.StartSkew+time.Second))
	if r, _ := reputationOf(t, d, bob.AMID); r.RatingsCount != 0 || r.Sessions != 0 {
		t.Errorf("other times: %+v", r)
	}
	report("outcome", ann.AMID, wire.OutcomeFailed, noon)
	report("outcome", bob.AMID, wire.OutcomeSuccess, noon.Add(db.StartSkew))
	if r, _ := reputationOf(t, d, bob.AMID); r.RatingsCount != 1 || r.Sessions != 0 {
		t.Errorf("other outcomes: %+v", r)
	}
	report("roles", ann.AMID, wire.OutcomeSuccess, noon)
	write(t, d, func(tx *db.Tx) error {
		_, err := tx.ReportSession(db.SessionReport{ID: "x", SessionID: "roles", Initiator: bob.AMID, Receiver: ann.AMID,
			Reporter: bob.AMID, Outcome: wire.OutcomeSuccess, Started: noon, At: noon})
		return err
	})
	if r, _ := reputationOf(t, d, bob.AMID); r.RatingsCount != 1 {
		t.Errorf("other roles: %+v", r)
	}
}

func testRateAtOnce(t *testing.T, url string) {
	const n = 24
	one, two := open(t, url), open(t, url)
	bob := person(t, one, 0)
	var raters []db.Agent
	for i := range n {
		a := person(t, one, i+1)
		raters = append(raters, a)
		write(t, one, func(tx *db.Tx) error {
			return errors.Join(prove(tx, a.AMID, fmt.Sprint("account:", i), wire.TierVerified),
				meet(tx, fmt.Sprint(i), a.AMID, bob.AMID, wire.OutcomeSuccess, noon))
		})
	}
	var wg sync.WaitGroup
	for i, a := range raters {
		d := one
		if i%2 == 1 {
			d = two
		}
		wg.Go(func() {
			if err := d.Write(t.Context(), func(tx *db.Tx) error {
				return tx.AddRating(rating(a.AMID, bob.AMID, fmt.Sprint(i), fmt.Sprint("net ", i%12), 1, noon))
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Of two with one network exactly one counts, whoever came first.
	if r, _ := reputationOf(t, two, bob.AMID); r.RatingsCount != n/2 || r.Sessions != n {
		t.Errorf("%d ratings of %d sessions, want %d of %d", r.RatingsCount, r.Sessions, n/2, n)
	}
}

func testReportAtOnce(t *testing.T, url string) {
	one, two := open(t, url), open(t, url)
	ann, bob := person(t, one, 1), person(t, one, 2)
	const n = 12
	var wg sync.WaitGroup
	for i := range n {
		for _, side := range []struct {
			d   *db.DB
			who identity.AMID
		}{{one, ann.AMID}, {two, bob.AMID}} {
			wg.Go(func() {
				if err := side.d.Write(t.Context(), func(tx *db.Tx) error {
					_, err := tx.ReportSession(db.SessionReport{ID: uuid.NewString(), SessionID: fmt.Sprint(i), Initiator: ann.AMID,
						Receiver: bob.AMID, Reporter: side.who, Outcome: wire.OutcomeFailed, Started: noon, At: noon})
					return err
				}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, who := range []identity.AMID{ann.AMID, bob.AMID} {
		if r, _ := reputationOf(t, one, who); r.Sessions != n || r.Successful != 0 {
			t.Errorf("%d sessions, want %d", r.Sessions, n)
		}
	}
}

func testForget(t *testing.T, url string) {
	d := open(t, url)
	ann, bob, eve := person(t, d, 1), person(t, d, 2), person(t, d, 3)
	write(t, d, func(tx *db.Tx) error {
		_, err := tx.ReportSession(db.SessionReport{ID: "r", SessionID: "alone", Initiator: ann.AMID, Receiver: bob.AMID, Reporter: ann.AMID,
			Outcome: wire.OutcomeSuccess, Started: noon, At: noon})
		return errors.Join(err,
			meet(tx, "both", eve.AMID, bob.AMID, wire.OutcomeSuccess, noon),
			tx.AddRating(rating(ann.AMID, bob.AMID, "alone", "a", 1, noon)),
			tx.AddRating(rating(eve.AMID, bob.AMID, "both", "b", 1, noon)))
	})
	late := noon.Add(db.ReportLife + time.Second)
	write(t, d, func(tx *db.Tx) error { return tx.ForgetWords(late) })
	write(t, d, func(tx *db.Tx) error {
		if err := tx.AddRating(rating(ann.AMID, bob.AMID, "alone", "b", 1, late)); err != nil {
			t.Errorf("the rating was not forgotten: %v", err)
		}
		if err := tx.AddRating(rating(eve.AMID, bob.AMID, "both", "c", 1, late)); !errors.Is(err, db.ErrDuplicate) {
			t.Errorf("the rating that counts was forgotten: %v", err)
		}
		n, err := tx.SaidSince(ann.AMID, noon)
		if n != 1 {
			t.Errorf("ann said %d things since, want 1", n)
		}
		return err
	})
}

func testFlagGoes(t *testing.T, url string) {
	d := open(t, url)
	bob := person(t, d, 0)
	write(t, d, func(tx *db.Tx) error {
		for i := range 40 {
			a := newPerson(t, i+1, noon.Add(-30*24*time.Hour))
			session := fmt.Sprint(i)
			if err := errors.Join(tx.PutAgent(a), prove(tx, a.AMID, fmt.Sprint("account:", i), wire.TierVerified),
				meet(tx, session, a.AMID, bob.AMID, wire.OutcomeSuccess, noon), tx.AddRating(rating(a.AMID, bob.AMID, session, "", 1, noon))); err != nil {
				return err
			}
		}
		return nil
	})
	r, _ := reputationOf(t, d, bob.AMID)
	if diff := cmp.Diff([]string{"rapid_reputation_increase"}, r.Flags(noon)); diff != "" {
		t.Error(diff)
	}
	if f := r.Flags(noon.Add(24 * time.Hour)); len(f) != 0 {
		t.Errorf("still %v after a day", f)
	}
	write(t, d, func(tx *db.Tx) error { return tx.RefreshReputation(bob.AMID, noon.Add(25*time.Hour)) })
	if r, _ := reputationOf(t, d, bob.AMID); len(r.Flags(noon.Add(25*time.Hour))) != 0 {
		t.Error("raised again by nothing")
	}
}

func testLeaders(t *testing.T, url string) {
	d := open(t, url)
	ann, bob, cid := person(t, d, 101), person(t, d, 102), person(t, d, 103)
	write(t, d, func(tx *db.Tx) error {
		for i := range 5 {
			a := newPerson(t, i+1, noon.Add(-30*24*time.Hour))
			if err := errors.Join(tx.PutAgent(a), prove(tx, a.AMID, fmt.Sprint("account:", i), wire.TierVerified)); err != nil {
				return err
			}
			for n, to := range []identity.AMID{ann.AMID, bob.AMID, cid.AMID} {
				session := fmt.Sprint(i, " ", n)
				if err := errors.Join(meet(tx, session, a.AMID, to, wire.OutcomeSuccess, noon),
					tx.AddRating(rating(a.AMID, to, session, "", []float64{0.5, 1, 1}[n], noon))); err != nil {
					return err
				}
			}
		}
		return tx.Revoke(db.Revocation{ID: "1", AMID: cid.AMID, Reason: "other", By: cid.AMID, At: noon})
	})
	for intent, want := range map[string][]identity.AMID{"": {bob.AMID, ann.AMID}, "travel": {bob.AMID, ann.AMID}, "chess": nil} {
		write(t, d, func(tx *db.Tx) error {
			list, err := tx.Leaders(intent, 5, 20)
			var got []identity.AMID
			for _, l := range list {
				got = append(got, l.Agent.AMID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q: %s", intent, diff)
			}
			return err
		})
	}
	write(t, d, func(tx *db.Tx) error {
		stale, err := tx.StaleReputations(noon.Add(time.Second), 3)
		if len(stale) != 3 {
			t.Errorf("%d are stale, want 3", len(stale))
		}
		return err
	})
}

// T73 on the database, with every rule in its place: each stranger has a network of its
// own, and a session with the target that both sides report.
func testT73(t *testing.T, url string) {
	sybils := 200 // a thousand and ten thousand are in package reputation
	if os.Getenv("AMESH_SOAK") == "1" {
		sybils = 1000
	}
	d := open(t, url)
	bob := person(t, d, 0)
	honest(t, d, bob)
	_, before := reputationOf(t, d, bob.AMID)
	for start := 0; start < sybils; start += 100 {
		write(t, d, func(tx *db.Tx) error {
			for n := start; n < start+100; n++ {
				a := newPerson(t, 1000+n, noon)
				session := fmt.Sprint("sybil ", n)
				if err := errors.Join(tx.PutAgent(a), meet(tx, session, a.AMID, bob.AMID, wire.OutcomeSuccess, noon),
					tx.AddRating(rating(a.AMID, bob.AMID, session, session, 1, noon))); err != nil {
					return err
				}
			}
			return nil
		})
		if _, score := reputationOf(t, d, bob.AMID); math.Abs(score-before) > 0.02 {
			t.Fatalf("%d strangers moved the score from %v to %v", start+100, before, score)
		}
	}
	r, score := reputationOf(t, d, bob.AMID)
	t.Logf("%d ratings moved the score from %.4f to %.4f", r.RatingsCount, before, score)
}

// T74 on the database.
func testT74(t *testing.T, url string) {
	d := open(t, url)
	bob := person(t, d, 0)
	honest(t, d, bob)
	_, before := reputationOf(t, d, bob.AMID)
	write(t, d, func(tx *db.Tx) error {
		for n := range 100 {
			a := newPerson(t, 1000+n, noon.Add(-300*24*time.Hour))
			session := fmt.Sprint("attack ", n)
			if err := errors.Join(tx.PutAgent(a), prove(tx, a.AMID, "organization:9", wire.TierOrganization),
				meet(tx, session, a.AMID, bob.AMID, wire.OutcomeSuccess, noon),
				tx.AddRating(rating(a.AMID, bob.AMID, session, session, 0, noon))); err != nil {
				return err
			}
		}
		return nil
	})
	_, score := reputationOf(t, d, bob.AMID)
	if before-score > 0.02 {
		t.Errorf("one owner lowered the score from %v to %v", before, score)
	}
	t.Logf("100 agents of one owner moved the score from %.4f to %.4f", before, score)
}

// honest lets six owners of half a mind rate an agent.
func honest(t *testing.T, d *db.DB, to db.Agent) {
	t.Helper()
	write(t, d, func(tx *db.Tx) error {
		for n := range 6 {
			a := newPerson(t, 500+n, noon.Add(-100*24*time.Hour))
			session := fmt.Sprint("honest ", n)
			if err := errors.Join(tx.PutAgent(a), prove(tx, a.AMID, fmt.Sprint("account:", n), wire.TierVerified),
				meet(tx, session, a.AMID, to.AMID, wire.OutcomeFailed, noon),
				tx.AddRating(rating(a.AMID, to.AMID, session, session, 0.2, noon))); err != nil {
				return err
			}
		}
		return nil
	})
}

func testRaterGone(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(meet(tx, "s", ann.AMID, bob.AMID, wire.OutcomeSuccess, noon),
			tx.AddRating(rating(ann.AMID, bob.AMID, "s", "", 1, noon)),
			tx.ForgetTrust(ann.AMID, noon), tx.RemoveAgent(ann.AMID))
	})
	if r, score := reputationOf(t, d, bob.AMID); r.RatingsCount != 0 || r.Sessions != 0 || score != 0.5 {
		t.Errorf("left behind: %+v, score %v", r, score)
	}
}

func testUncounted(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := person(t, d, 1), person(t, d, 2)
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(prove(tx, ann.AMID, "account:1", wire.TierVerified), prove(tx, bob.AMID, "account:2", wire.TierVerified),
			meet(tx, "s", ann.AMID, bob.AMID, wire.OutcomeSuccess, noon),
			tx.AddRating(rating(bob.AMID, ann.AMID, "s", "", 1, noon)))
	})
	want, alone := reputationOf(t, d, ann.AMID)
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(tx.AddRating(rating(ann.AMID, bob.AMID, "s", "", 1, noon)), tx.ForgetTrust(ann.AMID, noon))
	})
	if r, score := reputationOf(t, d, ann.AMID); r.RatingsCount != 0 || r.Sessions != 0 || score >= alone {
		t.Errorf("left: %+v, score %v", r, score)
	}
	write(t, d, func(tx *db.Tx) error {
		return errors.Join(prove(tx, ann.AMID, "account:1", wire.TierVerified), meet(tx, "s", ann.AMID, bob.AMID, wire.OutcomeSuccess, noon))
	})
	got, score := reputationOf(t, d, ann.AMID)
	if diff := cmp.Diff(want, got); diff != "" || score != alone {
		t.Errorf("score %v, want %v: %s", score, alone, diff)
	}
}

func testValue(t *testing.T, url string) {
	one, two := open(t, url), open(t, url)
	for _, d := range []*db.DB{one, two} {
		write(t, d, func(tx *db.Tx) error {
			v, err := tx.Value("salt", []byte(fmt.Sprintf("%p", d)))
			if string(v) != fmt.Sprintf("%p", one) {
				t.Errorf("got %q", v)
			}
			return err
		})
	}
}

func testUnregistered(t *testing.T, url string) {
	d := open(t, url)
	ann, nobody := person(t, d, 1), newPerson(t, 2, noon)
	for name, do := range map[string]func(*db.Tx) error{
		"target": func(tx *db.Tx) error { return tx.AddRating(rating(ann.AMID, nobody.AMID, "s", "", 1, noon)) },
		"rater":  func(tx *db.Tx) error { return tx.AddRating(rating(nobody.AMID, ann.AMID, "s", "", 1, noon)) },
		"peer":   func(tx *db.Tx) error { return meet(tx, "s", ann.AMID, nobody.AMID, wire.OutcomeSuccess, noon) },
	} {
		if err := d.Write(t.Context(), do); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
}
