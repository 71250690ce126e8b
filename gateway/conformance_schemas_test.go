package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"amesh/gateway"
	"amesh/gateway/amtp"
)

const schemasPath = "/v1/admin/schemas"

// newSchooled is newPair with schemas.
func newSchooled(t *testing.T, change ...func(*gateway.Config)) pair {
	t.Helper()
	return newPair(t, func(c *gateway.Config) {
		withSchemas(c)
		for _, f := range change {
			f(c)
		}
	})
}

// textSchema wants a member text, a string.
var textSchema = m{"type": "object", "properties": m{"text": m{"type": "string"}, "when": m{"type": "string", "format": "date-time"}}, "required": []string{"text"}}

func (p pair) teach(t *testing.T, id string, definition any) {
	t.Helper()
	p.Admin(http.MethodPost, schemasPath, m{"id": id, "definition": definition}).Want(http.StatusCreated)
}

func TestB071SchemasAreManagedAsByAgentry(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	const id = "agntcy:test.message.v1"
	look := func(what, want string, raw []byte) {
		t.Helper()
		if got := members(t, raw); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	look("register", "message schema_id timestamp", p.Admin(http.MethodPost, schemasPath, m{"id": id, "definition": textSchema}).Want(http.StatusCreated).Body)

	var list struct {
		Schemas []struct{ Domain, Entity, Version, Raw string }
		Count   int
	}
	p.Admin(http.MethodGet, schemasPath, nil).Want(http.StatusOK).Into(&list)
	if list.Count != 1 || len(list.Schemas) != 1 || list.Schemas[0].Raw != id || list.Schemas[0].Domain != "test" || list.Schemas[0].Entity != "message" || list.Schemas[0].Version != "v1" {
		t.Errorf("list: %+v", list)
	}
	got := p.Admin(http.MethodGet, schemasPath+"/"+id, nil).Want(http.StatusOK)
	if !strings.Contains(string(got.Body), `"required"`) {
		t.Errorf("get: %s", got.Body)
	}
	wider := m{"type": "object", "properties": m{"text": m{"type": "string"}, "when": m{"type": "string", "format": "date-time"}, "more": m{"type": "integer"}}, "required": []string{"text"}}
	if got := members(t, p.Admin(http.MethodPut, schemasPath+"/"+id, m{"definition": wider}).Want(http.StatusOK).Body); !strings.Contains(got, "message schema_id timestamp") {
		t.Errorf("put: %s", got)
	}
	p.Admin(http.MethodPut, schemasPath+"/agntcy:test.other.v1", m{"definition": textSchema}).Want(http.StatusOK) // made by it

	good := p.Admin(http.MethodPost, schemasPath+"/"+id+"/validate", m{"payload": m{"text": "x"}}).Want(http.StatusOK)
	if !strings.Contains(string(good.Body), `"valid":true`) || !strings.Contains(string(good.Body), `"errors":null`) || !strings.Contains(string(good.Body), `"warnings":null`) {
		t.Errorf("validate: %s", good.Body)
	}
	var bad struct {
		Valid  bool
		Errors []struct{ Field, Message, Code string }
	}
	p.Admin(http.MethodPost, schemasPath+"/"+id+"/validate", m{"payload": m{"when": "x"}}).Want(http.StatusOK).Into(&bad)
	var found []string
	for _, e := range bad.Errors {
		found = append(found, e.Field+" "+e.Code)
	}
	slices.Sort(found)
	if bad.Valid || !slices.Equal(found, []string{"text REQUIRED_FIELD_MISSING", "when INVALID_FORMAT"}) {
		t.Errorf("validate: %+v", bad)
	}
	unknown := p.Admin(http.MethodPost, schemasPath+"/agntcy:none.such.v1/validate", m{"payload": m{}}).Want(http.StatusOK)
	if !strings.Contains(string(unknown.Body), `"valid":false`) || !strings.Contains(string(unknown.Body), `"field":"schema"`) || !strings.Contains(string(unknown.Body), `"code":"SCHEMA_NEGOTIATION_FAILED"`) {
		t.Errorf("validate by an unknown schema: %s", unknown.Body)
	}
	p.Admin(http.MethodGet, schemasPath+"/stats", nil).Want(http.StatusOK)
	look("delete", "message schema_id timestamp", p.Admin(http.MethodDelete, schemasPath+"/"+id, nil).Want(http.StatusOK).Body)
	refused(t, "get", p.Admin(http.MethodGet, schemasPath+"/"+id, nil), http.StatusNotFound, amtp.CodeSchemaNotFound)
	for _, bad := range []string{"agntcy:test.v1", "foo", "agntcy:a.b.c.v1", "agntcy:a.b.1"} {
		refused(t, bad, p.Admin(http.MethodPost, schemasPath, m{"id": bad, "definition": textSchema}), http.StatusBadRequest, amtp.CodeInvalidSchemaID)
	}
	refused(t, "no definition", p.Admin(http.MethodPost, schemasPath, m{"id": id}), http.StatusBadRequest, amtp.CodeInvalidRequestFormat)
	plain := newPair(t, nil)
	refused(t, "no schemas", plain.Admin(http.MethodGet, schemasPath, nil), http.StatusServiceUnavailable, amtp.CodeSchemaManagerUnavailable)
}

func TestB072ASchemaIsRegisteredOnce(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	p.teach(t, "agntcy:test.message.v1", textSchema)
	again := m{"id": "agntcy:test.message.v1", "definition": textSchema}
	refused(t, "again", p.Admin(http.MethodPost, schemasPath, again), http.StatusConflict, amtp.CodeSchemaAlreadyExists)
	again["force"] = true
	if got := p.Admin(http.MethodPost, schemasPath, again); got.Status/100 != 2 {
		t.Errorf("with force: %d %s", got.Status, got.Body)
	}
}

func TestB073AnUnknownSchemaCannotBeDeleted(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	refused(t, "unknown", p.Admin(http.MethodDelete, schemasPath+"/agntcy:test.message.v1", nil), http.StatusNotFound, amtp.CodeSchemaNotFound)
}

func TestB074APatternWithAStarFindsSchemas(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	for _, id := range []string{"agntcy:test.message.v1", "agntcy:test.message.v2", "agntcy:test.note.v1", "agntcy:shop.order.v1"} {
		p.teach(t, id, textSchema)
	}
	for pattern, want := range map[string]int{
		"": 4, "agntcy:test.*": 3, "agntcy:test.message.*": 2, "agntcy:*": 4, "test": 3, "test.message": 2, "agntcy:shop.order.v1": 1, "agntcy:none.*": 0,
	} {
		var list struct{ Schemas []struct{ Raw string } }
		p.Admin(http.MethodGet, schemasPath+"?pattern="+pattern, nil).Want(http.StatusOK).Into(&list)
		if len(list.Schemas) != want {
			t.Errorf("%q: got %v, want %d", pattern, list.Schemas, want)
		}
	}
}

func TestB075ABreakingChangeIsAConflictWithItsDiff(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	const id = "agntcy:test.message.v1"
	p.teach(t, id, textSchema)
	breaking := m{"definition": m{"type": "object", "required": []string{"zzz"}}}
	got := p.Admin(http.MethodPut, schemasPath+"/"+id, breaking)
	refused(t, "breaking", got, http.StatusConflict, amtp.CodeSchemaIncompatible)
	if !strings.Contains(string(got.Body), "zzz") {
		t.Errorf("no diff in %s", got.Body)
	}
	breaking["force"] = true
	p.Admin(http.MethodPut, schemasPath+"/"+id, breaking).Want(http.StatusOK)
}

func TestB076ADefinitionIsAJSONSchema(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	for name, definition := range map[string]any{
		"type a number": m{"type": 5}, "unknown type": m{"type": "thing"}, "text": "x", "pattern broken": m{"pattern": "("},
		"minimum text": m{"minimum": "x"}, "dangling reference": m{"$ref": "#/$defs/none"}, "remote reference": m{"$ref": "http://127.0.0.1/x"},
	} {
		if got := p.Admin(http.MethodPost, schemasPath, m{"id": "agntcy:test.bad.v1", "definition": definition}); got.Status != http.StatusBadRequest || got.Code() == "" {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
}

func TestB077AnUnsupportedSchemaIsRefusedWithWhatIsSupported(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	p.teach(t, "agntcy:test.message.v1", textSchema)
	p.teach(t, "agntcy:shop.order.v1", m{})
	strict := p.Register("strict", "supported_schemas", []string{"agntcy:shop.order.v1", "agntcy:bank.*"})
	got := p.alice.Post(m{"recipients": []string{strict.Address}, "schema": "agntcy:test.message.v1", "payload": m{"text": "x"}}).Want(http.StatusBadRequest)
	for _, alternative := range []string{"agntcy:shop.order.v1", "agntcy:bank.*"} {
		if !strings.Contains(string(got.Body), alternative) {
			t.Errorf("%s is not named: %s", alternative, got.Body)
		}
	}
	if len(strict.Inbox()) != 0 {
		t.Error("it came in")
	}
}

func TestB078AStrictAndALenientRecipientAreJudgedApart(t *testing.T) {
	t.Parallel()
	p := newSchooled(t)
	p.teach(t, "agntcy:test.message.v1", textSchema)
	p.teach(t, "agntcy:shop.order.v1", m{})
	strict := p.Register("strict", "supported_schemas", []string{"agntcy:shop.order.v1"})
	res := taken(t, p.alice.Post(m{"recipients": []string{strict.Address, p.bob.Address}, "schema": "agntcy:test.message.v1", "payload": m{"text": "x"}}))
	for _, r := range res.Recipients {
		if r.Address == strict.Address && (r.Status != amtp.Failed || r.ErrorCode != amtp.CodeSchemaNotSupported) || r.Address == p.bob.Address && r.Status != amtp.Delivered {
			t.Errorf("got %+v", r)
		}
	}
	if len(strict.Inbox()) != 0 || len(p.bob.Inbox()) != 1 {
		t.Errorf("strict has %d, bob %d", len(strict.Inbox()), len(p.bob.Inbox()))
	}
	refused(t, "not as the schema says", p.alice.Post(m{"recipients": []string{p.bob.Address}, "schema": "agntcy:test.message.v1", "payload": m{"n": 1}}),
		http.StatusBadRequest, amtp.CodeMessageValidationFailed)
}

func TestB079AForeignSchemaOnItsWayOutIsNoError(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, accepts(http.StatusOK, amtp.Delivered))
	p := newSchooled(t, knows(map[string]string{"x.test": "v=amtp1;gateway=" + peer.URL}))
	st := p.alice.Settled(taken(t, p.alice.Post(m{"recipients": []string{"u@x.test"}, "schema": "agntcy:their.own.v7", "payload": m{"n": 1}})).MessageID)
	var sent struct{ Schema string }
	if got := peer.requests(); st.Status != amtp.Delivered || len(got) != 1 || json.Unmarshal(got[0].Body, &sent) != nil || sent.Schema != "agntcy:their.own.v7" {
		t.Errorf("got %+v", st)
	}
}
