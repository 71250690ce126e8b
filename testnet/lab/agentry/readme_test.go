package agentry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// request is one of those that the reference's documentation shows.
type request struct {
	name         string
	method, path string
	body         string
	bearer       string // {key} is what the registration gave
	want         int    // with ours, where the reference says something else; else 0
}

// documented are all requests of the reference's README, in their order. {id} is the id of
// the message that was sent last.
var documented = []request{
	{name: "health check", method: "GET", path: "/health"},
	{name: "readiness", method: "GET", path: "/ready"},
	{name: "register for pull", method: "POST", path: "/v1/admin/agents", body: `{"address":"user","delivery_mode":"pull"}`},
	{name: "send a local message", method: "POST", path: "/v1/messages",
		body: `{"sender":"test@localhost","recipients":["user@localhost"],"subject":"Local Test Message","payload":{"message":"Hello localhost!"}}`},
	{name: "status", method: "GET", path: "/v1/messages/{id}/status"},
	{name: "details", method: "GET", path: "/v1/messages/{id}"},
	{name: "list", method: "GET", path: "/v1/messages"},
	{name: "inbox", method: "GET", path: "/v1/inbox/user@localhost", bearer: "{key}"},
	{name: "inbox without a key", method: "GET", path: "/v1/inbox/user@localhost"},
	{name: "inbox with another key", method: "GET", path: "/v1/inbox/user@localhost", bearer: "your-api-key"},
	{name: "acknowledge", method: "DELETE", path: "/v1/inbox/user@localhost/{id}", bearer: "{key}"},
	{name: "acknowledge again", method: "DELETE", path: "/v1/inbox/user@localhost/{id}", bearer: "{key}"},
	{name: "empty inbox", method: "GET", path: "/v1/inbox/user@localhost", bearer: "{key}"},
	{name: "list agents", method: "GET", path: "/v1/admin/agents"},
	{name: "a domain that is not there", method: "POST", path: "/v1/messages",
		body: `{"sender":"test@localhost","recipients":["user@test.com"],"subject":"Test Discovery Failure","payload":{"message":"Testing graceful failure"}}`},
	{name: "its status", method: "GET", path: "/v1/messages/{id}/status"},
	// Its gateway refuses the address that its README shows, and in its ways ours does too.
	{name: "register for push", method: "POST", path: "/v1/admin/agents",
		body: `{"address":"agent@localhost","delivery_mode":"push","push_target":"http://agent-service:8080/webhook","headers":{"Authorization":"Bearer token","X-Agent-ID":"agent-service"}}`},
	{name: "register for push by name", method: "POST", path: "/v1/admin/agents",
		body: `{"address":"pusher","delivery_mode":"push","push_target":"http://agent-service:8080/webhook","headers":{"Authorization":"Bearer token","X-Agent-ID":"agent-service"}}`},
	{name: "unregister", method: "DELETE", path: "/v1/admin/agents/pusher"},
	// An open relay, which ours is not.
	{name: "send for others", method: "POST", path: "/v1/messages", want: http.StatusForbidden,
		body: `{"sender":"agent@sender.com","recipients":["agent@receiver.com"],"subject":"Test Message","payload":{"text":"Hello, World!"}}`},
	{name: "capabilities", method: "GET", path: "/v1/capabilities/localhost"},
	{name: "capabilities of nobody", method: "GET", path: "/v1/capabilities/test.com"},
	{name: "metrics", method: "GET", path: "/metrics"},
	{name: "register a schema", method: "POST", path: "/v1/admin/schemas",
		body: `{"id":"agntcy:test.message.v1","definition":{"type":"object","properties":{"text":{"type":"string"},"timestamp":{"type":"string","format":"date-time"}},"required":["text"]}}`},
	{name: "list schemas", method: "GET", path: "/v1/admin/schemas"},
	{name: "get a schema", method: "GET", path: "/v1/admin/schemas/agntcy:test.message.v1"},
	{name: "update a schema", method: "PUT", path: "/v1/admin/schemas/agntcy:test.message.v1",
		body: `{"definition":{"type":"object","properties":{"text":{"type":"string"},"timestamp":{"type":"string","format":"date-time"},"priority":{"type":"integer","minimum":1,"maximum":5}},"required":["text"]}}`},
	{name: "validate", method: "POST", path: "/v1/admin/schemas/agntcy:test.message.v1/validate", body: `{"payload":{"text":"Hello, World!","timestamp":"2024-01-15T10:30:00Z"}}`},
	{name: "schema statistics", method: "GET", path: "/v1/admin/schemas/stats"},
	{name: "send with a schema", method: "POST", path: "/v1/messages",
		body: `{"sender":"test@localhost","recipients":["user@localhost"],"subject":"Test Message","schema":"agntcy:test.message.v1","payload":{"text":"Hello, World!"}}`},
	{name: "discover agents", method: "GET", path: "/v1/discovery/agents"},
	{name: "discover agents of a domain", method: "GET", path: "/v1/discovery/agents/localhost"},
	{name: "discover agents of another domain", method: "GET", path: "/v1/discovery/agents/test.com"},
	{name: "delete a schema", method: "DELETE", path: "/v1/admin/schemas/agntcy:test.message.v1"},
}

