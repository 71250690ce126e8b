package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/registry/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)

// house is a registry of a few lines, whose answers a test writes.
type house struct {
	t      *testing.T
	url    string
	legacy bool // as 0.2: what it does not know is an empty 404
	mux    *http.ServeMux

	mu   sync.Mutex
	seen []seen
}

// seen is a request that came, but for the question what kind of registry this is.
type seen struct {
	*http.Request
	body []byte
}

func newHouse(t *testing.T, legacy bool) *house {
	t.Helper()
	h := &house{t: t, legacy: legacy, mux: http.NewServeMux()}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Error(err)
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		if h.legacy {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		sayJSON(w, http.StatusNotFound, wire.Errorf(404, wire.CodeNoRoute, "no such endpoint"))
		return
	}
	h.mu.Lock()
	h.seen = append(h.seen, seen{r, body})
	h.mu.Unlock()
	h.mux.ServeHTTP(w, r)
}

// say has the registry answer a route with JSON.
func (h *house) say(route string, status int, v any) {
	h.mux.HandleFunc(route, func(w http.ResponseWriter, _ *http.Request) { sayJSON(w, status, v) })
}

func sayJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (h *house) last() seen {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen) == 0 {
		h.t.Fatal("nothing was asked")
	}
	return h.seen[len(h.seen)-1]
}

func (h *house) client(change func(*Config)) *Client {
	h.t.Helper()
	cfg := Config{URL: h.url, Clock: func() time.Time { return noon }}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(c.Close)
	return c
}

