package registry

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestSearch(t *testing.T)             { dbtest.SQLite(t, searchCases) }
func TestWithPostgresSearch(t *testing.T) { dbtest.Postgres(t, searchCases) }

var searchCases = dbtest.Cases{
	"0.2 search finds exactly":                         testSearchByCapability,
	"T76 hostile searches are refused or find nothing": testSearchHostile,
	"our search goes on from page to page":             testSearchPages,
	"T77 counts are rounded":                           testSearchCounts,
	"T77 a cursor belongs to its search":               testSearchCursor,
	"T77 who searches too much waits":                  testSearchLimits,
	"who signs does not suffer from his neighbours":    testSearchByName,
	"what is said of itself long ago is not online":    testSearchPresence,
	"the document describes every route and no other":  testOpenAPI,
	"pages show what programs get":                     testPages,
}

// sealed sends a request with a body of a content type, signed as a whole.
func (h *harness) sealed(method, path string, key identity.PrivateKey, contentType string, body []byte) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if err := wire.SignRequest(r, body, key, h.clock.now()); err != nil {
		h.t.Fatal(err)
	}
	return h.do(r)
}

// enroll registers n agents with a capability in common and one of their own.
func (h *harness) enroll(n int) []identity.PrivateKey {
	h.t.Helper()
	keys := make([]identity.PrivateKey, n)
	for i := range keys {
		keys[i] = testKey(h.t, byte(i+1))
		p := profile(keys[i])
		p["display_name"], p["capabilities"] = fmt.Sprintf("Agent %d", i), []string{"chat", fmt.Sprintf("own%d", i), "travel/flights"}
		h.post("/v1/registry/register", keys[i], strictly, p).want(http.StatusCreated)
	}
	return keys
}

func roomy(c *Config) {
	c.Limits = DefaultLimits()
	c.Limits.SearchBurst, c.Limits.AddressBurst = 100_000, 100_000
}

func amids(a answer, list string) []string {
	var out []string
	items, _ := a.body[list].([]any)
	for _, i := range items {
		out = append(out, i.(map[string]any)["amid"].(string))
	}
	return out
}

func testSearchByCapability(t *testing.T, url string) {
	h := start(t, url, roomy)
	keys := h.enroll(5)
	var all []string
	for _, k := range keys {
		all = append(all, k.AMID().String())
	}
	slices.Sort(all) // they have the same reputation and were seen at the same time
	for _, c := range []struct {
		query       string
		want        []string
		total       int
		limit, from int
	}{
		{"capability=chat", all, 5, 20, 0},
		{"capability=chat&limit=2&offset=1", all[1:3], 5, 2, 1},
		{"capability=chat&limit=1000", all, 5, 100, 0},
		{"capability=chat&offset=4503599627370496", nil, 5, 20, 4503599627370496},
		{"capability=Chat", nil, 0, 20, 0},
		{"capability=travel", nil, 0, 20, 0},
		{"capability=own3", []string{keys[3].AMID().String()}, 1, 20, 0},
		{"capability=", nil, 0, 20, 0},
		{"capability=chat&tier_min=1", nil, 0, 20, 0},
		{"capability=chat&tier_min=0", nil, 0, 20, 0},
		{"capability=chat&tier_min=2", all, 5, 20, 0},
		{"capability=chat&tier_min=-5", nil, 0, 20, 0},
		{"capability=chat&reputation_min=0.5", all, 5, 20, 0},
		{"capability=chat&reputation_min=0.51", nil, 0, 20, 0},
		{"capability=chat&status=online", nil, 0, 20, 0},
		{"capability=chat&status=offline", all, 5, 20, 0},
		{"capability=chat&limit=0", nil, 5, 0, 0},
	} {
		a := h.get("/v1/registry/search?" + c.query).want(200).has(object{"total": c.total, "limit": c.limit, "offset": c.from})
		if got := amids(a, "results"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.query, got, c.want)
		}
	}
	a := h.get("/v1/registry/search?capability=own3").want(200)
	if one := a.body["results"].([]any)[0].(map[string]any); one["ratings_count"] != nil || one["organization"] != nil || one["signing_public_key"] != keys[3].Public().Text() {
		t.Errorf("a result is %v", one)
	}
}

