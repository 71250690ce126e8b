package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/discovery"
)

// askCapabilities asks for a domain's, from an address.
func askCapabilities(s *Server, domain, from string, headers ...string) (reply, error) {
	hr := httptest.NewRequest(http.MethodGet, "/v1/capabilities/x", nil)
	hr.SetPathValue("domain", domain)
	for i := 0; i < len(headers); i += 2 {
		hr.Header.Set(headers[i], headers[i+1])
	}
	return s.capabilities(&request{Request: hr, from: netip.MustParseAddr(from), now: time.Unix(1e9, 0)})
}

// Golden 040-042: what a record says, and nothing for what it does not say.
func TestCapabilitiesAreThoseOfTheRecord(t *testing.T) {
	s := closed(t, func(c *Config) {
		c.Discovery = discovery.Config{Mock: true, AllowHTTP: true, MockRecords: map[string]string{
			"c.test": "v=amtp1;gateway=http://127.0.0.1:18080;auth=apikey;max-size=10485760;features=agent-discovery",
			"b.test": "v=amtp1;gateway=http://127.0.0.1:18081",
		}}
	})
	for domain, want := range map[string]string{
		"c.test": `{"auth":["apikey"],"features":["agent-discovery"],"gateway":"http://127.0.0.1:18080","max_size":10485760,"ttl":300000000000,"version":"1.0"}`,
		"B.Test": `{"gateway":"http://127.0.0.1:18081","ttl":300000000000,"version":"1.0"}`,
	} {
		out, err := askCapabilities(s, domain, "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(out.body)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339Nano, members["discovered_at"].(string)); err != nil {
			t.Error(err)
		}
		delete(members, "discovered_at")
		if text, _ = json.Marshal(members); string(text) != want {
			t.Errorf("%s: %s, want %s", domain, text, want)
		}
	}
}

// Checklist 14.
func TestUnknownDomainHasNoCapabilities(t *testing.T) {
	s := closed(t, func(c *Config) { c.Discovery = discovery.Config{Mock: true} })
	for _, domain := range []string{"unknown.test", "no domain", "_", "a..b", "x@y.test"} {
		_, err := askCapabilities(s, domain, "192.0.2.1")
		e, ok := errors.AsType[*amtp.Error](err)
		if !ok || e.Status != http.StatusNotFound || e.Code != amtp.CodeCapabilitiesNotFound || e.Details["domain"] != domain || e.Details["temporary"] != false {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

// Spec (d) 18: the gateway is not a stranger's DNS.
func TestStrangersHaveFewDomainsLookedUp(t *testing.T) {
	s := closed(t, func(c *Config) {
		// A resolver that refuses at once: nothing listens there.
		c.Discovery = discovery.Config{Resolvers: []string{"127.0.0.1:1"}}
		c.Clock = func() time.Time { return time.Unix(1e9, 0) }
		c.Limits = DefaultLimits()
		c.Limits.LookupsPerAddress, c.Limits.Lookups = 3, 5
	})
	limited := func(domain, from string) bool {
		t.Helper()
		_, err := askCapabilities(s, domain, from)
		e, ok := errors.AsType[*amtp.Error](err)
		if !ok {
			t.Fatalf("%s: %v", domain, err)
		}
		if e.Status == http.StatusTooManyRequests && (e.Code != amtp.CodeRateLimitExceeded || e.RetryAfter <= 0) {
			t.Errorf("%+v", e)
		}
		return e.Status == http.StatusTooManyRequests
	}
	for _, step := range []struct {
		domain, from string
		limited      bool
	}{
		{"1.test", "192.0.2.1", false}, {"2.test", "192.0.2.1", false}, {"3.test", "192.0.2.1", false},
		{"4.test", "192.0.2.1", true},  // one address has its three
		{"3.test", "192.0.2.1", false}, // and may ask for what is known
		{"4.test", "192.0.2.2", false}, {"5.test", "192.0.2.2", false},
		{"6.test", "192.0.2.3", true}, // all have their five
		{"5.test", "192.0.2.4", false},
	} {
		if got := limited(step.domain, step.from); got != step.limited {
			t.Errorf("%s from %s: limited %v", step.domain, step.from, got)
		}
	}
	s.cfg.AdminOpen = true // now everybody is an administrator
	if limited("7.test", "192.0.2.1") {
		t.Error("an administrator is limited")
	}
}
