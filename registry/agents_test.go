package registry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestAgents(t *testing.T)             { dbtest.SQLite(t, agentCases) }
func TestWithPostgresAgents(t *testing.T) { dbtest.Postgres(t, agentCases) }

var agentCases = dbtest.Cases{
	"register and look up":                             testRegisterAndLookUp,
	"the second registration refreshes and is 409":     testSecondRegistration,
	"a strict agent refuses timestamps":                testStrictRefusesTimestamps,
	"the first strict registration starts over":        testStrictStartsOver,
	"keys are checked":                                 testKeysAreChecked,
	"what is too long is refused":                      testLengths,
	"T67 a signature is used once":                     testUsedOnce,
	"T67 a refused request has used its signature":     testRefusedIsUsed,
	"T67 the header must be of the AMID that is named": testHeaderOfAnother,
}

func testRegisterAndLookUp(t *testing.T, url string) {
	h := start(t, url)
	for n, how := range map[byte]signing{1: strictly, 2: byTimestamp} {
		key := testKey(t, n)
		amid := key.AMID().String()
		h.get("/v1/registry/lookup?amid=" + amid).want(404).has(object{"error": "Agent not found", "code": "not_found"})
		h.post("/v1/registry/register", key, how, profile(key)).want(201).
			has(object{"success": true, "amid": amid, "tier": "anonymous", "error": nil})
		for _, name := range []string{amid, "did:agentmesh:" + amid} {
			h.get("/v1/registry/lookup?amid=" + name).want(200).has(object{
				"amid": amid, "tier": "anonymous", "display_name": "Ann", "organization": nil,
				"signing_public_key": key.Public().Text(), "exchange_public_key": exchangeKey(0), "capabilities": []string{"chat"},
				"relay_endpoint": "wss://relay.example/v1/connect", "direct_endpoint": nil, "status": "offline",
				"reputation_score": 0.5, "ratings_count": 0, "reputation_status": "unrated", "flags": nil,
				"did": "did:agentmesh:" + amid, "revoked": false, "last_seen": wire.Time{Time: h.clock.now()},
			})
		}
	}
	prefixed := start(t, url, func(c *Config) { c.PrefixedKeys = true })
	prefixed.get("/v1/registry/lookup?amid=" + testKey(t, 1).AMID().String()).want(200).has(object{
		"signing_public_key": "ed25519:" + testKey(t, 1).Public().Text(), "exchange_public_key": "x25519:" + exchangeKey(0)})
}

func testSecondRegistration(t *testing.T, url string) {
	h := start(t, url)
	for n, how := range map[byte]signing{1: strictly, 2: byTimestamp} {
		key := testKey(t, n)
		h.register(key, how)
		h.clock.pass(time.Minute)
		h.post("/v1/registry/register", key, how, object{
			"amid": key.AMID().String(), "signing_public_key": key.Public().Text(), "exchange_public_key": exchangeKey(1),
			"direct_endpoint": "/ip4/192.0.2.1/udp/1", "relay_endpoint": "ws://127.0.0.1:8765/v1/connect",
		}).want(409).has(object{"success": false, "error": "AMID already registered", "updated": true, "tier": "anonymous", "code": "conflict"})
		h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(200).has(object{
			"exchange_public_key": exchangeKey(1), "display_name": nil, "capabilities": []string{},
			"direct_endpoint": "/ip4/192.0.2.1/udp/1", "relay_endpoint": "ws://127.0.0.1:8765/v1/connect",
		})
	}
}

// A timestamp that a relay was given changes nothing of an agent that signs its requests.
func testStrictRefusesTimestamps(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	h.register(key, strictly)
	h.post("/v1/registry/register", key, byTimestamp, profile(key)).want(401).code(wire.CodeSignatureRequired)
	h.post("/v1/registry/register", key, strictly, profile(key)).want(409)
}

