package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/schema"
)

// schemaSubject is what payloads may look like: administrators register definitions, and
// anybody may ask which version of one to use.
func (s *Server) schemaSubject() {
	const all, one = "/v1/admin/schemas", "/v1/admin/schemas/{id}"
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: all, may: s.admins, answer: s.registerSchema},
		route{method: http.MethodGet, path: all, may: s.admins, answer: s.listSchemas},
		route{method: http.MethodGet, path: all + "/stats", may: s.admins, answer: s.schemaStats},
		route{method: http.MethodGet, path: one, may: s.admins, answer: s.ofSchema(s.showSchema)},
		route{method: http.MethodPut, path: one, may: s.admins, answer: s.ofSchema(s.updateSchema)},
		route{method: http.MethodDelete, path: one, may: s.admins, answer: s.ofSchema(s.removeSchema)},
		route{method: http.MethodPost, path: one + "/validate", may: s.admins, answer: s.ofSchema(s.validatePayload)},
		route{method: http.MethodGet, path: one + "/compatibility", may: s.admins, answer: s.ofSchema(s.compareSchemas)},
		route{method: http.MethodGet, path: "/v1/schemas/negotiate", may: anyone, answer: s.negotiateSchema},
	)
}

// definition is the body of a request to register or to replace a schema.
type definition struct {
	ID         string          `json:"id"`
	Definition json.RawMessage `json:"definition"`
	Signature  string          `json:"signature"`
	Force      bool            `json:"force"`
}

// changed is the answer to a change.
type changed struct {
	Message       string         `json:"message"`
	ID            string         `json:"schema_id"`
	Timestamp     time.Time      `json:"timestamp"`
	Compatibility *compatibility `json:"compatibility,omitempty"`
}

// compatibility is a schema.Diff, as the API tells it.
type compatibility struct {
	Backward bool `json:"backward"`
	Forward  bool `json:"forward"`
	schema.Diff
}

func newCompatibility(d schema.Diff) *compatibility {
	return &compatibility{d.Allows(schema.ModeBackward, false), d.Allows(schema.ModeForward, false), d}
}

// ofSchema is for routes with a schema's identifier in the path.
func (s *Server) ofSchema(answer func(*request, schema.ID) (reply, error)) func(*request) (reply, error) {
	return func(r *request) (reply, error) {
		id, err := s.schemaID(r, r.PathValue("id"))
		if err != nil {
			return reply{}, err
		}
		return answer(r, id)
	}
}

func (s *Server) schemaID(r *request, text string) (schema.ID, error) {
	if err := managed(r); err != nil {
		return schema.ID{}, err
	}
	id, err := schema.ParseID(text)
	if err != nil {
		return id, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidSchemaID, "Invalid schema identifier").
			With("schema_id", text).With("error", err.Error())
	}
	return id, nil
}

// managed refuses where there is no registry.
func managed(r *request) error {
	if !r.schemas.Configured() {
		return amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeSchemaManagerUnavailable, "Schema management is not configured")
	}
	return nil
}

// readDefinition reads what a client wants to be the definition. The id may be missing
// where the path has it.
func readDefinition(r *request) (definition, error) {
	in, err := decode[definition](r)
	if err != nil {
		return in, err
	}
	if len(in.Definition) == 0 || string(in.Definition) == "null" {
		return in, missing("definition")
	}
	return in, nil
}

func missing(member string) error {
	return amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "Invalid request format").
		With("parse_error", "the member "+strconv.Quote(member)+" is required")
}

func (s *Server) registerSchema(r *request) (reply, error) {
	if err := managed(r); err != nil {
		return reply{}, err
	}
	in, err := readDefinition(r)
	if err == nil && in.ID == "" {
		err = missing("id")
	}
	if err != nil {
		return reply{}, err
	}
	id, err := s.schemaID(r, in.ID)
	if err != nil {
		return reply{}, err
	}
	diff, err := r.schemas.Register(r.Context(), schema.Schema{ID: id, Definition: in.Definition, Signature: in.Signature}, in.Force)
	if err != nil {
		return reply{}, s.schemaFailed(err, id, amtp.CodeSchemaRegistrationFailed, "Failed to register schema")
	}
	return reply{status: http.StatusCreated, body: changeOf("Schema registered successfully", id, r, diff)}, nil
}

func changeOf(message string, id schema.ID, r *request, diff schema.Diff) changed {
	c := changed{Message: message, ID: id.String(), Timestamp: r.now.UTC()}
	if len(diff.Changes) > 0 {
		c.Compatibility = newCompatibility(diff)
	}
	return c
}