// reader sends the requests one after the other, and keeps what later ones need.
type reader struct {
	g       *gateway
	key, id string
}

func (r *reader) do(t *testing.T, q request) answer {
	t.Helper()
	var headers []string
	if q.bearer != "" {
		headers = []string{"Authorization", "Bearer " + strings.ReplaceAll(q.bearer, "{key}", r.key)}
	}
	got := r.g.do(q.method, strings.ReplaceAll(q.path, "{id}", r.id), q.body, headers...)
	var said struct {
		MessageID string `json:"message_id"`
		Agent     struct {
			Address string
			APIKey  string `json:"api_key"`
		}
	}
	if q.method == http.MethodPost && json.Unmarshal(got.body, &said) == nil {
		if said.Agent.Address == "user@localhost" {
			r.key = said.Agent.APIKey
		}
		if said.MessageID != "" {
			r.id = said.MessageID
		}
	}
	return got
}

// Every request of the reference's README, with ours as it would be started by its users:
// the same status, and every member that its answers have.
func TestWithAgentryItsReadmeWorksWithOurs(t *testing.T) {
	var readers [2]*reader
	for i, g := range []*gateway{newGateway(t, "localhost").theirs(), newGateway(t, "localhost").ours("--compat", "agentry")} {
		delete(g.env, "AMTP_ADMIN_KEY_FILE")
		acquaint(t, g)
		g.env["AMTP_METRICS_ENABLED"] = "true"
		g.env["AMTP_SCHEMA_REGISTRY_TYPE"], g.env["AMTP_SCHEMA_REGISTRY_PATH"] = "local", t.TempDir()
		readers[i] = &reader{g: g.start()}
	}
	for _, q := range documented {
		theirs, ours := readers[0].do(t, q), readers[1].do(t, q)
		if q.want != 0 {
			if ours.status != q.want {
				t.Errorf("%s: status %d, want %d\n%s", q.name, ours.status, q.want, ours.body)
			}
			continue
		}
		if theirs.status != ours.status {
			t.Errorf("%s: status %d with ours, %d with theirs\n%s\n%s", q.name, ours.status, theirs.status, ours.body, theirs.body)
			continue
		}
		if a, b := theirs.kind(t), ours.kind(t); a != b {
			t.Errorf("%s: type %q with ours, %q with theirs", q.name, b, a)
		}
		var a, b any
		theirs.read(t, &a)
		ours.read(t, &b)
		for _, missing := range lacks(a, b, "") {
			t.Errorf("%s: %s\nwith ours\n%s\nwith theirs\n%s", q.name, missing, ours.body, theirs.body)
		}
	}
}

// lacks names the members of a that b has not, or has as another type. Members whose
// names are data are compared as elements of a list are: one stands for all.
func lacks(a, b any, path string) []string {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return []string{path + " is no object"}
		}
		var list []string
		for name, value := range a {
			other, ok := b[name]
			if !ok {
				if !free(path, name) {
					list = append(list, path+"."+name+" is missing")
				}
				continue
			}
			list = append(list, lacks(value, other, path+"."+name)...)
		}
		return list
	case []any:
		b, ok := b.([]any)
		switch {
		case !ok:
			return []string{path + " is no array"}
		case len(a) > 0 && len(b) == 0:
			return []string{path + " is empty"}
		case len(a) > 0:
			return lacks(a[0], b[0], path+"[]")
		}
		return nil
	case nil: // an absent value, whatever its type
		return nil
	}
	if fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
		return []string{fmt.Sprintf("%s is %T, want %T", path, b, a)}
	}
	return nil
}

// free are members that nobody can rely on: error details in the words of another
// program, and counts of requests that differ.
func free(path, name string) bool {
	return strings.HasPrefix(path+"."+name, ".error.details.") || strings.HasPrefix(path, ".http.") || strings.HasPrefix(path, ".messages.") || path == ".errors"
}