func testStrictStartsOver(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	planted := profile(key)
	planted["exchange_public_key"], planted["display_name"] = exchangeKey(3), "not Ann"
	h.post("/v1/registry/register", key, byTimestamp, planted).want(201)
	h.clock.pass(time.Hour)
	h.register(key, strictly)
	h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(200).has(object{
		"exchange_public_key": exchangeKey(0), "display_name": "Ann"})
	h.post("/v1/registry/register", key, byTimestamp, planted).want(401).code(wire.CodeSignatureRequired)
}

func testKeysAreChecked(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	lowOrder := b64(make([]byte, 32))
	for name, c := range map[string]struct {
		member, value string
		status        int
		code          wire.Code
	}{
		"signing key of another":      {"signing_public_key", testKey(t, 2).Public().Text(), 401, wire.CodeSignatureInvalid},
		"no signing key":              {"signing_public_key", "ed25519:abc", 400, wire.CodeKeyInvalid},
		"signing key of small order":  {"signing_public_key", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 400, wire.CodeKeyInvalid},
		"exchange key of low order":   {"exchange_public_key", lowOrder, 400, wire.CodeKeyInvalid},
		"exchange key not canonical":  {"exchange_public_key", b64([]byte(strings.Repeat("\xff", 32))), 400, wire.CodeKeyInvalid},
		"exchange key of 31 bytes":    {"exchange_public_key", b64(make([]byte, 31)), 400, wire.CodeKeyInvalid},
		"no exchange key":             {"exchange_public_key", "", 400, wire.CodeKeyInvalid},
		"another AMID":                {"amid", testKey(t, 2).AMID().String(), 401, wire.CodeSignatureInvalid},
		"an AMID that is none":        {"amid", "ann", 400, wire.CodeInvalid},
		"an AMID with a letter off":   {"amid", "l" + key.AMID().String()[1:], 400, wire.CodeInvalid},
		"an AMID that no row can say": {"amid", "\x00", 400, wire.CodeInvalid},
	} {
		body := profile(key)
		body[c.member] = c.value
		a := h.post("/v1/registry/register", key, byTimestamp, body)
		if a.status != c.status || a.body["code"] != string(c.code) || a.body["success"] != false {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(404)
}

func testLengths(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	long := strings.Repeat("x", 600)
	for name, c := range map[string]struct {
		member string
		value  any
	}{
		"name":                         {"display_name", long},
		"name with a NUL":              {"display_name", "Ann\x00"},
		"name with an escape":          {"display_name", "\x1b[2J"},
		"relay":                        {"relay_endpoint", "wss://" + long},
		"relay without a host":         {"relay_endpoint", "wss://"},
		"relay that is no WebSocket":   {"relay_endpoint", "javascript:alert(1)"},
		"direct endpoint":              {"direct_endpoint", long},
		"direct endpoint in words":     {"direct_endpoint", "over there"},
		"capability":                   {"capabilities", []string{long}},
		"empty capability":             {"capabilities", []string{""}},
		"many capabilities":            {"capabilities", strings.Split(strings.Repeat("a,", 64)+"a", ",")},
		"capabilities of another type": {"capabilities", "chat"},
		"name of another type":         {"display_name", 7},
	} {
		body := profile(key)
		body[c.member] = c.value
		if a := h.post("/v1/registry/register", key, strictly, body); a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	// And what just fits: two bytes a letter, and the same capability twice.
	body := profile(key)
	body["display_name"], body["capabilities"] = strings.Repeat("ü", 127), []string{"a", "a", strings.Repeat("x", 128)}
	h.post("/v1/registry/register", key, strictly, body).want(201)
}

func testUsedOnce(t *testing.T, url string) {
	h := start(t, url)
	for n, how := range map[byte]signing{1: strictly, 2: byTimestamp} {
		key := testKey(t, n)
		var last *http.Request
		keep := http.DefaultClient.Transport
		http.DefaultClient.Transport = transport(func(r *http.Request) (*http.Response, error) {
			last = r.Clone(context.Background())
			return http.DefaultTransport.RoundTrip(r)
		})
		h.post("/v1/registry/register", key, how, profile(key)).want(201)
		http.DefaultClient.Transport = keep
		again := func() answer {
			last.Body, _ = last.GetBody()
			return h.do(last)
		}
		again().want(401).code(wire.CodeSignatureInvalid)
		// At another registry over the same database, too.
		other := start(t, url)
		last.URL.Host = strings.TrimPrefix(other.url, "http://")
		last.Host = ""
		again().want(401).code(wire.CodeSignatureInvalid)
		h.clock.pass(10 * time.Minute)
		again().want(401).code(wire.CodeSignatureInvalid)
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Somebody who sees that a request was refused cannot send its timestamp with another.
func testRefusedIsUsed(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	body := profile(key)
	body["exchange_public_key"] = "none"
	h.post("/v1/registry/register", key, byTimestamp, body).want(400)
	body["exchange_public_key"] = exchangeKey(3)
	h.post("/v1/registry/register", key, unsigned, body).want(401).code(wire.CodeSignatureInvalid)
	h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(404)
}

func testHeaderOfAnother(t *testing.T, url string) {
	h := start(t, url)
	h.post("/v1/registry/register", testKey(t, 2), strictly, profile(testKey(t, 1))).want(401).code(wire.CodeSignatureInvalid)
}

func TestRequestsThatAreNone(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url, func(c *Config) {
			c.Limits = DefaultLimits()
			c.Limits.BodyBytes = 1000
		})
		post := func(contentType, body string) answer {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/registry/register", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", contentType)
			return h.do(r)
		}
		const json = "application/json; charset=utf-8"
		post("", "{}").want(415).code(wire.CodeMediaType)
		post("text/plain", "{}").want(415).code(wire.CodeMediaType)
		for _, bad := range []string{"", "x", "[]", "null", `{"amid":1,"amid":2}`, `{"amid":1,"AMID":2}`, "{} {}", `{"a":"` + "\xff" + `"}`} {
			post(json, bad).want(400).code(wire.CodeMalformed)
		}
		post(json, "{}").want(400).code(wire.CodeInvalid)
		post(json, `{"amid":"`+testKey(t, 1).AMID().String()+`","signing_public_key":[]}`).want(400).code(wire.CodeKeyInvalid)
		post(json, `{"amid":"`+strings.Repeat("x", 1000)+`"}`).want(413).code(wire.CodeTooLarge)
		h.get("/v1/registry/nothing").want(404).code(wire.CodeNoRoute)
		a := h.get("/v1/registry/register").want(405).code(wire.CodeNoRoute)
		if a.header.Get("Allow") != "POST" {
			t.Errorf("Allow: %q", a.header.Get("Allow"))
		}
		h.get("/v1/registry/lookup").want(400).code(wire.CodeInvalid)
	}})
}

