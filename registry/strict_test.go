package registry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestStrict(t *testing.T)             { dbtest.SQLite(t, strictCases) }
func TestWithPostgresStrict(t *testing.T) { dbtest.Postgres(t, strictCases) }

var strictCases = dbtest.Cases{
	"T67 no endpoint takes a relay's timestamp of a strict agent": testNoEndpointTakesATimestamp,
	"T67 a timestamp is good once at each endpoint":               testTimestampAtEachEndpoint,
}

// unsignedRoutes are those, with other methods than GET, on which no agent's signature
// changes anything. One that is not here and takes no signature fails the test.
var unsignedRoutes = map[string]string{
	"POST /v1/auth/oauth/start":                "a person in a browser, with the state that a signed request made",
	"POST /v1/amesh/one-time-keys/{amid}/take": "hands out keys that are there for whoever asks",
	"POST /v1/registry/revocations/bulk":       "a question with a long list",
	"POST /v1/amesh/revocations":               "its body is signed by the key that it ends, and says nothing else",
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// captured is a request with what a relay has seen of an agent, a timestamp and its
// signature, in all the members in which a route could look for them.
func (h *harness) captured(rt route, key identity.PrivateKey, contentType, stamp string) answer {
	h.t.Helper()
	amid, sig := key.AMID().String(), b64(key.SignTimestamp(stamp))
	body := profile(key)
	for _, member := range []string{"amid", "from_amid", "revoker_amid", "reporter_amid", "admin_amid", "agent_amid", rt.signer.amid} {
		body[member] = amid
	}
	for _, member := range []string{"admin_signing_public_key", "agent_signing_public_key", rt.signer.key} {
		body[member] = key.Public().Text()
	}
	for _, member := range []string{"signature", "admin_signature", rt.signer.signature} {
		body[member] = sig
	}
	body["timestamp"], body["status"] = stamp, "online"
	delete(body, "")
	b, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(h.t.Context(), rt.method, h.url+wildcard.ReplaceAllString(rt.path, amid), bytes.NewReader(b))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return h.do(r)
}

// The table is the server's own list of routes, so a new one is in it.
func testNoEndpointTakesATimestamp(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, strictly)
	before := h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(200)
	tried := 0
	for _, rt := range h.server.routes {
		name := rt.method + " " + rt.path
		if rt.method == http.MethodGet || unsignedRoutes[name] != "" {
			if rt.change != nil {
				t.Errorf("%s changes something and is taken for a question", name)
			}
			continue
		}
		tried++
		refused := false
		for _, contentType := range []string{"application/json", wire.Binary, schemaType} {
			h.clock.pass(time.Second)
			a := h.captured(rt, key, contentType, h.clock.now().Format(time.RFC3339))
			if a.status < 400 {
				t.Errorf("%s was taken: %d %s", name, a.status, a.raw)
			}
			refused = refused || a.status == 401 && a.body["code"] == string(wire.CodeSignatureRequired)
		}
		if !refused {
			t.Errorf("%s: never refused for its signature: sign it, or say in the test why it changes nothing", name)
		}
	}
	if tried < 4 {
		t.Errorf("only %d routes were tried", tried)
	}
	after := h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(200)
	if before.raw != after.raw {
		t.Errorf("the agent was %s, is %s", before.raw, after.raw)
	}
}

// For an agent of 0.2 the same capture is worth one use at each endpoint, which 0.2
// cannot help, and no second one.
func testTimestampAtEachEndpoint(t *testing.T, url string) {
	h := start(t, url, generous)
	key := testKey(t, 1)
	h.register(key, byTimestamp)
	h.clock.pass(time.Second)
	stamp := h.clock.now().Format(time.RFC3339)
	for _, rt := range h.server.routes {
		if rt.change == nil {
			continue
		}
		if first := h.captured(rt, key, "application/json", stamp); first.body["code"] == string(wire.CodeSignatureInvalid) {
			t.Errorf("%s %s: the first use was refused: %s", rt.method, rt.path, first.raw)
		}
		h.captured(rt, key, "application/json", stamp).want(401).code(wire.CodeSignatureInvalid)
	}
}

