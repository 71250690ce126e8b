package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// schemaTableInMemory is a table of schemas.
type schemaTableInMemory struct {
	mu   sync.Mutex
	rows map[string]store.Schema
	err  error
}

func (m *schemaTableInMemory) Schema(_ context.Context, id string) (store.Schema, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[id]
	if m.err == nil && !ok {
		return row, store.ErrNotFound
	}
	return row, m.err
}

func (m *schemaTableInMemory) Schemas(context.Context) ([]store.Schema, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []store.Schema{{ID: "not one of ours"}}
	for _, row := range m.rows {
		list = append(list, row)
	}
	return list, m.err
}

func (m *schemaTableInMemory) AddSchema(_ context.Context, v store.Schema) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rows[v.ID]; ok {
		return store.ErrExists
	}
	m.rows[v.ID] = v
	return m.err
}

func (m *schemaTableInMemory) PutSchema(_ context.Context, v store.Schema) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[v.ID] = v
	return m.err
}

func (m *schemaTableInMemory) RemoveSchema(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rows[id]; !ok {
		return store.ErrNotFound
	}
	delete(m.rows, id)
	return m.err
}

// withSchemas is the door of a gateway whose only part is its schemas.
func withSchemas(t *testing.T, cfg schema.Config) http.Handler {
	t.Helper()
	service, err := schema.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := closed(t, func(c *Config) { c.AdminOpen = true })
	s.parts.Store(&parts{schemas: service})
	return s.Handler()
}

func inMemory() schemaRows { return schemaRows{&schemaTableInMemory{rows: map[string]store.Schema{}}} }

const aMessage = `{"type":"object","properties":{"text":{"type":"string"},"timestamp":{"type":"string","format":"date-time"},"priority":{"type":"integer","minimum":1,"maximum":5}},"required":["text"]}`