// The rates of two addresses and of two agents are their own.
func TestRates(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url, func(c *Config) {
			c.Limits = DefaultLimits()
			c.Limits.AddressRate, c.Limits.AddressBurst, c.Limits.AgentRate, c.Limits.AgentBurst = 1, 6, 0.1, 2
		})
		key, other := testKey(t, 1), testKey(t, 2)
		again := func(k byte) answer {
			return h.post("/v1/registry/register", testKey(t, k), strictly, profile(testKey(t, k)))
		}
		h.register(key, strictly)
		again(1).want(409)
		if a := again(1).want(429).code(wire.CodeRateLimited); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		h.register(other, strictly)
		h.get("/v1/registry/lookup").want(400)
		h.get("/v1/registry/lookup").want(400)
		h.get("/v1/registry/lookup").want(429).code(wire.CodeRateLimited)
		h.clock.pass(time.Minute)
		again(1).want(409)
	}})
}

// Before the database is there everything says so; Run waits for it.
func TestStartsWithoutDatabase(t *testing.T) {
	s, err := New(Config{Open: func(context.Context) (*db.DB, error) { return nil, context.DeadlineExceeded }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/registry/lookup?amid=x", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"error":"Service is starting up","status":"starting"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunReturnsWhatNoWaitingCures(t *testing.T) {
	s, err := New(Config{Open: func(context.Context) (*db.DB, error) { return nil, db.ErrNewer }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, db.ErrNewer) {
		t.Error(err)
	}
}
