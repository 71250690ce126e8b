package gateway_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
	"amesh/internal/outward"
)

// registered is the answer to a registration.
type registered struct {
	Message string         `json:"message"`
	Agent   map[string]any `json:"agent"`
}

// Checklist 51 and 52: an agent is registered by its name or its address, and gets its key once.
func TestAgentsAreRegisteredByNameOrAddress(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	for _, address := range []string{"user", "other@a.test", "Third@A.TEST"} {
		var got registered
		g.Admin(http.MethodPost, "/v1/admin/agents", map[string]any{"address": address, "delivery_mode": "pull"}).Want(http.StatusCreated).Into(&got)
		name, _, _ := strings.Cut(address, "@")
		if got.Agent["address"] != name+"@a.test" || len(got.Agent["api_key"].(string)) != 43 {
			t.Errorf("%s: %v", address, got.Agent)
		}
		for _, member := range []string{"headers", "supported_schemas"} {
			if v, there := got.Agent[member]; !there || v != nil {
				t.Errorf("%s: %s is %v", address, member, v)
			}
		}
		for member, want := range map[string]any{"delivery_mode": "pull", "push_target": "", "requires_schema": false} {
			if got.Agent[member] != want {
				t.Errorf("%s: %s is %v", address, member, got.Agent[member])
			}
		}
		if got.Agent["created_at"] != got.Agent["last_access"] || got.Message != "Agent registered successfully" {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// Checklist 52 to 54, 56: what is no agent is refused, with what to do instead.
func TestRegistrationsThatAreRefused(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	g.Register("taken")
	for name, body := range map[string]any{
		"of another domain":        map[string]any{"address": "user@b.test", "delivery_mode": "pull"},
		"taken":                    map[string]any{"address": "taken", "delivery_mode": "pull"},
		"taken in other letters":   map[string]any{"address": "TAKEN@a.test", "delivery_mode": "pull"},
		"without an address":       map[string]any{"delivery_mode": "pull"},
		"of 65 characters":         map[string]any{"address": strings.Repeat("a", 65), "delivery_mode": "pull"},
		"with a dot at its end":    map[string]any{"address": "user.", "delivery_mode": "pull"},
		"of an unknown mode":       map[string]any{"address": "user", "delivery_mode": "fax"},
		"push without a target":    map[string]any{"address": "user", "delivery_mode": "push"},
		"push to what is no URL":   map[string]any{"address": "user", "delivery_mode": "push", "push_target": "not a url"},
		"with a line in a header":  map[string]any{"address": "user", "delivery_mode": "push", "push_target": "https://x.test/", "headers": map[string]string{"X": "a\r\nb"}},
		"with a wildcard for all":  map[string]any{"address": "user", "delivery_mode": "pull", "supported_schemas": []string{"agntcy:*"}},
		"with a key that is short": map[string]any{"address": "user", "delivery_mode": "pull", "api_key": "my-own-key"},
	} {
		got := g.Admin(http.MethodPost, "/v1/admin/agents", body).Want(http.StatusBadRequest)
		if why, _ := got.Error().Details["error"].(string); got.Code() != amtp.CodeAgentRegistrationFailed || why == "" {
			t.Errorf("%s: %s", name, got.Body)
		}
	}
	for name, body := range map[string]string{"no JSON": "nope", "a list": "[]", "a number for a name": `{"address":7}`, "nothing": ""} {
		if got := g.Admin(http.MethodPost, "/v1/admin/agents", body).Want(http.StatusBadRequest); got.Code() != amtp.CodeInvalidRequestFormat {
			t.Errorf("%s: %s", name, got.Body)
		}
	}
}

// Checklist 55: a listing is a map, in which no key is.
func TestListingsShowNoKeys(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	push := g.Register("hook", "delivery_mode", "push", "push_target", "https://hook.test/in", "role", "clerk")
	pull := g.Register("user")
	list := g.Admin(http.MethodGet, "/v1/admin/agents", nil).Want(http.StatusOK)
	var got struct {
		Agents map[string]map[string]any
		Count  int
	}
	list.Into(&got)
	if got.Count != 2 || got.Agents["hook@a.test"]["role"] != "clerk" || got.Agents["user@a.test"]["api_key"] != "" {
		t.Errorf("%s", list.Body)
	}
	for _, secret := range []string{push.Key, pull.Key, "push_secret", "hash"} {
		if strings.Contains(string(list.Body), secret) {
			t.Errorf("%s is in the listing", secret)
		}
	}
}

// Checklist 57, and what is left of an agent that is gone: nothing that anybody can read.
func TestNewAgentDoesNotInheritAnInbox(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	alice.Send(bob.Address, `{"secret":1}`)
	if n := len(bob.Inbox()); n != 1 {
		t.Fatalf("%d messages", n)
	}
	var gone map[string]any
	g.Admin(http.MethodDelete, "/v1/admin/agents/bob", nil).Want(http.StatusOK).Into(&gone)
	if gone["message"] != "Agent unregistered successfully" || gone["name"] != "bob" {
		t.Errorf("%v", gone)
	}
	if got := bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil); got.Status != http.StatusForbidden || got.Code() != amtp.CodeAccessDenied {
		t.Errorf("the old key: %d %s", got.Status, got.Body)
	}
	again := g.Register("bob")
	if n := len(again.Inbox()); n != 0 {
		t.Errorf("the new agent has %d messages of the old one", n)
	}
	alice.Send(bob.Address, `{"for":"the new one"}`)
	if n := len(again.Inbox()); n != 1 {
		t.Errorf("the new agent has %d messages", n)
	}
	for _, name := range []string{"ghost", "user@b.test", ".."} {
		got := g.Admin(http.MethodDelete, "/v1/admin/agents/"+name, nil)
		if got.Status != http.StatusBadRequest && got.Status != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
}

// Checklist 57: who gets the name of an agent that is gone sees nothing that the other one sent
// or got, by its id or in a list.
func TestNewAgentSeesNoMessagesOfTheOldOne(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	old := []string{alice.Send(bob.Address, `{"got":1}`).MessageID, bob.Send(alice.Address, `{"sent":1}`).MessageID}
	g.Admin(http.MethodDelete, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
	again := g.Register("bob")
	own := again.Send(alice.Address, `{"sent":2}`).MessageID
	for _, path := range []string{"", "/status", "/attempts"} {
		for _, id := range old {
			again.Do(http.MethodGet, "/v1/messages/"+id+path, nil).Want(http.StatusNotFound)
			alice.Do(http.MethodGet, "/v1/messages/"+id+path, nil).Want(http.StatusOK)
		}
		again.Do(http.MethodGet, "/v1/messages/"+own+path, nil).Want(http.StatusOK)
	}
	var list struct {
		Total    int
		Messages []gatewaytest.Message
	}
	for _, query := range []string{"", "?since=2000-01-01T00:00:00Z", "?sender=alice@a.test"} {
		again.Do(http.MethodGet, "/v1/messages"+query, nil).Want(http.StatusOK).Into(&list)
		for _, m := range list.Messages {
			if m.MessageID != own {
				t.Errorf("%q lists %s", query, m.MessageID)
			}
		}
	}
}

// Checklist 65: rotation ends the old key at once.
func TestRotationEndsTheOldKey(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	var got struct {
		Message, Address, Timestamp string
		Key                         string `json:"api_key"`
	}
	g.Admin(http.MethodPost, "/v1/admin/agents/bob/rotate-key", nil).Want(http.StatusOK).Into(&got)
	if got.Address != bob.Address || len(got.Key) != 43 || got.Message == "" || got.Timestamp == "" {
		t.Errorf("%+v", got)
	}
	bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil).Want(http.StatusForbidden)
	if got := bob.Post(map[string]any{"recipients": []string{bob.Address}, "payload": 1}); got.Code() != amtp.CodeSenderCredentialMismatch {
		t.Errorf("the old key still sends: %s", got.Body)
	}
	bob.Key = got.Key
	bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil).Want(http.StatusOK)
	g.Admin(http.MethodPost, "/v1/admin/agents/ghost/rotate-key", nil).Want(http.StatusNotFound)
	g.Do(http.MethodPost, "/v1/admin/agents/bob/rotate-key", nil).Want(http.StatusUnauthorized)
	if got := g.Admin(http.MethodPost, "/v1/admin/agents/bob/rotate-key", `{"api_key_expires_at":"2001-01-01T00:00:00Z"}`).Want(http.StatusBadRequest); got.Code() != amtp.CodeAgentKeyRotationFailed {
		t.Errorf("%s", got.Body)
	}
}

func TestAgentsAreChangedInPart(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	g.Register("bob", "role", "clerk")
	var got registered
	g.Admin(http.MethodPatch, "/v1/admin/agents/bob", map[string]any{"description": "takes orders", "capabilities": []string{"orders"}}).Want(http.StatusOK).Into(&got)
	if got.Agent["role"] != "clerk" || got.Agent["description"] != "takes orders" || got.Agent["api_key"] != "" {
		t.Errorf("%v", got)
	}
	g.Admin(http.MethodPatch, "/v1/admin/agents/bob", map[string]any{"delivery_mode": "push", "push_target": "https://x.test/"}).Want(http.StatusOK).Into(&got)
	secret, _ := got.Agent["push_secret"].(string)
	if len(secret) != 43 {
		t.Errorf("no secret for pushes: %v", got.Agent)
	}
	g.Admin(http.MethodPatch, "/v1/admin/agents/bob", map[string]any{"new_push_secret": true}).Want(http.StatusOK).Into(&got)
	if next, _ := got.Agent["push_secret"].(string); len(next) != 43 || next == secret {
		t.Errorf("no new secret: %v", got.Agent)
	}
	one := g.Admin(http.MethodGet, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
	if strings.Contains(string(one.Body), "push_secret") {
		t.Errorf("%s", one.Body)
	}
	g.Admin(http.MethodPatch, "/v1/admin/agents/ghost", map[string]any{}).Want(http.StatusNotFound)
	g.Admin(http.MethodGet, "/v1/admin/agents/ghost", nil).Want(http.StatusNotFound)
	if got := g.Admin(http.MethodPatch, "/v1/admin/agents/bob", map[string]any{"delivery_mode": "fax"}).Want(http.StatusBadRequest); got.Code() != amtp.CodeAgentUpdateFailed {
		t.Errorf("%s", got.Body)
	}
}

// Checklist 69 and 70: no agent is touched without the key of an administrator.
func TestAgentsAreForAdministrators(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	for _, c := range []struct{ method, path string }{
		{http.MethodPost, "/v1/admin/agents"}, {http.MethodGet, "/v1/admin/agents"}, {http.MethodGet, "/v1/admin/agents/bob"},
		{http.MethodPatch, "/v1/admin/agents/bob"}, {http.MethodDelete, "/v1/admin/agents/bob"}, {http.MethodPost, "/v1/admin/agents/bob/rotate-key"},
	} {
		if got := g.Do(c.method, c.path, nil).Want(http.StatusUnauthorized); got.Code() != amtp.CodeAdminAuthenticationRequired {
			t.Errorf("%s %s: %s", c.method, c.path, got.Body)
		}
		if got := g.Do(c.method, c.path, nil, "X-Admin-Key", "nope").Want(http.StatusForbidden); got.Code() != amtp.CodeAdminAccessDenied {
			t.Errorf("%s %s: %s", c.method, c.path, got.Body)
		}
		bob.Do(c.method, c.path, nil).Want(http.StatusUnauthorized)
		g.Do(c.method, c.path, nil, "Authorization", "Bearer "+gatewaytest.AdminKey).Want(http.StatusUnauthorized)
	}
	if len(bob.Inbox()) != 0 {
		t.Error("bob is not what he was")
	}
	shut := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Admins = nil }, "b.test").At("b.test")
	if got := shut.Admin(http.MethodGet, "/v1/admin/agents", nil).Want(http.StatusUnauthorized); got.Code() != amtp.CodeAdminAuthNotConfigured {
		t.Errorf("without a key file: %s", got.Body)
	}
	open := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Admins, c.AdminOpen = nil, true }, "c.test").At("c.test")
	open.Do(http.MethodGet, "/v1/admin/agents", nil).Want(http.StatusOK)
}