// T67: a request that passed, with any one thing changed, passes nowhere.
func TestT67ChangedOnTheWay(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url, generous)
		key := testKey(t, 1)
		h.register(key, strictly)
		for name, change := range map[string]func(*http.Request, []byte) []byte{
			"body":   func(_ *http.Request, b []byte) []byte { return bytes.Replace(b, []byte("away"), []byte("dnd "), 1) },
			"spaces": func(_ *http.Request, b []byte) []byte { return append(b, ' ') },
			"path": func(r *http.Request, b []byte) []byte {
				r.URL.Path = "/v1/registry/capabilities"
				return b
			},
			"query": func(r *http.Request, b []byte) []byte {
				r.URL.RawQuery = "x"
				return b
			},
			"empty query": func(r *http.Request, b []byte) []byte {
				r.URL.ForceQuery = true
				return b
			},
			"escape in the path": func(r *http.Request, b []byte) []byte {
				r.URL.RawPath = "/v1/registry/%73tatus"
				return b
			},
			"header of another request": func(r *http.Request, b []byte) []byte {
				other, err := http.NewRequest(r.Method, r.URL.String(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := wire.SignRequest(other, nil, key, h.clock.now()); err != nil {
					t.Fatal(err)
				}
				r.Header.Set(wire.SignatureHeader, other.Header.Get(wire.SignatureHeader))
				return b
			},
			"header twice": func(r *http.Request, b []byte) []byte {
				r.Header.Add(wire.SignatureHeader, r.Header.Get(wire.SignatureHeader))
				return b
			},
			"for another registry": func(r *http.Request, b []byte) []byte {
				other := r.Clone(t.Context())
				other.URL.Host = "registry.example:443"
				if err := wire.SignRequest(other, b, key, h.clock.now()); err != nil {
					t.Fatal(err)
				}
				r.Header.Set(wire.SignatureHeader, other.Header.Get(wire.SignatureHeader))
				r.Host = "registry.example:443"
				return b
			},
		} {
			body := []byte(`{"amid":"` + key.AMID().String() + `","status":"away","capabilities":[]}`)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/registry/status", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			if err := wire.SignRequest(r, body, key, h.clock.now()); err != nil {
				t.Fatal(err)
			}
			body = change(r, body)
			r.Body, r.ContentLength = http.NoBody, 0
			if len(body) > 0 {
				fresh, err := http.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Body, r.ContentLength = fresh.Body, fresh.ContentLength
			}
			if a := h.do(r); a.status != 401 || a.body["code"] != string(wire.CodeSignatureInvalid) {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
		}
		h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(200).has(object{"status": "offline"})
	}})
}

// However many send one signature at the same time, others are asked once for it.
func TestT67OneSignatureAsksOthersOnce(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url, generous)
		key := testKey(t, 1)
		h.register(key, byTimestamp)
		var asked atomic.Int32
		rt := route{
			method: http.MethodPost, path: "/test", signer: signer{amid: "amid"},
			prepare: func(*request) error { asked.Add(1); return nil },
			change:  func(*db.Tx, *request) (reply, error) { return reply{body: wire.Done{Success: true}}, nil },
		}
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.server.serve(rt, w, r) }))
		defer web.Close()
		defer http.DefaultClient.CloseIdleConnections()
		h.url = web.URL
		h.clock.pass(time.Second)
		stamp := h.clock.now().Format(time.RFC3339)
		var passed atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if h.captured(rt, key, "application/json", stamp).status == http.StatusOK {
					passed.Add(1)
				}
			})
		}
		wg.Wait()
		if asked.Load() != 1 || passed.Load() != 1 {
			t.Errorf("asked %d times, %d passed", asked.Load(), passed.Load())
		}
	}})
}