func allowed(c *Config) { c.AllowLegacy = true }

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	k, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// exchange is a key that is good for an exchange.
var exchange = [32]byte{9}

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{
		"http://h:8080": "http://h:8080", "HTTPS://Reg.Example/": "https://reg.example", "https://h/base//": "https://h/base",
		"h:8080": "", "ftp://h": "", "http://": "", "http://u:p@h": "", "http://h?x=1": "", "http://h#x": "", "http://[": "",
	} {
		got, err := ParseURL(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// What is signed for an amesh registry is worth nothing anywhere else: there is no
// signed timestamp in it.
func TestWholeRequestsAreSignedForOurRegistries(t *testing.T) {
	h := newHouse(t, false)
	h.say("POST /v1/registry/status", 200, wire.Done{Success: true})
	key := newKey(t)
	c := h.client(allowed)
	if err := c.SetStatus(t.Context(), key, wire.StatusOnline); err != nil {
		t.Fatal(err)
	}
	r := h.last()
	if c.Kind() != KindAmesh {
		t.Errorf("kind %s", c.Kind())
	}
	r.Request.Host = strings.TrimPrefix(h.url, "http://")
	names := dialled.Names{r.Request.Host}
	if p, err := wire.VerifyRequest(r.Request, r.body, names, noon); err != nil || p.AMID != key.AMID() {
		t.Errorf("signature: %v", err)
	}
	if strings.Contains(string(r.body), "signature") || strings.Contains(string(r.body), "timestamp") {
		t.Errorf("the body has a stamp: %s", r.body)
	}
}

// A registry of 0.2 gets what it understands, when the owner allows it, and each stamp is
// another second.
func TestStampsForLegacyRegistries(t *testing.T) {
	h := newHouse(t, true)
	h.say("POST /v1/registry/status", 200, wire.Done{Success: true})
	key := newKey(t)
	if err := h.client(nil).SetStatus(t.Context(), key, wire.StatusOnline); !errors.Is(err, ErrLegacy) || Next(err) == "" {
		t.Fatalf("not allowed: %v", err)
	}
	if len(h.seen) > 0 {
		t.Fatal("something was sent all the same")
	}
	c := h.client(allowed)
	stamps := make(map[string]bool)
	for range 3 {
		if err := c.SetStatus(t.Context(), key, wire.StatusOnline); err != nil {
			t.Fatal(err)
		}
		r := h.last()
		var b wire.StatusRequest
		if err := json.Unmarshal(r.body, &b); err != nil {
			t.Fatal(err)
		}
		if r.Header.Get(wire.SignatureHeader) != "" || !strings.HasSuffix(b.Timestamp, "+00:00") || len(b.Timestamp) != len("2026-02-01T12:00:00+00:00") {
			t.Errorf("stamp %q", b.Timestamp)
		}
		if _, err := wire.VerifyTimestamp(key.Public(), b.Timestamp, b.Signature, noon); err != nil {
			t.Error(err)
		}
		stamps[b.Timestamp] = true
	}
	if len(stamps) != 3 {
		t.Errorf("stamps %v, a registry takes each once", stamps)
	}
	if c.Kind() != KindLegacy {
		t.Errorf("kind %s", c.Kind())
	}
	if err := c.PutRecord(t.Context(), key, []byte("x")); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a record for a 0.2 registry: %v", err)
	}
}

// A registry that once took signatures over the whole request gets no other, whoever
// answers in its place.
func TestNoDowngrade(t *testing.T) {
	h := newHouse(t, true)
	c := h.client(func(cfg *Config) { cfg.Pinned, cfg.AllowLegacy = true, true })
	key := newKey(t)
	err := c.SetStatus(t.Context(), key, wire.StatusOnline)
	if !errors.Is(err, ErrDowngrade) || Next(err) == "" {
		t.Errorf("%v, want ErrDowngrade", err)
	}
	for _, r := range h.seen {
		if strings.Contains(string(r.body), "signature") {
			t.Errorf("it got a stamp: %s", r.body)
		}
	}
}

// Whatever a hostile server answers, it costs a bounded time and memory, and leads
// nowhere else.
func TestHostileAnswers(t *testing.T) {
	elsewhere := newHouse(t, false)
	elsewhere.say("GET /v1/registry/stats", 200, wire.Stats{})
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.url+"/v1/registry/stats", http.StatusTemporaryRedirect)
		}, ErrMalformed},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"total_agents":1,"x":"`+strings.Repeat("x", 2<<20)+`"}`)
		}, ErrMalformed},
		"html": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, ErrMalformed},
		"broken json": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
		}, ErrMalformed},
		"silence": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrUnreachable},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(200)
		}, ErrUnreachable},
	} {
		h := newHouse(t, false)
		h.mux.HandleFunc("GET /v1/registry/stats", c.answer)
		cl := h.client(func(cfg *Config) {
			cfg.Limits = DefaultLimits()
			if name == "silence" {
				cfg.Limits.Timeout = 50 * time.Millisecond
			}
		})
		if _, err := cl.Stats(t.Context()); !errors.Is(err, c.want) || Next(err) == "" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if len(elsewhere.seen) > 0 {
		t.Error("a redirect was followed")
	}
	c, err := New(Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stats(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := c.Stats(ended); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("the caller's own end: %v", err)
	}
}

func TestRefusalsSayWhatAndWhatNext(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		body   string
		says   string
		code   string
		retry  time.Duration
	}{
		"ours":       {429, "7", `{"error":"too many requests","code":"rate_limited"}`, "too many requests", "rate_limited", 7 * time.Second},
		"0.2's":      {401, "", `{"error":"Signature verification failed: Invalid timestamp format"}`, "Signature verification failed: Invalid timestamp format", "", 0},
		"terminal":   {400, "", "{\"error\":\"a\\u001b[31mb\\u202ec\"}", "a[31mbc", "", 0},
		"a long one": {500, "", `{"error":"` + strings.Repeat("é", 300) + `"}`, strings.Repeat("é", 100) + "…", "", 0},
		"nothing":    {503, "-1", "", "", "", 0},
	} {
		h := newHouse(t, false)
		h.mux.HandleFunc("GET /v1/registry/stats", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		_, err := h.client(nil).Stats(t.Context())
		no, ok := errors.AsType[*StatusError](err)
		if !ok || no.Status != c.status || no.Says != c.says || no.Code != c.code || no.RetryAfter != c.retry || no.Next() == "" {
			t.Errorf("%s: %#v", name, err)
		}
	}
}