func testSearchHostile(t *testing.T, at string) {
	h := start(t, at, roomy)
	h.enroll(2)
	long := strings.Repeat("a", 10_000)
	for _, c := range []struct {
		path   string
		status int
	}{
		{"/v1/registry/search", 400}, {"/v1/registry/search?capability=%00", 400}, {"/v1/registry/search?capability=" + long, 400},
		{"/v1/registry/search?capability=%ff%fe", 400}, {"/v1/registry/search?capability=%zz", 400},
		{"/v1/registry/search?capability=a&limit=-1", 400}, {"/v1/registry/search?capability=a&limit=x", 400},
		{"/v1/registry/search?capability=a&offset=-1", 400}, {"/v1/registry/search?capability=a&offset=99999999999999999999", 400},
		{"/v1/registry/search?capability=a&reputation_min=NaN", 400}, {"/v1/registry/search?capability=a&reputation_min=1e400", 400},
		{"/v1/registry/search?capability=a&tier_min=1.5", 400}, {"/v1/registry/search?capability=a&status=busy", 400},
		{"/v1/registry/search?capability=%25", 200}, {"/v1/registry/search?capability=_", 200}, {"/v1/registry/search?capability=cha%25", 200},
		{"/v1/registry/search?capability=" + url.QueryEscape(`' OR '1'='1`), 200}, {"/v1/registry/search?capability=" + url.QueryEscape(`\`), 200},
		{"/v1/amesh/search?q=%00", 400}, {"/v1/amesh/search?q=" + long, 400}, {"/v1/amesh/search?prefix=" + long, 400},
		{"/v1/amesh/search?q=%ff", 400}, {"/v1/amesh/search?q=%25", 400}, {"/v1/amesh/search?q=a+b+c+d+e+f+g+h+i", 400},
		{"/v1/amesh/search?prefix=%25", 200}, {"/v1/amesh/search?prefix=_", 200}, {"/v1/amesh/search?category=" + url.QueryEscape(`'); --`), 200},
		{"/v1/amesh/search?subcategory=x", 400}, {"/v1/amesh/search?tier=gold", 400}, {"/v1/amesh/search?limit=51", 400},
		{"/v1/amesh/search?limit=0", 400}, {"/v1/amesh/search?cursor=x", 400}, {"/v1/amesh/search?q=%e2%80%ae", 400},
	} {
		a := h.get(c.path)
		if a.status != c.status {
			t.Errorf("%.60s: status %d, want %d: %s", c.path, a.status, c.status, a.raw)
		}
		if c.status == 200 && len(amids(a, "results"))+len(amids(a, "items")) > 0 {
			t.Errorf("%.60s finds something", c.path)
		}
		if c.status == 400 && (a.body["code"] == nil || a.body["error"] == "") {
			t.Errorf("%.60s says %s", c.path, a.raw)
		}
	}
}

func testSearchPages(t *testing.T, url string) {
	h := start(t, url, roomy)
	keys := h.enroll(7)
	h.sealed("PUT", "/v1/amesh/cards/"+keys[0].AMID().String(), keys[0], wire.Binary, card(t, keys[0], h.clock.now(), 1)).want(200)
	var got []string
	path := "/v1/amesh/search?prefix=travel&limit=3"
	for next := ""; ; {
		a := h.get(path + next).want(200)
		got = append(got, amids(a, "items")...)
		if a.body["next"] == nil {
			break
		}
		next = "&cursor=" + a.body["next"].(string)
	}
	if slices.Sort(got); len(slices.Compact(got)) != 7 {
		t.Errorf("found %v", got)
	}
	a := h.get("/v1/amesh/search?q=reise&category=travel&action=search").want(200)
	row := a.body["items"].([]any)[0].(map[string]any)
	for k, want := range map[string]any{
		"amid": keys[0].AMID().String(), "did": keys[0].AMID().DID(), "name": "Reisebüro", "summary": "Reise nach überall",
		"tier": "anonymous", "reputation": 0.5, "online": false, "card": true, "more_capabilities": nil,
	} {
		if row[k] != want {
			t.Errorf("%s is %v, want %v", k, row[k], want)
		}
	}
}

func testSearchCounts(t *testing.T, url string) {
	h := start(t, url, roomy)
	h.enroll(12)
	h.get("/v1/amesh/search?q=chat").want(200).has(object{"about": 50})
	h.get("/v1/amesh/search?q=own3").want(200).has(object{"about": 10})
	h.get("/v1/amesh/search?q=nothing").want(200).has(object{"about": 0, "items": []string{}})
	h.get("/v1/amesh/stats").want(200).has(object{"agents": 50, "cards": 0, "schemas": 0})
	for n, want := range map[int]int{0: 0, 1: 10, 10: 10, 11: 50, 50: 50, 51: 100, 100: 100, 101: 500, 501: 1000, 100_000: 1000} {
		if got := about(n); got != want {
			t.Errorf("%d is told as %d, want %d", n, got, want)
		}
	}
}

func testSearchCursor(t *testing.T, url string) {
	h := start(t, url, roomy)
	h.enroll(3)
	next := h.get("/v1/amesh/search?q=chat&limit=1").want(200).body["next"].(string)
	h.get("/v1/amesh/search?q=chat&limit=2&cursor=" + next).want(200)
	for _, q := range []string{"q=travel&cursor=" + next, "cursor=" + next, "q=chat&cursor=" + next + "A", "q=chat&cursor=" + next[:12]} {
		h.get("/v1/amesh/search?" + q).want(400).code(wire.CodeInvalid)
	}
}

func testSearchLimits(t *testing.T, url string) {
	h := start(t, url, func(c *Config) { c.Limits = DefaultLimits(); c.Limits.SearchBurst = 4 })
	h.enroll(1)
	for _, path := range []string{"/v1/amesh/search", "/v1/registry/search?capability=chat", "/search", "/v1/amesh/schemas"} {
		h.get(path).want(200)
	}
	a := h.get("/v1/amesh/search").want(429).code(wire.CodeRateLimited)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	h.get("/search").want(429)
	h.clock.pass(time.Second)
	h.get("/search").want(200)
}

func testSearchByName(t *testing.T, url string) {
	h := start(t, url, func(c *Config) { c.Limits = DefaultLimits(); c.Limits.SearchBurst = 2 })
	key := h.enroll(1)[0]
	h.get("/v1/amesh/search").want(200)
	h.get("/v1/amesh/search").want(200)
	h.get("/v1/amesh/search").want(429)
	h.sealed("GET", "/v1/amesh/search?q=chat", key, "", nil).want(200)
	h.sealed("GET", "/v1/amesh/search", key, "", nil).want(200)
	h.sealed("GET", "/v1/amesh/search", key, "", nil).want(429)
	h.sealed("GET", "/v1/amesh/search", testKey(t, 99), "", nil).want(404)
}

func testSearchPresence(t *testing.T, url string) {
	h := start(t, url, roomy)
	h.enroll(1)
	err := h.server.db.Load().Write(t.Context(), func(tx *dbTx) error {
		a, err := tx.Agent(testKey(t, 1).AMID())
		a.Status = wire.StatusOnline
		if err != nil {
			return err
		}
		return tx.PutAgent(a)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after  time.Duration
		online bool
	}{{0, true}, {24 * time.Hour, true}, {time.Second, false}} {
		h.clock.pass(c.after)
		total := 0
		if c.online {
			total = 1
		}
		h.get("/v1/registry/search?capability=chat&status=online").want(200).has(object{"total": total})
		h.get("/v1/registry/search?capability=chat&status=offline").want(200).has(object{"total": 1 - total})
		row := h.get("/v1/amesh/search").want(200).body["items"].([]any)[0].(map[string]any)
		if row["online"] != c.online {
			t.Errorf("after %s: online is %v", c.after, row["online"])
		}
	}
}

func testOpenAPI(t *testing.T, url string) {
	h := start(t, url)
	doc := h.get("/openapi.json").want(200)
	if doc.body["openapi"] != "3.1.0" {
		t.Errorf("version %v", doc.body["openapi"])
	}
	var described, served []string
	for path, item := range doc.body["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	for _, rt := range h.server.routes {
		if strings.HasPrefix(rt.path, "/v1/amesh/") {
			served = append(served, rt.method+" "+strings.Replace(rt.path, "...}", "}", 1))
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described %q\nserved    %q", described, served)
	}
	for _, outside := range []string{"http://", "https://"} {
		if strings.Contains(doc.raw, outside) {
			t.Errorf("the document names something outside: %s", outside)
		}
	}
}

func testPages(t *testing.T, url string) {
	h := start(t, url)
	key := h.enroll(1)[0]
	amid := key.AMID().String()
	h.sealed("PUT", "/v1/amesh/cards/"+amid, key, wire.Binary, card(t, key, h.clock.now(), 1)).want(200)
	for path, want := range map[string]string{
		"/": "Up to 10 agents", "/search?q=chat": "Reisebüro", "/agents/" + amid: "amesh send did:agentmesh:" + amid,
		"/api": "/v1/amesh/search", "/search?q=nobody": "No agent found",
	} {
		a := h.get(path).want(200)
		if !strings.Contains(a.raw, want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
	if a := h.get("/agents/" + testKey(t, 9).AMID().String()).want(404); !strings.Contains(a.raw, "not registered here") {
		t.Errorf("a stranger's page says %s", a.raw)
	}
	h.get("/search?tier=gold").want(400)
}
