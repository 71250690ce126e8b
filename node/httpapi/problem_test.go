package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"amesh/node/api"
)

// ask and see check the shape of every one of these.
func TestProblems(t *testing.T) {
	h := openHouse(t)
	to := bobAMID.String()
	big := base64.StdEncoding.EncodeToString(make([]byte, api.MaxBody+1))
	rows := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     api.Code
	}{
		{name: "no such path", method: "GET", path: "/v2/node", status: 404, code: api.CodeNotFound},
		{name: "root", method: "GET", path: "/", status: 404, code: api.CodeNotFound},
		{name: "huma's own pages are off", method: "GET", path: "/docs", status: 404, code: api.CodeNotFound},
		{name: "path not in its clean form", method: "GET", path: "/v1//node", status: 404, code: api.CodeNotFound},
		{name: "path with dots", method: "GET", path: "/v1/x/../node", status: 404, code: api.CodeNotFound},
		{name: "slash at the end", method: "GET", path: "/v1/node/", status: 404, code: api.CodeNotFound},
		{name: "id without a verb", method: "POST", path: "/v1/inbox/in-1", status: 404, code: api.CodeNotFound},
		{name: "delete", method: "DELETE", path: "/v1/node", status: 405, code: api.CodeInvalid},
		{name: "get of a verb", method: "GET", path: "/v1/inbox/in-1/ack", status: 405, code: api.CodeInvalid},
		{name: "preflight", method: "OPTIONS", path: "/v1/messages", status: 405, code: api.CodeInvalid},
		{name: "no content type", method: "POST", path: "/v1/inbox/in-1/nack", headers: []string{"Content-Type", ""}, status: 415, code: api.CodeInvalid},
		{name: "a form", method: "POST", path: "/v1/messages", body: "to=x", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: api.CodeInvalid},
		{name: "text", method: "POST", path: "/v1/messages", body: "{}", headers: []string{"Content-Type", "text/plain"}, status: 415, code: api.CodeInvalid},
		{name: "nearly json", method: "POST", path: "/v1/messages", body: "{}", headers: []string{"Content-Type", "application/x+json"}, status: 415, code: api.CodeInvalid},
		{name: "content type of garbage", method: "PATCH", path: "/v1/policy", body: "{}", headers: []string{"Content-Type", ";;"}, status: 415, code: api.CodeInvalid},
		{name: "no body", method: "POST", path: "/v1/messages", status: 400, code: api.CodeInvalid},
		{name: "half a body", method: "POST", path: "/v1/messages", body: `{"to":`, status: 400, code: api.CodeInvalid},
		{name: "body of another kind", method: "POST", path: "/v1/messages", body: `[]`, status: 422, code: api.CodeInvalid},
		{name: "field missing", method: "POST", path: "/v1/messages", body: `{"body":""}`, status: 422, code: api.CodeInvalid},
		{name: "field unknown", method: "POST", path: "/v1/messages", body: `{"to":"x","body":"","bcc":"y"}`, status: 422, code: api.CodeInvalid},
		{name: "body not base64", method: "POST", path: "/v1/messages", body: `{"to":"x","body":"%%%"}`, status: 422, code: api.CodeInvalid},
		{name: "recipient is nobody", method: "POST", path: "/v1/messages", body: `{"to":"x","body":""}`, status: 400, code: api.CodeInvalid},
		{name: "via the moon", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":"","via":"moon"}`, status: 422, code: api.CodeInvalid},
		{name: "wait for a failure", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":"","wait":"dead"}`, status: 422, code: api.CodeInvalid},
		{name: "wait for ever", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":"","wait":"handled","timeout_ms":3600001}`, status: 422, code: api.CodeInvalid},
		{name: "wait for less than nothing", method: "GET", path: "/v1/messages/out-1?wait=relayed&timeout_ms=-1", status: 422, code: api.CodeInvalid},
		{name: "wait for an unknown state", method: "GET", path: "/v1/messages/out-1?wait=gone", status: 422, code: api.CodeInvalid},
		{name: "idempotency key too long", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":""}`,
			headers: []string{"Idempotency-Key", strings.Repeat("k", 129)}, status: 422, code: api.CodeInvalid},
		{name: "idempotency key with a space", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":""}`,
			headers: []string{"Idempotency-Key", "a b"}, status: 422, code: api.CodeInvalid},
		{name: "message too large", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":"` + big + `"}`, status: 413, code: api.CodeTooLarge},
		{name: "request too large", method: "POST", path: "/v1/messages", body: `{"to":"` + to + `","body":"` + strings.Repeat("A", 2<<20) + `"}`,
			status: 413, code: api.CodeTooLarge},
		{name: "unknown message", method: "GET", path: "/v1/messages/none", status: 404, code: api.CodeNotFound},
		{name: "unknown agent", method: "GET", path: "/v1/identity?agent=nobody", status: 404, code: api.CodeNotFound},
		{name: "unknown parameter", method: "GET", path: "/v1/inbox?form=x", status: 422, code: api.CodeInvalid},
		{name: "limit too high", method: "GET", path: "/v1/inbox?limit=501", status: 422, code: api.CodeInvalid},
		{name: "limit not a number", method: "GET", path: "/v1/messages?limit=ten", status: 422, code: api.CodeInvalid},
		{name: "lease too long", method: "POST", path: "/v1/inbox/in-1/read", body: `{"lease_s":3601}`, status: 422, code: api.CodeInvalid},
		{name: "unknown outcome", method: "POST", path: "/v1/inbox/in-1/ack", body: `{"outcome":"maybe"}`, status: 422, code: api.CodeInvalid},
		{name: "answered knock", method: "POST", path: "/v1/knocks/k-3/approve", body: `{}`, status: 409, code: api.CodeConflict},
		{name: "unknown key of the policy", method: "PATCH", path: "/v1/policy", body: `{"key":"mood","value":"good"}`, status: 422, code: api.CodeInvalid},
	}
	for _, door := range []string{"tcp", "socket"} {
		web := h.raw(door)
		for _, row := range rows {
			headers := append([]string{"Authorization", "Bearer " + h.tokens["owner"]}, row.headers...)
			got := h.ask(web, row.method, row.path, row.body, headers...)
			if got.status != row.status || got.problem.Code != row.code {
				t.Errorf("%s, %s: %d %s, want %d %s", door, row.name, got.status, got.body, row.status, row.code)
			}
			if strings.Contains(string(got.body), "AAAAAAAA") {
				t.Errorf("%s, %s: the answer repeats what was sent", door, row.name)
			}
			if row.status == 405 && got.header.Get("Allow") == "" {
				t.Errorf("%s, %s: 405 without Allow", door, row.name)
			}
		}
	}
	rule := h.ask(h.raw("socket"), "PATCH", "/v1/policy", `{"key":"mood","value":"good"}`)
	if rule.problem.Rule != "known keys" || rule.problem.Hint != "strangers" {
		t.Errorf("rule %q and hint %q did not arrive", rule.problem.Rule, rule.problem.Hint)
	}
}

// What is as large as allowed passes both limits.
func TestLargestMessage(t *testing.T) {
	h := openHouse(t)
	c := h.client(api.ClientConfig{Socket: h.socket})
	body := make([]byte, api.MaxBody)
	m, err := c.Send(t.Context(), "", api.SendRequest{To: bobAMID.String(), Body: body}, "")
	if err != nil || m.Size != api.MaxBody || m.SHA256 != sum(body) {
		t.Errorf("size %d, sum %s, %v", m.Size, m.SHA256, err)
	}
	if _, err := c.Send(t.Context(), "", api.SendRequest{To: bobAMID.String(), Body: append(body, 0)}, ""); codeOf(err) != api.CodeTooLarge {
		t.Errorf("one byte more: %v, want %s", err, api.CodeTooLarge)
	}
}

// broken is a node whose identity goes wrong in one way or another.
type broken struct {
	*memory
	fail func() error
}

func (b broken) Identity(context.Context, string) (api.Identity, error) {
	return api.Identity{}, b.fail()
}
func (b broken) Status(context.Context, string) (api.Status, error) { return api.Status{}, b.fail() }

func TestWhatGoesWrongInside(t *testing.T) {
	const secret = "/home/alice/secret.key"
	rows := []struct {
		name   string
		fail   func() error
		status int
		code   api.Code
		logged bool
	}{
		{name: "panic", fail: func() error { panic(secret) }, status: 500, code: api.CodeInternal, logged: true},
		{name: "panic with what cannot be compared", fail: func() error { panic([]string{secret}) }, status: 500, code: api.CodeInternal, logged: true},
		{name: "wrong type", fail: func() error { var v any = secret; return v.(error) }, status: 500, code: api.CodeInternal, logged: true},
		{name: "plain error", fail: func() error { return errors.New(secret) }, status: 500, code: api.CodeInternal, logged: true},
		{name: "a problem inside an error", fail: func() error { return fmt.Errorf("%s: %w", secret, conflict("twice")) }, status: 409, code: api.CodeConflict},
		{name: "a problem without a status", fail: func() error { return &api.Problem{Detail: secret} }, status: 500, code: api.CodeInternal, logged: true},
		{name: "a problem without a title", fail: func() error {
			return &api.Problem{Status: 500, Code: api.CodeStorage, Detail: "disk gone", Hint: "see the log"}
		},
			status: 500, code: api.CodeStorage},
		{name: "the node stops", fail: func() error { return context.Canceled }, status: 503, code: api.CodeBusy},
		{name: "too slow", fail: func() error { return context.DeadlineExceeded }, status: 503, code: api.CodeBusy},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t)
			h.build(h.server.cfg.Credentials, broken{h.node, row.fail})
			h.serve(h.listenTCP(), h.server.TCPHandler())
			got := h.ask(h.raw("tcp"), "GET", "/v1/identity", "", "Authorization", "Bearer "+h.tokens["owner"])
			if got.status != row.status || got.problem.Code != row.code {
				t.Errorf("%d %s, want %d %s", got.status, got.body, row.status, row.code)
			}
			if strings.Contains(string(got.body), "secret.key") {
				t.Errorf("the answer tells %s", got.body)
			}
			if logged := strings.Contains(h.log.String(), "level=ERROR"); logged != row.logged {
				t.Errorf("logged as an error: %t, want %t", logged, row.logged)
			}
			if row.name == "panic" {
				return // the probe would panic as well, and that is the same test
			}
			if ready := h.ask(h.raw("tcp"), "GET", "/readyz", ""); ready.status < 500 {
				t.Errorf("readyz: %d while the node does not work", ready.status)
			}
			if live := h.ask(h.raw("tcp"), "GET", "/livez", ""); live.status != 200 {
				t.Errorf("livez: %d, want 200", live.status)
			}
		})
	}
}

