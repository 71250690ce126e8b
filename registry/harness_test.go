package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(dbtest.Main{M: m}) }

var noon = time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that only tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// pass lets time pass.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// harness is a running registry and a client of it.
type harness struct {
	t      *testing.T
	server *Server
	url    string
	clock  *clock
}

// object is JSON.
type object map[string]any

// start runs a registry on the database at a URL. Its clock stands at noon.
func start(t *testing.T, url string, change ...func(*Config)) *harness {
	t.Helper()
	h := &harness{t: t, clock: &clock{at: noon}}
	cfg := Config{
		Open:  func(ctx context.Context) (*db.DB, error) { return db.Open(ctx, url) },
		Clock: h.clock.now,
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	h.url = web.URL
	t.Cleanup(func() {
		web.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// signing is a way to sign a request.
type signing int

const (
	strictly    signing = iota // the whole request
	byTimestamp                // as the SDKs do
	unsigned
)

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   object
	raw    string
}

func (h *harness) get(path string) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.do(r)
}

// post sends a body that is signed by a key. Timestamps go on by a millisecond with
// every request, as they do in life.
func (h *harness) post(path string, key identity.PrivateKey, how signing, body object) answer {
	h.t.Helper()
	if how == byTimestamp {
		h.clock.pass(time.Millisecond)
		stamp := h.clock.now().Format("2006-01-02T15:04:05.000Z07:00")
		body["timestamp"], body["signature"] = stamp, b64(key.SignTimestamp(stamp))
	}
	b, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+path, bytes.NewReader(b))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if how == strictly {
		if err := wire.SignRequest(r, b, key, h.clock.now()); err != nil {
			h.t.Fatal(err)
		}
	}
	return h.do(r)
}

func (h *harness) do(r *http.Request) answer {
	h.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	a := answer{t: h.t, status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.body)
	return a
}

// want checks the status, and returns the answer for more.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.raw)
	}
	return a
}

// code checks the code of a refusal.
func (a answer) code(c wire.Code) answer {
	a.t.Helper()
	if got, _ := a.body["code"].(string); got != string(c) {
		a.t.Fatalf("code %q, want %q: %s", got, c, a.raw)
	}
	return a
}

// has checks members of the answer.
func (a answer) has(want object) answer {
	a.t.Helper()
	for k, v := range want {
		got, err := json.Marshal(a.body[k])
		if err != nil {
			a.t.Fatal(err)
		}
		if b, _ := json.Marshal(v); string(b) != string(got) {
			a.t.Errorf("%s is %s, want %s: %s", k, got, b, a.raw)
		}
	}
	return a
}

func testKey(t *testing.T, n byte) identity.PrivateKey {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// exchangeKey is an X25519 key in base64: u = 9 and other small numbers of large order.
func exchangeKey(n byte) string { return b64(append([]byte{9 + n}, make([]byte, 31)...)) }

// profile is the body with which a key registers.
func profile(key identity.PrivateKey) object {
	return object{
		"amid": key.AMID().String(), "signing_public_key": "ed25519:" + key.Public().Text(),
		"exchange_public_key": "x25519:" + exchangeKey(0), "display_name": "Ann",
		"capabilities": []string{"chat"}, "relay_endpoint": "wss://relay.example/v1/connect",
	}
}

// register registers a key.
func (h *harness) register(key identity.PrivateKey, how signing) {
	h.t.Helper()
	h.post("/v1/registry/register", key, how, profile(key)).want(http.StatusCreated)
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
