package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
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
	"amesh/gateway/signature"
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
func (l *lists) AddAgent(_ context.Context, a store.Agent) error {
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

// Every way to prove something, for every sender that it does not prove (T86, checklist 94).
func TestSenderProvesItsOwnNameT86(t *testing.T) {
	h := newHouse(t, nil)
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	unverified := certificate("south.test")
	unverified.VerifiedChains = nil
	const (
		none     = amtp.Code("")
		required = amtp.CodeLocalSenderAuthRequired
		mismatch = amtp.CodeSenderCredentialMismatch
		foreign  = amtp.CodeSenderDomainMismatch
	)
	for _, c := range []struct {
		name    string
		sender  string
		state   *tls.ConnectionState
		headers []string
		want    amtp.Code
		origin  string
		method  string
		known   bool
	}{
		{"ann with her key", "Ann@north.test", nil, bearer(h.ann), none, "north.test", "agent_key", true},
		{"ann in other letters", "ann@NORTH.test", nil, bearer(h.ann), none, "north.test", "agent_key", true},
		{"ann with our client's key", "Ann@north.test", nil, bearer(h.ours), none, "north.test", "apikey", true},
		{"ann with our client's key in its header", "Ann@north.test", nil, []string{"X-API-Key", h.ours}, none, "north.test", "apikey", true},
		{"ann with nothing", "Ann@north.test", nil, nil, required, "", "", false},
		{"ann with basic auth", "Ann@north.test", nil, []string{"Authorization", "Basic abc"}, required, "", "", false},
		{"ann with an empty bearer", "Ann@north.test", nil, bearer(""), required, "", "", false},
		{"ann with two bearers", "Ann@north.test", nil, append(bearer(h.ann), bearer(h.bob)...), required, "", "", false},
		{"ann with bob's key", "Ann@north.test", nil, bearer(h.bob), mismatch, "", "", false},
		{"ann with nobody's key", "Ann@north.test", nil, bearer("nope"), mismatch, "", "", false},
		{"ann with south's key", "Ann@north.test", nil, bearer(h.south), mismatch, "", "", false},
		{"ann with the admin key", "Ann@north.test", nil, []string{"X-Admin-Key", adminKey}, required, "", "", false},
		{"ann with the admin key as hers", "Ann@north.test", nil, bearer(adminKey), mismatch, "", "", false},
		{"ann with a wrong admin key", "Ann@north.test", nil, []string{"X-Admin-Key", "nope"}, mismatch, "", "", false},
		{"ann from south's gateway", "Ann@north.test", certificate("south.test"), nil, required, "", "", false},
		{"ann with a key that has expired", "Ann@north.test", nil, bearer(h.over), amtp.CodeTokenExpired, "", "", false},
		{"a name that nobody has, with ann's key", "carol@north.test", nil, bearer(h.ann), mismatch, "", "", false},

		{"south with nothing", "sam@south.test", nil, nil, none, "unverified:south.test", "", false},
		{"south with its certificate", "sam@south.test", certificate("south.test"), nil, none, "south.test", "mtls", true},
		{"south with its gateway's certificate", "sam@south.test", certificate("gw.south.test"), nil, none, "south.test", "mtls", true},
		{"south with its key", "sam@south.test", nil, bearer(h.south), none, "south.test", "apikey", true},
		{"south with an unverified certificate", "sam@south.test", unverified, nil, none, "unverified:south.test", "", false},
		{"west with south's certificate", "wes@west.test", certificate("south.test"), nil, foreign, "", "", false},
		{"west with south's gateway's certificate", "wes@west.test", certificate("gw.south.test"), nil, foreign, "", "", false},
		{"west with a certificate for all", "wes@west.test", certificate("*.test"), nil, none, "unverified:west.test", "", false},
		{"west with south's key", "wes@west.test", nil, bearer(h.south), foreign, "", "", false},
		{"west with ann's key", "wes@west.test", nil, bearer(h.ann), foreign, "", "", false},
		{"west with nobody's key", "wes@west.test", nil, bearer("nope"), amtp.CodeInvalidCredentials, "", "", false},
		{"south with a key to read", "sam@south.test", nil, bearer(h.reader), amtp.CodeAccessDenied, "", "", false},
		{"south with a key that has expired", "sam@south.test", nil, bearer(h.over), amtp.CodeTokenExpired, "", "", false},
		{"south with the admin key", "sam@south.test", nil, []string{"X-Admin-Key", adminKey}, none, "unverified:south.test", "", false},
		{"a domain below south with its key", "sam@a.south.test", nil, bearer(h.south), foreign, "", "", false},
		{"a domain without a gateway", "eve@nowhere.test", nil, nil, none, "unverified:nowhere.test", "", false},
	} {
		got, err := h.judge(c.sender, c.state, c.headers...)
		if code(t, err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
			continue
		}
		if err != nil {
			continue
		}
		method := ""
		if got.verification != nil && got.verification.Result == amtp.Authenticated {
			method = got.verification.Method
		}
		if got.origin != c.origin || method != c.method || got.known != c.known || got.proven() != (c.method != "") {
			t.Errorf("%s: origin %q, method %q, known %v, proven %v", c.name, got.origin, method, got.known, got.proven())
		}
	}
}

// T86: of a thousand gateways that show something and name somebody, those only are let in as
// somebody who named whom they proved to be.
func TestNobodyIsTakenForAnotherDomainT86(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Rates.Off = true })
	locals := []string{"Ann", "bob", "sam", "Sam", "carol"}
	domains := []string{"north.test", "south.test", "west.test", "a.south.test", "xsouth.test", "gw.south.test", "north.test.evil.test"}
	keys := map[string]string{h.ann: "north.test", h.bob: "north.test", h.ours: "north.test", h.south: "south.test", "": "", "nope": ""}
	certified := map[string]string{"south.test": "south.test", "gw.south.test": "south.test", "west.test": "west.test", "*.test": "", "": ""}
	cases := 0
	for key, ofKey := range keys {
		for name, ofName := range certified {
			for _, local := range locals {
				for _, domain := range domains {
					cases++
					var state *tls.ConnectionState
					if name != "" {
						state = certificate(name)
					}
					var headers []string
					if key != "" {
						headers = []string{"Authorization", "Bearer " + key}
					}
					got, err := h.judge(local+"@"+domain, state, headers...)
					if err != nil || !got.proven() {
						if err == nil && got.origin != "unverified:"+domain {
							t.Errorf("%s@%s without proof has origin %s", local, domain, got.origin)
						}
						continue
					}
					byKey := ofKey == domain && (key != h.ann || local == "Ann") && (key != h.bob || local == "bob")
					byName := domain != "north.test" && (ofName == domain || name == domain)
					if got.origin != domain || !byKey && !byName {
						t.Errorf("%s@%s is let in as %s with a key of %q and a certificate of %q", local, domain, got.origin, ofKey, name)
					}
				}
			}
		}
	}
	if cases < 1000 {
		t.Errorf("only %d", cases)
	}
}

