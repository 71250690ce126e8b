package registry

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestNewcomers(t *testing.T)             { dbtest.SQLite(t, newcomerCases) }
func TestWithPostgresNewcomers(t *testing.T) { dbtest.Postgres(t, newcomerCases) }

var newcomerCases = dbtest.Cases{
	"one address brings so many new agents":   testNewcomers,
	"exempt addresses bring as many as like":  testExemptNewcomers,
	"the absent are forgotten, others stay":   testForgetAbsent,
	"more absent than one step are forgotten": testForgetManyAbsent,
}

// few lets two new agents in at once.
func few(c *Config) {
	c.Limits = DefaultLimits()
	c.Limits.NewAgentsPerHour = 2
}

func testNewcomers(t *testing.T, url string) {
	h := start(t, url, few)
	h.register(testKey(t, 1), strictly)
	h.register(testKey(t, 2), byTimestamp)
	third := testKey(t, 3)
	a := h.post("/v1/registry/register", third, byTimestamp, profile(third)).want(429).code(wire.CodeRateLimited).
		has(object{"success": false, "amid": third.AMID().String()})
	if got := a.header.Get("Retry-After"); got != "1800" {
		t.Errorf("Retry-After: %s, want half an hour", got)
	}
	h.get("/v1/registry/lookup?amid=" + third.AMID().String()).want(404)
	// Those who are known are no newcomers, nor is one that becomes strict.
	h.post("/v1/registry/register", testKey(t, 1), strictly, profile(testKey(t, 1))).want(http.StatusConflict)
	h.post("/v1/registry/register", testKey(t, 2), strictly, profile(testKey(t, 2))).want(http.StatusCreated)
	h.clock.pass(30 * time.Minute)
	h.register(third, byTimestamp)
}

func testExemptNewcomers(t *testing.T, url string) {
	h := start(t, url, few, func(c *Config) { c.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for n := range byte(5) {
		h.register(testKey(t, n+1), strictly)
	}
}

// forget runs the chore that forgets the absent.
func (h *harness) forgetAbsent() {
	h.t.Helper()
	if err := h.server.forgetAbsent(h.t.Context(), h.server.db.Load()); err != nil {
		h.t.Fatal(err)
	}
}

func testForgetAbsent(t *testing.T, url string) {
	h := start(t, url)
	gone, revoked, seen, rated := testKey(t, 1), testKey(t, 2), testKey(t, 3), testKey(t, 4)
	for _, key := range []byte{1, 2, 3, 4} {
		h.register(testKey(t, key), strictly)
	}
	h.post("/v1/registry/revoke", revoked, strictly, revocation(revoked, revoked)).want(200)
	err := h.server.db.Load().Write(t.Context(), func(tx *db.Tx) error {
		return tx.AddRating(db.Rating{ID: "1", Target: rated.AMID(), Rater: seen.AMID(), SessionID: "s", Score: 1, At: h.clock.now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(who string, want int) {
		t.Helper()
		h.get("/v1/registry/lookup?amid=" + who).want(want)
	}
	h.clock.pass(179 * 24 * time.Hour)
	h.post("/v1/registry/status", seen, strictly, object{"amid": seen.AMID().String(), "status": "online"}).want(200)
	h.forgetAbsent()
	lookup(gone.AMID().String(), 200)
	h.clock.pass(2 * 24 * time.Hour)
	h.forgetAbsent()
	lookup(gone.AMID().String(), 404)
	lookup(revoked.AMID().String(), 200)
	lookup(seen.AMID().String(), 200)
	lookup(rated.AMID().String(), 200)
	h.get("/v1/registry/search?capability=chat").want(200).has(object{"total": 2})
	h.register(gone, byTimestamp) // may come again
}

func testForgetManyAbsent(t *testing.T, url string) {
	h := start(t, url)
	const many = 2*absentStep + 1
	for n := range byte(many) {
		h.register(testKey(t, n+1), strictly)
	}
	h.clock.pass(181 * 24 * time.Hour)
	h.forgetAbsent()
	h.get("/v1/registry/stats").want(200).has(object{"total_agents": 0})
}