// Rows 71-77: what administrators do with schemas, in the words of golden cases 052-087.
func TestSchemaRequests(t *testing.T) {
	t.Parallel()
	h := withSchemas(t, schema.Config{Registry: inMemory()})
	const one = "/v1/admin/schemas/agntcy:test.message.v1"
	put := func(definition string) string { return `{"definition":` + definition + `}` }
	for _, c := range []struct {
		method, path, body string
		status             int
		says               []string // each stands in the answer
	}{
		{"POST", "/v1/admin/schemas", `{"id":"agntcy:test.message.v1","definition":` + aMessage + `}`, 201, []string{`"message":"Schema registered successfully"`, `"schema_id":"agntcy:test.message.v1"`, `"timestamp":"`}},
		{"POST", "/v1/admin/schemas", `{"id":"agntcy:test.message.v1","definition":true}`, 409, []string{`"code":"SCHEMA_ALREADY_EXISTS"`, `"hint":"Use force=true to overwrite existing schema"`}},
		{"POST", "/v1/admin/schemas", `{"id":"agntcy:test.message.v1","definition":` + aMessage + `,"force":true}`, 201, nil},
		{"POST", "/v1/admin/schemas", `{"id":"agntcy:test.v1","definition":{}}`, 400, []string{`"code":"INVALID_SCHEMA_ID"`, `"message":"Invalid schema identifier"`, `"error":"invalid AGNTCY schema format: agntcy:test.v1 (expected: agntcy:domain.entity.version)"`}},
		{"POST", "/v1/admin/schemas", `{"id":"agntcy:test.message.v2"}`, 400, []string{`"code":"INVALID_REQUEST_FORMAT"`, `"parse_error":`}},
		{"POST", "/v1/admin/schemas", `{"definition":{}}`, 400, []string{`"code":"INVALID_REQUEST_FORMAT"`}},
		{"POST", "/v1/admin/schemas", `{"id":`, 400, []string{`"code":"INVALID_REQUEST_FORMAT"`}},
		{"POST", "/v1/admin/schemas", `{"id":"agntcy:test.bad.v1","definition":{"properties":{"a":{"type":"text"}}}}`, 400, []string{`"code":"SCHEMA_REGISTRATION_FAILED"`, `"pointer":"/properties/a/type"`}},
		{"GET", "/v1/admin/schemas?pattern=agntcy:test.*", "", 200, []string{`"count":1`, `"schemas":[{"domain":"test","entity":"message","version":"v1","raw":"agntcy:test.message.v1"}]`}},
		{"GET", "/v1/admin/schemas?pattern=test.message", "", 200, []string{`"count":1`}},
		{"GET", "/v1/admin/schemas?pattern=nobody", "", 200, []string{`"count":0`, `"schemas":null`}},
		{"GET", "/v1/admin/schemas?pattern=../..", "", 400, []string{`"code":"SCHEMA_LIST_FAILED"`}},
		{"GET", one, "", 200, []string{`"schema":{"id":{"domain":"test","entity":"message","version":"v1","raw":"agntcy:test.message.v1"},"definition":{"type":"object"`, `"published_at":"`}},
		{"GET", "/v1/admin/schemas/foo", "", 400, []string{`"code":"INVALID_SCHEMA_ID"`, `"schema_id":"foo"`}},
		{"GET", "/v1/admin/schemas/agntcy:no.body.v1", "", 404, []string{`"code":"SCHEMA_NOT_FOUND"`}},
		{"GET", "/v1/admin/schemas/stats", "", 200, []string{`"stats":{"total_schemas":1,"domains":{"test":1},"entities":{"message":1}}`}},
		{"PUT", one, put(`{"type":"object","required":["zzz"]}`), 409, []string{`"code":"SCHEMA_INCOMPATIBLE"`, `"backward":false`, `"pointer":"/required"`, `"breaks":"backward"`, `"mode":"backward"`, `"hint":"Use force=true`}},
		{"PUT", one, put(aMessage[:len(aMessage)-1] + `,"title":"t"}`), 200, []string{`"message":"Schema updated successfully"`}},
		{"PUT", one, put(`{"type":"text"}`), 400, []string{`"code":"SCHEMA_UPDATE_FAILED"`}},
		{"PUT", one, `{"id":"agntcy:test.message.v2","definition":true}`, 400, []string{`"code":"INVALID_SCHEMA_ID"`}},
		{"PUT", "/v1/admin/schemas/agntcy:test.message.v3", put(`{"required":["zzz"]}`), 200, []string{`"message":"Schema updated successfully"`}},
		{"POST", one + "/validate", `{"payload":{"text":"Hello, World!","timestamp":"2024-01-15T10:30:00Z"}}`, 200, []string{`"valid":true`, `"errors":null`, `"warnings":null`}},
		{"POST", one + "/validate", `{"payload":{"timestamp":"x","priority":9}}`, 200, []string{`"valid":false`, `{"field":"text","pointer":"/text","message":"required field missing","code":"REQUIRED_FIELD_MISSING"`, `"code":"INVALID_FORMAT"`, `"code":"VALUE_TOO_LARGE","keyword":"maximum","value":9`}},
		{"POST", one + "/validate", `{}`, 400, []string{`"code":"INVALID_REQUEST_FORMAT"`}},
		{"POST", "/v1/admin/schemas/agntcy:no.body.v1/validate", `{"payload":1}`, 200, []string{`"valid":false`, `"code":"SCHEMA_NOT_FOUND"`}},
		{"GET", one + "/compatibility?with=agntcy:test.message.v3", "", 200, []string{`"backward":false`, `"from":"agntcy:test.message.v1"`, `"changes":[{`}},
		{"GET", one + "/compatibility?with=x", "", 400, []string{`"code":"INVALID_SCHEMA_ID"`}},
		{"PUT", one + "?force=true", put(`{"type":"object","required":["zzz"]}`), 200, []string{`"compatibility":{"backward":false,"forward":false`}},
		{"GET", "/v1/schemas/negotiate?schema=agntcy:test.message.v1", "", 200, []string{`"requested":"agntcy:test.message.v1","negotiated":"agntcy:test.message.v1","exact":true,"supported":["agntcy:test.message.v1","agntcy:test.message.v3"]`}},
		{"GET", "/v1/schemas/negotiate?schema=agntcy:test.message.v2", "", 404, []string{`"code":"SCHEMA_NEGOTIATION_FAILED"`, `"supported":["agntcy:test.message.v1","agntcy:test.message.v3"]`}},
		{"GET", "/v1/schemas/negotiate", "", 400, []string{`"code":"INVALID_SCHEMA_ID"`}},
		{"DELETE", "/v1/admin/schemas/agntcy:test.message.v3", "", 200, []string{`"message":"Schema deleted successfully"`, `"schema_id":"agntcy:test.message.v3"`}},
		{"DELETE", "/v1/admin/schemas/agntcy:test.message.v3", "", 404, []string{`"code":"SCHEMA_NOT_FOUND"`}},
	} {
		resp := ask(t, h, c.method, c.path, c.body)
		got := text(t, resp)
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, resp.StatusCode, c.status, got)
		}
		for _, part := range c.says {
			if !strings.Contains(got, part) {
				t.Errorf("%s %s: no %s in %s", c.method, c.path, part, got)
			}
		}
	}
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	var body json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Golden case 072: an absent version is stood in for, and the answer says so.
func TestNegotiatedVersionIsTold(t *testing.T) {
	t.Parallel()
	h := withSchemas(t, schema.Config{Registry: inMemory(), Negotiation: schema.Negotiation{Enabled: true}})
	ask(t, h, "PUT", "/v1/admin/schemas/agntcy:test.message.v3", `{"definition":`+aMessage+`}`)
	got := text(t, ask(t, h, "POST", "/v1/admin/schemas/agntcy:test.message.v2/validate", `{"payload":{"text":"a"}}`))
	if !strings.Contains(got, `"valid":true`) || !strings.Contains(got, `"code":"SCHEMA_NEGOTIATED"`) || !strings.Contains(got, `"schema_id":"agntcy:test.message.v3"`) {
		t.Error(got)
	}
	got = text(t, ask(t, h, "GET", "/v1/schemas/negotiate?schema=agntcy:test.message.v2", ""))
	if !strings.Contains(got, `"negotiated":"agntcy:test.message.v3","exact":false`) || !strings.Contains(got, `"warning":"`) {
		t.Error(got)
	}
}