// A push target to which nothing would ever be posted is refused at once, with the switch
// that lets it.
func TestPushTargetInsideIsRefused(t *testing.T) {
	t.Parallel()
	register := func(hooks outward.Config, target string) gatewaytest.Answer {
		g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Hooks = hooks }, "a.test").At("a.test")
		return g.Admin(http.MethodPost, "/v1/admin/agents", map[string]any{"address": "hook", "delivery_mode": "push", "push_target": target})
	}
	for _, target := range []string{"http://127.0.0.1:9000/in", "https://127.0.0.1/in", "https://[::1]/in", "https://localhost/in", "https://10.0.0.1/in"} {
		got := register(outward.Config{HTTP: true, Ports: []uint16{443}}, target).Want(http.StatusBadRequest)
		if !bytes.Contains(got.Body, []byte("push.internal")) || !bytes.Contains(got.Body, []byte("outward.allow")) {
			t.Errorf("%s: %s", target, got.Body)
		}
	}
	allowed := outward.Config{HTTP: true, Ports: []uint16{443}, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	register(allowed, "http://127.0.0.1:9000/in").Want(http.StatusCreated)
	register(allowed, "https://10.0.0.1/in").Want(http.StatusBadRequest)
}

// As agentry wants it: bare names, and keys of any length.
func TestAgentsAsAgentryHasThem(t *testing.T) {
	g := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Agents.BareNames, c.Agents.ShortKeys, c.Agents.PlainTargets = true, true, true
	}, "a.test").At("a.test")
	g.Admin(http.MethodPost, "/v1/admin/agents", map[string]any{"address": "user@a.test", "delivery_mode": "pull"}).Want(http.StatusBadRequest)
	if bob := g.Register("bob", "api_key", "my-own-key"); bob.Key != "my-own-key" || bob.Inbox() == nil {
		t.Errorf("%+v", bob)
	}
	g.Register("hook", "delivery_mode", "push", "push_target", "http://hook.test:9000/in")
	if got := g.Admin(http.MethodDelete, "/v1/admin/agents/bob@a.test", nil).Want(http.StatusBadRequest); got.Code() != amtp.CodeAgentUnregistrationFailed {
		t.Errorf("%s", got.Body)
	}
	g.Admin(http.MethodDelete, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
}