// What comes from the address of a domain's gateway makes it known, and proves nothing.
func TestAddressOfAGatewayProvesNothing(t *testing.T) {
	h := newHouse(t, nil)
	r := h.asks(written("wes@west.test"), nil)
	r.from = netip.MustParseAddr("192.0.2.7")
	m, err := amtp.Parse(r.raw, h.cfg.rules(h.now))
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.standing(r, m)
	if err != nil || !got.known || got.proven() || got.origin != "unverified:west.test" || got.verification.Method != "address" || got.verification.Result != amtp.Unsigned {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLocalSendersAsTheOperatorWants(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  LocalSenders
		require bool
		key     func(*house) string
		want    amtp.Code
		result  amtp.Result
	}{
		{"off, nothing shown", NoKey, false, func(*house) string { return "" }, "", ""},
		{"off, another one's key", NoKey, false, func(h *house) string { return h.bob }, "", ""},
		{"off, nobody's key", NoKey, false, func(*house) string { return "nope" }, "", ""},
		{"off, her key", NoKey, false, func(h *house) string { return h.ann }, "", amtp.Authenticated},
		{"off, but all must show something", NoKey, true, func(*house) string { return "" }, amtp.CodeAuthenticationRequired, ""},
		{"off, all must show something, another one's key", NoKey, true, func(h *house) string { return h.bob }, amtp.CodeSenderCredentialMismatch, ""},
		{"flag, nothing shown", FlagKey, false, func(*house) string { return "" }, "", amtp.TrustedInternal},
		{"flag, her key", FlagKey, false, func(h *house) string { return h.ann }, "", amtp.Authenticated},
		{"flag, another one's key", FlagKey, false, func(h *house) string { return h.bob }, amtp.CodeSenderCredentialMismatch, ""},
		{"require, nothing shown", RequireKey, false, func(*house) string { return "" }, amtp.CodeLocalSenderAuthRequired, ""},
	} {
		h := newHouse(t, func(cfg *Config) { cfg.Auth.LocalSenders, cfg.Auth.Require = c.policy, c.require })
		var headers []string
		if key := c.key(h); key != "" {
			headers = []string{"Authorization", "Bearer " + key}
		}
		got, err := h.judge("Ann@north.test", nil, headers...)
		if code(t, err) != c.want {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var result amtp.Result
		if got.verification != nil {
			result = got.verification.Result
		}
		if result != c.result || err == nil && got.origin != "north.test" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// require_auth and its methods are what they say.
func TestOnlyTheMethodsOfTheListCount(t *testing.T) {
	for _, c := range []struct {
		name    string
		methods []auth.Method
		state   *tls.ConnectionState
		key     bool
		want    amtp.Code
	}{
		{"nothing shown", nil, nil, false, amtp.CodeAuthenticationRequired},
		{"a key", nil, nil, true, ""},
		{"a certificate", nil, certificate("south.test"), false, ""},
		{"a key where only certificates count", []auth.Method{auth.ByCertificate}, nil, true, amtp.CodeInvalidCredentials},
		{"a key where only tokens count", []auth.Method{auth.ByOAuth}, nil, true, amtp.CodeInvalidCredentials},
		{"a certificate where only keys count", []auth.Method{auth.ByAPIKey}, certificate("south.test"), false, amtp.CodeAuthenticationRequired},
		{"a foreign certificate where only keys count", []auth.Method{auth.ByAPIKey}, certificate("west.test"), true, ""},
	} {
		h := newHouse(t, func(cfg *Config) { cfg.Auth.Require, cfg.Auth.Methods = true, c.methods })
		var headers []string
		if c.key {
			headers = []string{"Authorization", "Bearer " + h.south}
		}
		if _, err := h.judge("sam@south.test", c.state, headers...); code(t, err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSignatureAndPolicy(t *testing.T) {
	key, err := signature.Generate("k1")
	if err != nil {
		t.Fatal(err)
	}
	unsigned := fmt.Sprintf(`{"version":"1.0","message_id":%q,"idempotency_key":%q,"timestamp":"2026-11-20T09:00:00Z","sender":"sam@south.test","recipients":["bob@north.test"],"payload":{"n":1}}`,
		amtp.NewMessageID(time.Now()), amtp.NewKey())
	signed, err := key.Sign([]byte(unsigned))
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(signed), `"n":1`, `"n":2`, 1)
	for _, c := range []struct {
		name   string
		policy signature.Policy
		body   string
		state  *tls.ConnectionState
		want   amtp.Code
		result amtp.Result
		origin string
	}{
		{"signed", signature.Reject, string(signed), nil, "", amtp.Verified, "south.test"},
		{"not signed", signature.Flag, unsigned, nil, "", amtp.Unsigned, "unverified:south.test"},
		{"not signed, rejected", signature.Reject, unsigned, nil, amtp.CodeSignatureRequired, "", ""},
		{"not signed, but certified", signature.Reject, unsigned, certificate("south.test"), "", amtp.Authenticated, "south.test"},
		{"not signed, nobody asks", signature.Accept, unsigned, nil, "", "", "unverified:south.test"},
		{"forged", signature.Flag, forged, nil, "", amtp.Invalid, "unverified:south.test"},
		{"forged, rejected", signature.Reject, forged, nil, amtp.CodeSignatureInvalid, "", ""},
		{"forged, rejected though certified", signature.Reject, forged, certificate("south.test"), amtp.CodeSignatureInvalid, "", ""},
		{"signed, brought by another one's gateway", signature.Reject, string(signed), certificate("west.test"), "", amtp.Verified, "south.test"},
		{"forged, brought by another one's gateway", signature.Flag, forged, certificate("west.test"), amtp.CodeSenderDomainMismatch, "", ""},
		{"not signed, brought by another one's gateway", signature.Accept, unsigned, certificate("west.test"), amtp.CodeSenderDomainMismatch, "", ""},
	} {
		h := newHouse(t, func(cfg *Config) {
			cfg.Auth.Verify = c.policy
			cfg.Discovery.MockRecords["k1._amtpkey.south.test"] = key.Record()
		})
		r := h.asks(c.body, c.state)
		m, err := amtp.Parse(r.raw, h.cfg.rules(h.now))
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.standing(r, m)
		if code(t, err) != c.want {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var result amtp.Result
		if got.verification != nil {
			result = got.verification.Result
		}
		if err == nil && (result != c.result || got.origin != c.origin) {
			t.Errorf("%s: %+v %+v", c.name, got, got.verification)
		}
	}
}

// T87: a block counts for the domain and all below it.
func TestBlockedDomainIsRefusedT87(t *testing.T) {
	h := newHouse(t, nil)
	h.lists.domains = []store.Domain{
		{Name: "south.test", State: store.DomainBlocked}, {Name: "good.south.test", State: store.DomainKnown}, {Name: "west.test", State: store.DomainKnown},
	}
	if err := h.parts.Load().domains.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for sender, want := range map[string]amtp.Code{
		"sam@south.test": amtp.CodeDomainBlocked, "sam@a.b.south.test": amtp.CodeDomainBlocked, "sam@good.south.test": "",
		"sam@xsouth.test": "", "wes@west.test": "",
	} {
		got, err := h.judge(sender, certificateOf(sender))
		if code(t, err) != want {
			t.Errorf("%s: %v", sender, err)
		}
		if sender == "wes@west.test" && !got.known {
			t.Error("a domain on the operator's list is not known")
		}
	}
}

// certificateOf proves the domain of south.test's senders: a proof does not lift a block.
func certificateOf(sender string) *tls.ConnectionState {
	if _, domain, _ := strings.Cut(sender, "@"); strings.HasSuffix(domain, "south.test") {
		return certificate(domain)
	}
	return nil
}

func TestConfigurationsOfAuthThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a policy for local senders": func(c *Config) { c.Auth.LocalSenders = "maybe" },
		"a method":                   func(c *Config) { c.Auth.Methods = []auth.Method{"address"} },
		"a verify policy":            func(c *Config) { c.Auth.Verify = "maybe" },
		"an issuer":                  func(c *Config) { c.Auth.Issuers = []auth.Issuer{{URL: "x"}} },
		"an issuer that does not count": func(c *Config) {
			c.Auth.Issuers = []auth.Issuer{{URL: "https://login.test", Audiences: []string{"gw"}, Domains: []string{"a.test"}}}
			c.Auth.Methods = []auth.Method{auth.ByAPIKey}
		},
		"a rate":               func(c *Config) { c.Rates.Sender.PerSecond = 1 },
		"a rate for strangers": func(c *Config) { c.Rates.UnknownPerHour = -1 },
	} {
		cfg := Config{Domain: "a.test", Open: func(context.Context) (*store.Store, error) { return nil, io.EOF }}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Whose credential it is, is asked of a request to read as of one to send.
func TestReaderIsWhoItsCredentialSays(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct {
		name    string
		state   *tls.ConnectionState
		headers []string
		kind    auth.Kind
		domain  string
		want    amtp.Code
	}{
		{"nothing", nil, nil, auth.Nobody, "", ""},
		{"an agent's key", nil, []string{"Authorization", "Bearer " + h.ann}, auth.Agent, "north.test", ""},
		{"a client's key", nil, []string{"Authorization", "Bearer " + h.reader}, auth.Client, "south.test", ""},
		{"the admin key", nil, []string{"X-Admin-Key", adminKey}, auth.Admin, "", ""},
		{"a wrong admin key", nil, []string{"X-Admin-Key", "nope", "Authorization", "Bearer " + h.ann}, auth.Nobody, "", amtp.CodeInvalidCredentials},
		{"a certificate", certificate("south.test"), nil, auth.Gateway, "south.test", ""},
		{"nobody's key", nil, []string{"Authorization", "Bearer nope"}, auth.Nobody, "", amtp.CodeInvalidCredentials},
		{"an expired key", nil, []string{"X-API-Key", h.over}, auth.Nobody, "", amtp.CodeTokenExpired},
	} {
		got, err := h.caller(h.asks("", c.state, c.headers...))
		if code(t, err) != c.want || got.Kind != c.kind || got.Domain != c.domain {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// No error of a credential says what was shown, or why it is wrong.
func TestRefusalsTellNothing(t *testing.T) {
	h := newHouse(t, nil)
	for _, key := range []string{"a-secret-that-is-wrong", h.over} {
		_, err := h.judge("sam@south.test", nil, "Authorization", "Bearer "+key)
		e, ok := errors.AsType[*amtp.Error](err)
		if !ok {
			t.Fatalf("taken: %v", err)
		}
		body, err := json.Marshal(e.Body(h.now, "id"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), key) || strings.Contains(string(body), "south.test") {
			t.Errorf("%s", body)
		}
	}
}