// Golden cases 057 and 075.
func TestSchemasNeedAKeyAndARegistry(t *testing.T) {
	t.Parallel()
	without := withSchemas(t, schema.Config{})
	for _, path := range []string{"/v1/admin/schemas", "/v1/admin/schemas/stats", "/v1/admin/schemas/agntcy:a.b.v1", "/v1/schemas/negotiate?schema=agntcy:a.b.v1"} {
		resp := ask(t, without, "GET", path, "")
		if e := refusalIn(t, resp); resp.StatusCode != 503 || e.Error.Code != amtp.CodeSchemaManagerUnavailable {
			t.Errorf("%s: %d %s", path, resp.StatusCode, e.Error.Code)
		}
	}
	service, err := schema.New(schema.Config{Registry: inMemory()})
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "admin.keys")
	if err := os.WriteFile(keys, []byte("test-admin-key-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := closed(t, func(c *Config) { c.Admins = auth.NewAdminKeys(keys, time.Now) })
	s.parts.Store(&parts{schemas: service})
	for _, c := range [][2]string{{"POST", ""}, {"GET", ""}, {"GET", "/stats"}, {"GET", "/agntcy:a.b.v1"}, {"PUT", "/agntcy:a.b.v1"}, {"DELETE", "/agntcy:a.b.v1"}, {"POST", "/agntcy:a.b.v1/validate"}, {"GET", "/agntcy:a.b.v1/compatibility"}} {
		if resp := ask(t, s.Handler(), c[0], "/v1/admin/schemas"+c[1], `{}`); resp.StatusCode != 401 {
			t.Errorf("%s %s without a key: %d", c[0], c[1], resp.StatusCode)
		}
	}
}

// What the registry says about a change reaches the client as a code, and nothing else does.
func TestSchemaRegistryErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
		code   amtp.Code
	}{
		"away":      {fmt.Errorf("%w: dial tcp 10.0.0.1:5432", schema.ErrUnavailable), 503, amtp.CodeServiceUnavailable},
		"read only": {schema.ErrReadOnly, 403, amtp.CodeSchemaRegistrationFailed},
		"unsigned":  {schema.ErrUntrusted, 400, amtp.CodeSchemaRegistrationFailed},
		"broken":    {fmt.Errorf("ERROR: duplicate key (SQLSTATE 23505)"), 500, amtp.CodeProcessingFailed},
	} {
		table := &schemaTableInMemory{rows: map[string]store.Schema{}}
		h := withSchemas(t, schema.Config{Registry: failing{schemaRows{table}, c.err}})
		resp := ask(t, h, "POST", "/v1/admin/schemas", `{"id":"agntcy:a.b.v1","definition":true}`)
		e := refusalIn(t, resp)
		if resp.StatusCode != c.status || e.Error.Code != c.code {
			t.Errorf("%s: %d %+v", name, resp.StatusCode, e.Error)
		}
		if strings.Contains(fmt.Sprint(e), "10.0.0.1") || strings.Contains(fmt.Sprint(e), "SQLSTATE") {
			t.Errorf("%s: tells about the inside: %+v", name, e)
		}
	}
}

// failing is a registry that takes nothing.
type failing struct {
	schema.Registry
	err error
}

func (f failing) Put(context.Context, schema.Schema, bool) error { return f.err }

func TestSchemaRows(t *testing.T) {
	t.Parallel()
	ctx, rows := t.Context(), inMemory()
	id := schema.ID{Domain: "a", Entity: "b", Version: 1}
	one := schema.Schema{ID: id, Definition: []byte(`true`), Published: time.Unix(1, 0).UTC()}
	if err := rows.Put(ctx, one, false); err != nil {
		t.Fatal(err)
	}
	if err := rows.Put(ctx, one, false); err != schema.ErrExists {
		t.Errorf("twice: %v", err)
	}
	if got, err := rows.Get(ctx, id); err != nil || string(got.Definition) != "true" || !got.Published.Equal(one.Published) {
		t.Errorf("%+v, %v", got, err)
	}
	if ids, err := rows.List(ctx, schema.Pattern{}); err != nil || len(ids) != 1 || ids[0] != id {
		t.Errorf("%v, %v", ids, err)
	}
	if err := rows.Remove(ctx, id); err != nil {
		t.Error(err)
	}
	if err := rows.Remove(ctx, id); err != schema.ErrNotFound {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := rows.Get(ctx, id); err != schema.ErrNotFound {
		t.Error(err)
	}
}