// Agents outlive their gateway: keys, names and what they were.
func TestAgentsOutliveARestart(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("Bob", "role", "clerk", "capabilities", []string{"orders"}, "supported_schemas", []string{"agntcy:shop.*"})
	before := g.Admin(http.MethodGet, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
	g.Stop()
	g.Start()
	bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil).Want(http.StatusOK)
	after := g.Admin(http.MethodGet, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
	var a, b registered
	before.Into(&a)
	after.Into(&b)
	for _, member := range []string{"last_access", "created_at"} { // kept to the microsecond
		delete(a.Agent, member)
		delete(b.Agent, member)
	}
	x, _ := json.Marshal(a.Agent)
	y, _ := json.Marshal(b.Agent)
	if string(x) != string(y) {
		t.Errorf("%s\n%s", x, y)
	}
}

// Registered headers go out with a push.
func TestPushCarriesTheAgentsHeaders(t *testing.T) {
	got := make(chan http.Header, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	t.Cleanup(hook.Close)
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice := g.Register("alice")
	g.Register("hook", "delivery_mode", "push", "push_target", hook.URL, "headers", map[string]string{"X-Agent-Id": "7"})
	sent := alice.Send("hook@a.test", `{}`)
	alice.Settled(sent.MessageID)
	if h := <-got; h.Get("X-Agent-Id") != "7" {
		t.Errorf("%v", h)
	}
}

// What waits to be pushed to an agent that is removed ends now, also where a push is under
// way or has just failed.
func TestRemovedAgentsPushesEndAtOnce(t *testing.T) {
	for name, underWay := range map[string]bool{"waits": false, "is under way": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, end := make(chan bool, 1), make(chan bool)
			hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				begun <- true
				<-end
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			t.Cleanup(hook.Close)
			g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Delivery.MinRetry = time.Hour }, "a.test").At("a.test")
			alice := g.Register("alice")
			g.Register("Hook", "delivery_mode", "push", "push_target", hook.URL)
			id := alice.Send("hook@a.test", `{}`).MessageID
			<-begun
			if !underWay {
				close(end)
				for alice.Status(id).Status != amtp.Retrying {
				}
			}
			g.Admin(http.MethodDelete, "/v1/admin/agents/Hook", nil).Want(http.StatusOK)
			if underWay {
				close(end)
			}
			if st := alice.Settled(id); st.Status != amtp.Failed || st.Recipients[0].ErrorCode != amtp.CodeAgentUnknown {
				t.Errorf("%+v", st)
			}
		})
	}
}
