package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/store"
)

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