func (s *Server) updateSchema(r *request, id schema.ID) (reply, error) {
	in, err := readDefinition(r)
	if err != nil {
		return reply{}, err
	}
	if in.ID != "" && in.ID != id.String() {
		return reply{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidSchemaID, "the body is about another schema than the path").
			With("schema_id", in.ID)
	}
	next := schema.Schema{ID: id, Definition: in.Definition, Signature: in.Signature}
	force := in.Force || r.URL.Query().Get("force") == "true"
	var diff schema.Diff
	if r.Header.Get("If-None-Match") == "*" {
		diff, err = r.schemas.Register(r.Context(), next, false)
	} else {
		diff, _, err = r.schemas.Update(r.Context(), next, force)
	}
	if err != nil {
		return reply{}, s.schemaFailed(err, id, amtp.CodeSchemaUpdateFailed, "Failed to update schema")
	}
	return reply{body: changeOf("Schema updated successfully", id, r, diff)}, nil
}

func (s *Server) removeSchema(r *request, id schema.ID) (reply, error) {
	if err := r.schemas.Remove(r.Context(), id); err != nil {
		return reply{}, s.schemaFailed(err, id, amtp.CodeSchemaDeleteFailed, "Failed to delete schema")
	}
	return reply{body: changeOf("Schema deleted successfully", id, r, schema.Diff{})}, nil
}

// schemaFailed is the error of something that was asked about a schema.
func (s *Server) schemaFailed(err error, id schema.ID, code amtp.Code, message string) error {
	fail := func(status int, code amtp.Code, message string) *amtp.Error {
		return amtp.Errorf(status, code, "%s", message).With("schema_id", id.String())
	}
	if refused, ok := errors.AsType[*schema.DefinitionError](err); ok {
		return fail(http.StatusBadRequest, code, message+": the definition is no usable JSON Schema").
			With("error", err.Error()).With("errors", refused.Problems)
	}
	if broken, ok := errors.AsType[*schema.IncompatibleError](err); ok {
		return fail(http.StatusConflict, amtp.CodeSchemaIncompatible, err.Error()).With("mode", broken.Mode).
			With("compared_with", broken.From.String()).With("compatibility", newCompatibility(broken.Diff)).
			With("hint", "Use force=true to replace it all the same, or register a new version")
	}
	if none, ok := errors.AsType[*schema.NegotiationError](err); ok {
		return fail(http.StatusNotFound, amtp.Code(schema.CodeNegotiationFailed), err.Error()).With("supported", texts(none.Available))
	}
	switch {
	case errors.Is(err, schema.ErrNotFound):
		return fail(http.StatusNotFound, amtp.CodeSchemaNotFound, "Schema not found").With("error", err.Error())
	case errors.Is(err, schema.ErrExists):
		return fail(http.StatusConflict, amtp.CodeSchemaAlreadyExists, "Schema already exists").
			With("hint", "Use force=true to overwrite existing schema")
	case errors.Is(err, schema.ErrReadOnly):
		return fail(http.StatusForbidden, code, message+": the registry takes no changes from here")
	case errors.Is(err, schema.ErrUntrusted):
		return fail(http.StatusBadRequest, code, message+": "+schema.ErrUntrusted.Error())
	case errors.Is(err, schema.ErrRefused):
		return fail(http.StatusBadRequest, code, message).With("error", err.Error())
	case errors.Is(err, schema.ErrUnavailable):
		s.log.Warn("schema registry unavailable", "err", err)
		e := fail(http.StatusServiceUnavailable, amtp.CodeServiceUnavailable, "the schema registry does not answer: try again")
		e.RetryAfter = s.limits.RetryAfter
		return e
	}
	return err
}

func texts(ids []schema.ID) []string {
	list := make([]string, 0, len(ids))
	for _, id := range ids {
		list = append(list, id.String())
	}
	return list
}

func (s *Server) listSchemas(r *request) (reply, error) {
	if err := managed(r); err != nil {
		return reply{}, err
	}
	p, err := schema.ParsePattern(r.URL.Query().Get("pattern"))
	if err != nil {
		return reply{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeSchemaListFailed, "Failed to list schemas").With("error", err.Error())
	}
	ids, err := r.schemas.List(r.Context(), p)
	if err != nil {
		return reply{}, s.schemaFailed(err, schema.ID{}, amtp.CodeSchemaListFailed, "Failed to list schemas")
	}
	return reply{body: struct {
		Schemas   []schema.ID `json:"schemas"` // null when there are none, as agentry's
		Count     int         `json:"count"`
		Timestamp time.Time   `json:"timestamp"`
	}{ids, len(ids), r.now.UTC()}}, nil
}

func (s *Server) showSchema(r *request, id schema.ID) (reply, error) {
	found, err := r.schemas.Get(r.Context(), id)
	if err != nil {
		return reply{}, s.schemaFailed(err, id, amtp.CodeSchemaNotFound, "Schema not found")
	}
	return reply{body: struct {
		Schema    schema.Schema `json:"schema"`
		Timestamp time.Time     `json:"timestamp"`
	}{found, r.now.UTC()}}, nil
}

