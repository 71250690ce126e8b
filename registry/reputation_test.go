package registry

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"

	"github.com/google/go-cmp/cmp"
)

func TestReputation(t *testing.T)             { dbtest.SQLite(t, reputationCases) }
func TestWithPostgresReputation(t *testing.T) { dbtest.Postgres(t, reputationCases) }

var reputationCases = dbtest.Cases{
	"a session, two reports, two ratings":        testRateEachOther,
	"both endpoints end in one system":           testOneSystem,
	"T75 a score is a number between 0 and 1":    testT75,
	"what no rating can be":                      testBadRatings,
	"nobody rates as somebody else":              testRateAsAnother,
	"what no report can be":                      testBadReports,
	"reports of both sides, at two instances":    testTwoInstances,
	"lookup, search and score agree":             testScoresAgree,
	"a score grows with age, without a word":     testAge,
	"the leaderboard":                            testLeaderboard,
	"the leaderboard costs as much as searches":  testLeaderboardRates,
	"the leaderboard is kept for a while":        testLeaderboardKept,
	"a network behind a proxy that we trust":     testNetworks,
	"only a proxy that we trust names addresses": testForwarded,
	"the words of a day are bounded":             testWordsPerDay,
	"a rating that was forged by timestamp goes": testForgedRatingGoes,
	"nor a rating for a session of forged words": testForgedSessionCountsNoRating,
}

// meet lets both sides report a session.
func (h *harness) meet(session string, a, b identity.PrivateKey, outcome string) {
	h.t.Helper()
	for _, reporter := range []identity.PrivateKey{a, b} {
		h.post("/v1/registry/reputation/session", reporter, strictly, report(session, a, b, reporter, outcome)).want(200).has(object{"success": true})
	}
}

func report(session string, a, b, reporter identity.PrivateKey, outcome string) object {
	return object{
		"session_id": session, "initiator_amid": a.AMID().String(), "receiver_amid": b.AMID().String(),
		"reporter_amid": reporter.AMID().String(), "intent": "travel", "outcome": outcome, "started_at": noon.Format(time.RFC3339),
	}
}

func feedback(session string, from, to identity.PrivateKey, score any) object {
	return object{"target_amid": to.AMID().String(), "from_amid": from.AMID().String(), "session_id": session, "score": score, "tags": []string{"helpful"}}
}

// prove gives an agent a certificate of an account.
func (h *harness) prove(key identity.PrivateKey, account string) (text string) {
	h.t.Helper()
	issued, err := h.server.trust.issuer.IssueVerification(certificate.Verification{Key: key.Public(), Provider: "github", ProviderID: account})
	if err != nil {
		h.t.Fatal(err)
	}
	h.keep(issued, "", "", "account github "+account)
	return issued.Text
}