func TestOpenAPI(t *testing.T) {
	h := openHouse(t)
	got := h.ask(h.raw("tcp"), "GET", "/v1/openapi.json", "", "Authorization", "Bearer "+h.tokens["alice"])
	if got.status != 200 || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d as %q", got.status, got.header.Get("Content-Type"))
	}
	var doc struct {
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(got.body, &doc); err != nil {
		t.Fatal(err)
	}
	want := []string{"DELETE /v1/contacts/{id}", "DELETE /v1/invites/{id}", "GET /livez", "GET /readyz", "GET /v1/card", "GET /v1/contacts",
		"GET /v1/contacts/{id}", "GET /v1/contacts/{id}/comparison", "GET /v1/identity", "GET /v1/inbox", "GET /v1/invites", "GET /v1/keys",
		"GET /v1/knocks", "GET /v1/lookup/{id}", "GET /v1/messages", "GET /v1/messages/{id}", "GET /v1/node", "GET /v1/openapi.json",
		"GET /v1/peers", "GET /v1/peers/{id}/why", "GET /v1/policy", "GET /v1/search", "GET /v1/sessions", "PATCH /v1/contacts/{id}", "PATCH /v1/policy", "POST /v1/backup", "POST /v1/bugreport",
		"POST /v1/contacts", "POST /v1/contacts/{id}/verify", "POST /v1/doctor", "POST /v1/inbox/lease", "POST /v1/inbox/{id}/ack", "POST /v1/inbox/{id}/nack",
		"POST /v1/inbox/{id}/read", "POST /v1/invites", "POST /v1/invites/redeem", "POST /v1/keys/revoke", "POST /v1/keys/rotate",
		"POST /v1/knocks/{id}/approve", "POST /v1/knocks/{id}/refuse", "POST /v1/messages", "POST /v1/messages/{id}/cancel", "POST /v1/netcheck",
		"POST /v1/peers/{id}/block", "POST /v1/peers/{id}/kill", "POST /v1/peers/{id}/ping", "POST /v1/peers/{id}/try",
		"POST /v1/peers/{id}/unblock", "PUT /v1/card"}
	var have []string
	for path, methods := range doc.Paths {
		for method := range methods {
			have = append(have, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("routes\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if doc.Components.Schemas["Problem"] == nil || doc.Components.Schemas["ErrorModel"] != nil {
		t.Error("the schema of errors is not our Problem")
	}
	for _, absent := range []string{"$schema", "ErrorModel", "ErrorDetail", "example.com"} {
		if strings.Contains(string(got.body), absent) {
			t.Errorf("the document mentions %q", absent)
		}
	}
	// Every reference leads somewhere.
	for _, part := range strings.Split(string(got.body), `"$ref":"#/components/schemas/`)[1:] {
		if name, _, _ := strings.Cut(part, `"`); doc.Components.Schemas[name] == nil {
			t.Errorf("reference to schema %q, which is not there", name)
		}
	}
}

// Whatever a caller would like to get, there is JSON.
func TestAccept(t *testing.T) {
	h := openHouse(t)
	for _, accept := range []string{"*/*", "json", "text/html", "application/problem+json", "application/cbor", ";q=x"} {
		ok := h.ask(h.raw("socket"), "GET", "/v1/node", "", "Accept", accept)
		if ok.status != 200 || ok.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d as %q", accept, ok.status, ok.header.Get("Content-Type"))
		}
		if bad := h.ask(h.raw("socket"), "GET", "/v1/messages/none", "", "Accept", accept); bad.status != 404 {
			t.Errorf("%s: %d, want 404", accept, bad.status)
		}
	}
}

func TestAnswersAreNotKept(t *testing.T) {
	h := openHouse(t)
	for _, path := range []string{"/v1/node", "/v1/nothing"} {
		got := h.ask(h.raw("socket"), "GET", path, "")
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, got.header)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	h := newHouse(t)
	good := h.server.cfg
	for name, spoil := range map[string]func(*Config){
		"no backend":          func(c *Config) { c.Backend = nil },
		"no logger":           func(c *Config) { c.Logger = nil },
		"no credentials":      func(c *Config) { c.Credentials = Credentials{} },
		"host without a port": func(c *Config) { c.Hosts = []string{"localhost"} },
		"host without a name": func(c *Config) { c.Hosts = []string{":7777"} },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := os.Stat(h.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New is not quiet: there is a socket (%v)", err)
	}
	if good.Limits != DefaultLimits() {
		t.Error("no limits are not the default limits")
	}
	if s := h.server.HTTPServer(http.NotFoundHandler()); s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Error("a server without timeouts")
	}
}
