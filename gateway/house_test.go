package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway/agents"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/discovery"
	"amesh/gateway/store"
)

// lists is what the operator has written down, in memory.
type lists struct {
	mu      sync.Mutex
	agents  []store.Agent
	keys    []store.APIKey
	domains []store.Domain
	version int64
}

func (l *lists) Agents(context.Context) ([]store.Agent, error)  { return l.agents, nil }
func (l *lists) AgentsVersion(context.Context) (int64, error)   { return l.version, nil }
func (l *lists) UpdateAgent(context.Context, store.Agent) error { return errors.ErrUnsupported }
func (l *lists) RemoveAgent(context.Context, string) error      { return errors.ErrUnsupported }
func (l *lists) Touch(context.Context, []store.Touched) error   { return nil }
func (l *lists) Domains(context.Context) ([]store.Domain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.domains, nil
}
func (l *lists) block(domain string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.domains = append(l.domains, store.Domain{Name: domain, State: store.DomainBlocked})
}
func (l *lists) APIKeys(context.Context) ([]store.APIKey, error) { return l.keys, nil }
func (l *lists) UpdateAPIKey(context.Context, store.APIKey) error {
	return errors.ErrUnsupported
}
func (l *lists) RemoveAPIKey(context.Context, string) error { return errors.ErrUnsupported }
func (l *lists) TouchAPIKeys(context.Context, map[string]time.Time) error {
	return nil
}
func (l *lists) SetAgentKey(context.Context, string, []byte, time.Time) error {
	return errors.ErrUnsupported
}
func (l *lists) AddAgent(_ context.Context, a store.Agent, _ bool) error {
	l.agents, l.version = append(l.agents, a), l.version+1
	return nil
}
func (l *lists) AddAPIKey(_ context.Context, k store.APIKey) error {
	l.keys = append(l.keys, k)
	return nil
}

// house is a gateway of north.test whose door is open, without a database behind it.
type house struct {
	*Server
	t     *testing.T
	lists *lists
	now   time.Time
	// Keys of ann and bob, and of clients: of our domain, of south.test to send and only
	// to read, and one that has expired.
	ann, bob, ours, south, reader, over string
}

const adminKey = "the-admin-key-of-the-house"

func newHouse(t *testing.T, change func(*Config)) *house {
	t.Helper()
	h := &house{t: t, lists: &lists{}, now: time.Now()}
	clock := func() time.Time { return h.now }
	file := filepath.Join(t.TempDir(), "admin.keys")
	if err := os.WriteFile(file, []byte(adminKey), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Server = closed(t, func(c *Config) {
		c.Domain, c.Clock, c.Admins = "north.test", clock, auth.NewAdminKeys(file, clock)
		c.Discovery = discovery.Config{Mock: true, MockRecords: map[string]string{
			"south.test": "v=amtp1;gateway=https://gw.south.test", "west.test": "v=amtp1;gateway=https://192.0.2.7",
		}}
		if change != nil {
			change(c)
		}
	})
	dir, err := agents.New(agents.Config{Domain: "north.test", Rows: h.lists, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	keys := auth.NewAPIKeys(h.lists, clock, slog.New(slog.DiscardHandler))
	p := &parts{agents: dir, keys: keys, domains: &domains{rows: h.lists, log: h.log}}
	for name, key := range map[string]*string{"Ann": &h.ann, "bob": &h.bob} {
		if _, *key, err = dir.Register(t.Context(), agents.Registration{Address: name, Mode: "pull"}); err != nil {
			t.Fatal(err)
		}
	}
	h.ours = h.client("north.test", []string{auth.ScopeSend}, time.Time{}, keys)
	h.south = h.client("south.test", []string{auth.ScopeSend}, time.Time{}, keys)
	h.reader = h.client("south.test", []string{auth.ScopeRead}, time.Time{}, keys)
	h.over = h.client("south.test", nil, h.now.Add(time.Minute), keys)
	h.now = h.now.Add(time.Minute)
	h.parts.Store(p)
	return h
}

func (h *house) client(domain string, scopes []string, end time.Time, keys *auth.APIKeys) string {
	h.t.Helper()
	_, key, err := keys.Make(h.t.Context(), "test", domain, scopes, end)
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

// asks is a request as it comes to a handler. Headers are name, value, ….
func (h *house) asks(body string, state *tls.ConnectionState, headers ...string) *request {
	hr := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		hr.Header.Add(headers[i], headers[i+1])
	}
	hr.TLS = state
	return &request{Request: hr, client: hr.Context(), parts: h.parts.Load(), from: remote(hr), now: h.now, raw: []byte(body)}
}

func written(sender string) string {
	return fmt.Sprintf(`{"version":"1.0","sender":%q,"recipients":["bob@north.test"],"payload":{}}`, sender)
}

// judge is what the gateway thinks of a sender who shows this.
func (h *house) judge(sender string, state *tls.ConnectionState, headers ...string) (standing, error) {
	h.t.Helper()
	r := h.asks(written(sender), state, headers...)
	m, err := amtp.Parse(r.raw, h.cfg.rules(h.now))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.standing(r, m)
}

// certificate is a connection whose client certificate was verified.
func certificate(names ...string) *tls.ConnectionState {
	leaf := &x509.Certificate{DNSNames: names}
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
}

// code is that of an error for a client, "" for none.
func code(t *testing.T, err error) amtp.Code {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*amtp.Error](err)
	if !ok {
		t.Errorf("not an error for a client: %v", err)
		return "?"
	}
	return e.Code
}