func (h *harness) keep(issued *certificate.Issued, organization, issuer, owner string) {
	h.t.Helper()
	err := h.server.db.Load().Write(h.t.Context(), func(tx *db.Tx) error {
		return tx.AddCertificate(kept(issued, organization, issuer, owner), h.clock.now())
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// withRoot is a registry whose root key is that of a number.
func withRoot(t *testing.T, n byte) func(*Config) {
	return func(c *Config) { c.Issuer = certificate.NewIssuer(testKey(t, n), rand.Reader, c.Clock) }
}

func score(key identity.PrivateKey) string {
	return "/v1/registry/reputation/score?amid=" + key.AMID().String()
}

const session1 = "0b6c3b1e-5c1f-4b61-9c1e-6a2f8a3a0001"

func testRateEachOther(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, byTimestamp)
	h.register(bob, strictly)
	h.get(score(bob)).want(200).has(object{
		"amid": bob.AMID().String(), "score": 0.5, "completion_rate": 0.5, "total_sessions": 0, "successful_sessions": 0,
		"feedback_count": 0, "average_feedback": 0.5, "tier": "anonymous", "age_days": 0, "tags": []string{},
		"last_updated": wire.Time{Time: h.clock.now()},
	})
	h.clock.pass(10 * 24 * time.Hour)
	h.post("/v1/registry/reputation", ann, byTimestamp, feedback(session1, ann, bob, 1)).want(200).
		has(object{"success": true, "message": "Reputation feedback recorded"})
	h.get(score(bob)).want(200).has(object{"feedback_count": 0})

	first := h.post("/v1/registry/reputation/session", ann, byTimestamp, report(session1, ann, bob, ann, "success")).want(200)
	again := h.post("/v1/registry/reputation/session", ann, byTimestamp, report(session1, ann, bob, ann, "failed")).want(200)
	if first.body["session_record_id"] != again.body["session_record_id"] || first.body["session_record_id"] == nil {
		t.Errorf("%s, then %s", first.raw, again.raw)
	}
	h.get(score(bob)).want(200).has(object{"feedback_count": 0, "total_sessions": 0})
	h.post("/v1/registry/reputation/session", bob, strictly, report(session1, ann, bob, bob, "success")).want(200)
	h.get(score(bob)).want(200).has(object{
		"feedback_count": 1, "average_feedback": 1, "total_sessions": 1, "successful_sessions": 1, "completion_rate": 1, "age_days": 10,
		"tags": []object{{"tag": "helpful", "count": 1}},
	})
	h.get("/v1/registry/lookup?amid=" + bob.AMID().String()).want(200).has(object{"ratings_count": 1, "reputation_status": "unrated", "flags": nil})
	h.post("/v1/registry/reputation/feedback", bob, strictly, feedback(session1, bob, ann, 0)).want(200).has(object{"success": true})
	if got := h.get(score(testKey(t, 3))); got.status != http.StatusNotFound || got.body["error"] != "Agent not found" {
		t.Errorf("unknown: %d %s", got.status, got.raw)
	}
	h.get("/v1/registry/reputation/score").want(400)
	if o := h.get(score(bob)).open(h); o["feedback_count"] != 1.0 || o["issued_at"] == nil {
		t.Errorf("signed is %v", o)
	}
}

// One rating of a session, whichever of the endpoints of 0.2 takes it.
func testOneSystem(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	h.post("/v1/registry/reputation", ann, strictly, feedback(session1, ann, bob, 1)).want(200)
	h.post("/v1/registry/reputation/feedback", ann, strictly, feedback(session1, ann, bob, 1)).want(409).code(wire.CodeConflict)
	h.post("/v1/registry/reputation", ann, strictly, feedback(session1, ann, bob, 0)).want(409)
	// A JavaScript client's session has no UUID.
	h.post("/v1/registry/reputation", ann, strictly, feedback("session_0123456789abcdef", ann, bob, 1)).want(200)
}

func testT75(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	for n, text := range []string{"-0.1", "1.0000001", "2", "-1", "1e308", "-1e308", "1e999", `"0.5"`, `"NaN"`, "null", "true", "[0.5]", "{}"} {
		for _, path := range []string{"", "/feedback"} {
			body := feedback(fmt.Sprint("bad ", n), ann, bob, json.RawMessage(text))
			h.post("/v1/registry/reputation"+path, ann, strictly, body).want(400).code(wire.CodeInvalidScore)
		}
	}
	body := feedback("none", ann, bob, 1)
	delete(body, "score")
	h.post("/v1/registry/reputation", ann, strictly, body).want(400).code(wire.CodeInvalidScore)
	for n, text := range []string{"0", "1", "0.5", "1.0", "-0", "1e-300", "0.99999999999999999999"} {
		h.post("/v1/registry/reputation", ann, strictly, feedback(fmt.Sprint("good ", n), ann, bob, json.RawMessage(text))).want(200)
	}
}

func testBadRatings(t *testing.T, url string) {
	h := start(t, url)
	ann, bob, eve := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(ann, strictly)
	h.register(bob, strictly)
	for name, c := range map[string]struct {
		change func(object)
		status int
		code   wire.Code
	}{
		"oneself":         {func(o object) { o["target_amid"] = ann.AMID().String() }, 400, wire.CodeSelfRating},
		"a stranger":      {func(o object) { o["target_amid"] = eve.AMID().String() }, 404, wire.CodeNotFound},
		"nobody":          {func(o object) { o["target_amid"] = "bob" }, 400, wire.CodeInvalid},
		"tag of its own":  {func(o object) { o["tags"] = []string{"cheap"} }, 400, wire.CodeInvalidTag},
		"tag twice":       {func(o object) { o["tags"] = []string{"helpful", "helpful"} }, 400, wire.CodeInvalidTag},
		"tags in a text":  {func(o object) { o["tags"] = "helpful" }, 400, wire.CodeMalformed},
		"no session":      {func(o object) { o["session_id"] = "" }, 400, wire.CodeInvalid},
		"long session":    {func(o object) { o["session_id"] = strings.Repeat("s", wire.MaxSessionID+1) }, 400, wire.CodeInvalid},
		"NUL in session":  {func(o object) { o["session_id"] = "a\x00b" }, 400, wire.CodeInvalid},
		"number, session": {func(o object) { o["session_id"] = 7 }, 400, wire.CodeMalformed},
	} {
		body := feedback("s", ann, bob, 1)
		c.change(body)
		if got := h.post("/v1/registry/reputation", ann, strictly, body); got.status != c.status || got.body["code"] != string(c.code) {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
	for path, status := range map[string]int{"": 400, "/feedback": 401} {
		h.post("/v1/registry/reputation"+path, eve, byTimestamp, feedback("s", eve, bob, 1)).want(status)
	}
}

// AgentMesh §8, 1: no endpoint takes a rating without a signature of who rates.
func testRateAsAnother(t *testing.T, url string) {
	h := start(t, url)
	ann, bob, eve := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	for _, k := range []identity.PrivateKey{ann, bob, eve} {
		h.register(k, byTimestamp)
	}
	for _, path := range []string{"", "/feedback"} {
		h.post("/v1/registry/reputation"+path, eve, byTimestamp, feedback("s", ann, bob, 0)).want(401).code(wire.CodeSignatureInvalid)
		h.post("/v1/registry/reputation"+path, eve, strictly, feedback("s", ann, bob, 0)).want(401)
		h.post("/v1/registry/reputation"+path, eve, unsigned, feedback("s", ann, bob, 0)).want(401)
	}
	h.post("/v1/registry/reputation/session", eve, strictly, report("s", ann, bob, ann, "failed")).want(401)
	h.post("/v1/registry/reputation/session", eve, strictly, report("s", ann, bob, eve, "failed")).want(403).code(wire.CodeForbidden)
}

func testBadReports(t *testing.T, url string) {
	h := start(t, url)
	ann, bob, eve := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(ann, strictly)
	h.register(bob, strictly)
	for name, c := range map[string]struct {
		change func(object)
		status int
	}{
		"outcome of its own": {func(o object) { o["outcome"] = "disputed" }, 400},
		"started tomorrow":   {func(o object) { o["started_at"] = noon.Add(24 * time.Hour).Format(time.RFC3339) }, 400},
		"started sometime":   {func(o object) { o["started_at"] = "yesterday" }, 400},
		"long intent":        {func(o object) { o["intent"] = strings.Repeat("i", wire.MaxIntent+1) }, 400},
		"with oneself":       {func(o object) { o["receiver_amid"] = ann.AMID().String() }, 400},
		"with a stranger":    {func(o object) { o["receiver_amid"] = eve.AMID().String() }, 404},
		"with nobody":        {func(o object) { o["receiver_amid"] = "" }, 400},
		"of nobody":          {func(o object) { o["initiator_amid"] = "x" }, 400},
		"without an id":      {func(o object) { delete(o, "session_id") }, 400},
	} {
		body := report("s", ann, bob, ann, "success")
		c.change(body)
		if got := h.post("/v1/registry/reputation/session", ann, strictly, body); got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
}

func testTwoInstances(t *testing.T, url string) {
	one, two := start(t, url, withRoot(t, 99)), start(t, url, withRoot(t, 99))
	ann, bob := testKey(t, 1), testKey(t, 2)
	one.register(ann, strictly)
	one.register(bob, strictly)
	const n = 8
	var wg sync.WaitGroup
	for i := range n {
		session := fmt.Sprint("s", i)
		wg.Go(func() { one.post("/v1/registry/reputation", ann, strictly, feedback(session, ann, bob, 1)) })
		wg.Go(func() { two.post("/v1/registry/reputation/feedback", ann, strictly, feedback(session, ann, bob, 1)) })
		wg.Go(func() {
			one.post("/v1/registry/reputation/session", ann, strictly, report(session, ann, bob, ann, "success"))
		})
		wg.Go(func() {
			two.post("/v1/registry/reputation/session", bob, strictly, report(session, ann, bob, bob, "success"))
		})
	}
	wg.Wait()
	// The first rating came from a network that then counted once, whichever it was.
	for _, h := range []*harness{one, two} {
		h.get(score(bob)).want(200).has(object{"total_sessions": n, "feedback_count": 1})
	}
}

func testScoresAgree(t *testing.T, url string) {
	h := start(t, url)
	bob := testKey(t, 100)
	h.register(bob, strictly)
	for n := range byte(5) {
		k := testKey(t, n+1)
		h.register(k, strictly)
		h.prove(k, fmt.Sprint(n))
		h.clock.pass(25 * time.Hour) // so that its network counts again
		session := fmt.Sprint("s", n)
		h.meet(session, k, bob, "success")
		h.post("/v1/registry/reputation", k, strictly, feedback(session, k, bob, 1)).want(200)
	}
	want, ok := h.get(score(bob)).want(200).has(object{"feedback_count": 5}).body["score"].(float64)
	if !ok || want <= 0.5 {
		t.Fatalf("score %v", want)
	}
	h.get("/v1/registry/lookup?amid=" + bob.AMID().String()).want(200).
		has(object{"reputation_score": want, "ratings_count": 5, "reputation_status": "rated"})
	h.get("/v1/registry/lookup?amid=" + testKey(t, 1).AMID().String()).want(200).has(object{"tier": "verified", "reputation_status": "unrated"})
}

func testAge(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	h.prove(ann, "17")
	h.clock.pass(8 * 24 * time.Hour)
	h.meet("s", ann, bob, "success")
	h.post("/v1/registry/reputation", ann, strictly, feedback("s", ann, bob, 1)).want(200)
	before, _ := h.get(score(bob)).want(200).body["score"].(float64)
	h.clock.pass(100 * 24 * time.Hour)
	h.server.sweep(t.Context(), h.server.db.Load())
	after, _ := h.get(score(bob)).want(200).has(object{"age_days": 108, "last_updated": wire.Time{Time: h.clock.now()}}).body["score"].(float64)
	// A twentieth of 0.1 for 100 of 365 days.
	if grown := after - before; math.Abs(grown-0.1/20*100/365) > 1e-9 {
		t.Errorf("from %v to %v", before, after)
	}
}

func testLeaderboard(t *testing.T, url string) {
	h := start(t, url)
	h.get("/v1/registry/reputation/leaderboard").want(200).has(object{"leaderboard": []string{}, "limit": 20, "intent_filter": nil})
	h.get("/v1/registry/reputation/leaderboard?limit=1000&intent=travel").want(200).has(object{"limit": 100, "intent_filter": "travel"})
	for _, bad := range []string{"limit=0", "limit=-1", "limit=x", "intent=" + strings.Repeat("i", 129), "intent=%00"} {
		h.get("/v1/registry/reputation/leaderboard?" + bad).want(400)
	}
	bob := testKey(t, 100)
	h.register(bob, strictly)
	for n := range byte(5) {
		k := testKey(t, n+1)
		h.register(k, strictly)
		h.clock.pass(25 * time.Hour)
		session := fmt.Sprint("s", n)
		h.meet(session, k, bob, "success")
		h.post("/v1/registry/reputation", k, strictly, feedback(session, k, bob, 1)).want(200)
	}
	one := h.get("/v1/registry/reputation/leaderboard?intent=travel").want(200)
	list, _ := one.body["leaderboard"].([]any)
	if len(list) != 1 {
		t.Fatalf("%s", one.raw)
	}
	want := map[string]any(h.get(score(bob)).want(200).body)
	for _, name := range []string{"signature", "issuer_key", "issued_at"} {
		delete(want, name)
	}
	if diff := cmp.Diff(want, list[0]); diff != "" {
		t.Error(diff)
	}
	h.get("/v1/registry/reputation/leaderboard?intent=chess").want(200).has(object{"leaderboard": []string{}})
}

func testNetworks(t *testing.T, url string) {
	h := start(t, url, func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	same := func(a, b string) bool {
		return h.server.networkOf(netip.MustParseAddr(a)) == h.server.networkOf(netip.MustParseAddr(b))
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"192.0.2.1", "192.0.2.254", true}, {"192.0.2.1", "192.0.3.1", false}, {"::ffff:192.0.2.1", "192.0.2.7", true},
		{"2001:db8:1:2::1", "2001:db8:1:ffff::9", true}, {"2001:db8:1::1", "2001:db8:2::1", false},
	} {
		if same(c.a, c.b) != c.want {
			t.Errorf("%s and %s: same is %v", c.a, c.b, !c.want)
		}
	}
	if got := h.server.networkOf(netip.Addr{}); got != "" {
		t.Errorf("no address has network %s", got)
	}
	other := start(t, url)
	if other.server.networkOf(netip.MustParseAddr("192.0.2.1")) != h.server.networkOf(netip.MustParseAddr("192.0.2.1")) {
		t.Error("two instances name one network differently")
	}
}

// AgentMesh §8, 9: an address that a client makes up gives it no new network.
func testForwarded(t *testing.T, url string) {
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		count   int
	}{"trusted": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, 3}, "not trusted": {nil, 1}} {
		h := start(t, url, func(cfg *Config) { cfg.Proxies = c.proxies })
		bob := testKey(t, 100+byte(c.count))
		h.register(bob, strictly)
		for n := range byte(3) {
			k := testKey(t, n+1+10*byte(c.count))
			h.register(k, strictly)
			session := fmt.Sprint(name, n)
			h.meet(session, k, bob, "success")
			body, err := json.Marshal(feedback(session, k, bob, 1))
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/registry/reputation", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.7", 100+n))
			if err := wire.SignRequest(r, body, k, h.clock.now()); err != nil {
				t.Fatal(err)
			}
			h.do(r).want(200)
		}
		if got := h.get(score(bob)).want(200).body["feedback_count"]; got != float64(c.count) {
			t.Errorf("%s: %v ratings count, want %d", name, got, c.count)
		}
	}
}

func testWordsPerDay(t *testing.T, url string) {
	h := start(t, url, func(c *Config) { c.Limits = DefaultLimits(); c.Limits.WordsPerDay = 3 })
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	for n := range 3 {
		h.post("/v1/registry/reputation", ann, strictly, feedback(fmt.Sprint(n), ann, bob, 1)).want(200)
	}
	if a := h.post("/v1/registry/reputation/session", ann, strictly, report("s", ann, bob, ann, "success")).want(429).code(wire.CodeRateLimited); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	h.post("/v1/registry/reputation/session", bob, strictly, report("s", ann, bob, bob, "success")).want(200)
	h.clock.pass(24 * time.Hour)
	h.post("/v1/registry/reputation", ann, strictly, feedback("later", ann, bob, 1)).want(200)
}

// What was said with timestamps only may come from a relay; the first signature that
// covers a request takes it back.
func testForgedRatingGoes(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, byTimestamp)
	h.register(bob, strictly)
	h.post("/v1/registry/reputation/session", ann, byTimestamp, report("s", ann, bob, ann, "failed")).want(200)
	h.post("/v1/registry/reputation", ann, byTimestamp, feedback("s", ann, bob, 0)).want(200)
	h.post("/v1/registry/reputation/session", bob, strictly, report("s", ann, bob, bob, "failed")).want(200)
	h.get(score(bob)).want(200).has(object{"feedback_count": 1, "total_sessions": 1})
	h.register(ann, strictly)
	h.get(score(bob)).want(200).has(object{"feedback_count": 0, "total_sessions": 0, "score": 0.5})
}