func (s *Server) schemaStats(r *request) (reply, error) {
	if err := managed(r); err != nil {
		return reply{}, err
	}
	stats, err := r.schemas.Stats(r.Context())
	if err != nil {
		return reply{}, s.schemaFailed(err, schema.ID{}, amtp.CodeSchemaListFailed, "Failed to list schemas")
	}
	return reply{body: struct {
		Stats     schema.Stats `json:"stats"`
		Timestamp time.Time    `json:"timestamp"`
	}{stats, r.now.UTC()}}, nil
}

// validatePayload says what a payload would be worth. What does not fit is an answer and
// no error.
func (s *Server) validatePayload(r *request, id schema.ID) (reply, error) {
	in, err := decode[struct {
		Payload json.RawMessage `json:"payload"`
	}](r)
	if err == nil && in.Payload == nil {
		err = missing("payload")
	}
	if err != nil {
		return reply{}, err
	}
	verdict, err := r.schemas.Validate(r.Context(), id, in.Payload)
	if code := missingCode(err); code != "" {
		verdict = schema.Result{Errors: []schema.Problem{{Field: "schema", Message: err.Error(), Code: code, Value: id.String()}}, Used: id}
	} else if err != nil {
		return reply{}, s.schemaFailed(err, id, amtp.CodeValidationFailed, "Schema validation failed")
	}
	return reply{body: struct {
		Valid     bool             `json:"valid"`
		Errors    []schema.Problem `json:"errors"`
		Omitted   int              `json:"omitted_errors,omitempty"`
		Warnings  []schema.Problem `json:"warnings"`
		Used      string           `json:"schema_id"`
		Timestamp time.Time        `json:"timestamp"`
	}{verdict.Valid, verdict.Errors, verdict.Omitted, verdict.Warnings, verdict.Used.String(), r.now.UTC()}}, nil
}

// missingCode is the code of a schema that is not there, and that no other stands in for:
// a payload cannot be worth anything under it. Empty for other errors.
func missingCode(err error) schema.Code {
	if _, ok := errors.AsType[*schema.NegotiationError](err); ok {
		return schema.CodeNegotiationFailed
	}
	if errors.Is(err, schema.ErrNotFound) {
		return schema.CodeNotFound
	}
	return ""
}

// compareSchemas says what changed from the schema in the path to the one named by with.
func (s *Server) compareSchemas(r *request, from schema.ID) (reply, error) {
	to, err := s.schemaID(r, r.URL.Query().Get("with"))
	if err != nil {
		return reply{}, err
	}
	diff, err := r.schemas.Compare(r.Context(), from, to)
	if err != nil {
		return reply{}, s.schemaFailed(err, to, amtp.CodeSchemaNotFound, "Schema not found")
	}
	return reply{body: struct {
		From          string         `json:"from"`
		To            string         `json:"to"`
		Compatibility *compatibility `json:"compatibility"`
		Timestamp     time.Time      `json:"timestamp"`
	}{from.String(), to.String(), newCompatibility(diff), r.now.UTC()}}, nil
}

// negotiateSchema says which version a message would be judged by, for a recipient if one
// is named: GET /v1/schemas/negotiate?schema=ID&recipient=ADDRESS.
func (s *Server) negotiateSchema(r *request) (reply, error) {
	q := r.URL.Query()
	id, err := s.schemaID(r, q.Get("schema"))
	if err != nil {
		return reply{}, err
	}
	var supported []string
	if text := q.Get("recipient"); text != "" {
		if supported, err = s.supportedBy(r, text); err != nil {
			return reply{}, err
		}
	}
	n, err := r.schemas.Negotiate(r.Context(), id, supported)
	if err != nil {
		return reply{}, s.schemaFailed(err, id, amtp.CodeSchemaNotFound, "Schema not found")
	}
	body := struct {
		Requested  string    `json:"requested"`
		Negotiated string    `json:"negotiated"`
		Exact      bool      `json:"exact"`
		Supported  []string  `json:"supported"`
		Warning    string    `json:"warning,omitempty"`
		Timestamp  time.Time `json:"timestamp"`
	}{id.String(), n.Used.String(), n.Exact(), texts(n.Available), "", r.now.UTC()}
	if !n.Exact() {
		body.Warning = "schema '" + body.Requested + "' is not taken here, payloads are judged by '" + body.Negotiated + "'"
	}
	return reply{body: body}, nil
}

// supportedBy is what an agent of ours takes; nothing for one that takes anything.
func (s *Server) supportedBy(r *request, text string) ([]string, error) {
	address, err := amtp.ParseAddress(text)
	if err != nil {
		return nil, err
	}
	agent, ok := r.agents.Search(r.Context(), address.Local)
	if address.Domain != s.cfg.Domain || !ok {
		return nil, amtp.Errorf(http.StatusNotFound, amtp.CodeAgentUnknown, "no agent of this domain has that name").With("address", text)
	}
	if !agent.RequiresSchema {
		return nil, nil
	}
	return agent.Schemas, nil
}