func testLeaderboardRates(t *testing.T, url string) {
	const path = "/v1/registry/reputation/leaderboard"
	for _, change := range []func(*Limits){
		func(l *Limits) { l.AddressBurst = leaderboardCost + 1 },
		func(l *Limits) { l.SearchBurst = 1 },
	} {
		t.Run("", func(t *testing.T) {
			h := start(t, url, func(c *Config) {
				c.Limits = DefaultLimits()
				change(&c.Limits)
			})
			h.get(path).want(200)
			h.get(path + "?intent=travel").want(429).code(wire.CodeRateLimited)
		})
	}
}

func testLeaderboardKept(t *testing.T, url string) {
	h := start(t, url)
	const path = "/v1/registry/reputation/leaderboard"
	bob := testKey(t, 100)
	h.register(bob, strictly)
	for n := range byte(5) {
		k := testKey(t, n+1)
		h.register(k, strictly)
		h.clock.pass(25 * time.Hour)
		session := fmt.Sprint("s", n)
		h.meet(session, k, bob, "success")
		h.post("/v1/registry/reputation", k, strictly, feedback(session, k, bob, 1)).want(200)
	}
	before := h.get(path).want(200)
	if list, _ := before.body["leaderboard"].([]any); len(list) != 1 {
		t.Fatalf("%s", before.raw)
	}
	h.post("/v1/registry/revoke", bob, strictly, revocation(bob, bob)).want(200)
	h.clock.pass(9 * time.Second)
	h.get(path + "?limit=5").want(200).has(object{"limit": 5, "leaderboard": before.body["leaderboard"]})
	h.clock.pass(time.Second)
	h.get(path).want(200).has(object{"leaderboard": []string{}})
}

// A rating counts because both sides had the session, and one side's word was forged.
func testForgedSessionCountsNoRating(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, byTimestamp)
	h.register(bob, strictly)
	met := func(how signing) {
		t.Helper()
		h.post("/v1/registry/reputation/session", ann, how, report("s", ann, bob, ann, "success")).want(200)
	}
	h.post("/v1/registry/reputation", bob, strictly, feedback("s", bob, ann, 0)).want(200)
	h.post("/v1/registry/reputation/session", bob, strictly, report("s", ann, bob, bob, "success")).want(200)
	met(byTimestamp)
	tags := h.get(score(ann)).want(200).has(object{"feedback_count": 1, "total_sessions": 1}).body["tags"]
	h.register(ann, strictly)
	h.get(score(ann)).want(200).has(object{"feedback_count": 0, "total_sessions": 0, "score": 0.5, "tags": []any{}})
	met(strictly)
	h.get(score(ann)).want(200).has(object{"feedback_count": 1, "total_sessions": 1, "tags": tags})
}
