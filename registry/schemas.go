package registry

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"amesh/identity"
	"amesh/internal/strictjson"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// schemaSubject keeps the JSON schemas that cards name. What was published does not
// change: a new version has a new id.
func (s *Server) schemaSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPut, path: "/v1/amesh/schemas/{id...}", raw: s.sealed(schemaType, maxSchemaSize, s.putSchema)},
		route{method: http.MethodGet, path: "/v1/amesh/schemas/{id...}", raw: s.look(s.schema)},
		route{method: http.MethodGet, path: "/v1/amesh/schemas", read: s.schemas},
	)
}

const (
	schemaType    = "application/schema+json"
	maxSchemaSize = 64 << 10 // bytes
	maxSchemaID   = 200      // bytes
)

// ours are first parts of ids under which nobody publishes: agentmesh's schemas are
// those of 0.2.
var ours = map[string]bool{"agentmesh": true, "amesh": true}

var (
	schemaPart    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	schemaVersion = regexp.MustCompile(`^v[1-9][0-9]{0,3}$`)
)

// schemaOwner reads an id, OWNER/NAME…/vN, and returns its owner: an AMID or a word.
func schemaOwner(id string) (string, error) {
	parts := strings.Split(id, "/")
	last := len(parts) - 1
	bad := wire.Invalid("%.80q is no id of a schema: want OWNER/NAME/v1, the parts of a-z, 0-9, - and _, the owner a word or an AMID", id)
	if len(id) > maxSchemaID || last < 2 || last > 6 || !schemaVersion.MatchString(parts[last]) {
		return "", bad
	}
	if _, err := identity.ParseAMID(parts[0]); err != nil && !schemaPart.MatchString(parts[0]) {
		return "", bad
	}
	for _, p := range parts[1:last] {
		if !schemaPart.MatchString(p) {
			return "", bad
		}
	}
	return parts[0], nil
}

// mayPublish lets everybody publish under his own name, and agents behind whom there is
// somebody under a word; the first of them keeps it (db.ErrTaken).
func mayPublish(owner string, by *db.Agent) error {
	switch {
	case owner == by.AMID.String():
		return nil
	case ours[owner]:
		return wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "nobody publishes under %s", owner)
	case !schemaPart.MatchString(owner):
		return wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "only %s publishes under its AMID", owner)
	case by.Tier == wire.TierAnonymous:
		return wire.Errorf(http.StatusForbidden, wire.CodeForbidden,
			"an agent of tier anonymous publishes under its own AMID: %s/NAME/v1", by.AMID)
	}
	return nil
}

func (s *Server) putSchema(tx *db.Tx, r *request) (reply, error) {
	id := r.PathValue("id")
	owner, err := schemaOwner(id)
	if err != nil {
		return reply{}, err
	}
	if err := mayPublish(owner, r.by.agent); err != nil {
		return reply{}, err
	}
	if _, err := strictjson.Object(r.raw); err != nil {
		return reply{}, wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "the schema is not one JSON object: %.200s", err)
	}
	isNew, err := tx.PutSchema(db.Schema{ID: id, Owner: owner, Publisher: r.by.amid, Body: r.raw, Published: r.now})
	if err != nil {
		return reply{}, stale(err)
	}
	out := reply{body: wire.Schema{ID: id, Publisher: r.by.amid.String(), Published: wire.Time{Time: r.now}}}
	if isNew {
		out.status = http.StatusCreated
	}
	return out, nil
}

func (s *Server) schema(tx *db.Tx, r *request) (string, []byte, error) {
	id := r.PathValue("id")
	if _, err := schemaOwner(id); err != nil {
		return "", nil, err
	}
	found, err := tx.Schema(id)
	if err != nil {
		return "", nil, orNotFound(err, "no such schema")
	}
	return schemaType, found.Body, nil
}

func (s *Server) schemas(r *request) (reply, error) {
	if err := s.mayAsk(r); err != nil {
		return reply{}, err
	}
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reply{}, wire.Invalid("the query is malformed")
	}
	limit, err := pageLimit(v)
	if err != nil {
		return reply{}, err
	}
	after := v.Get("cursor")
	if after != "" {
		if _, err := schemaOwner(after); err != nil {
			return reply{}, wire.Invalid("the cursor is not of this list: begin without one")
		}
	}
	var publisher *identity.AMID
	if text := v.Get("publisher"); text != "" {
		who, err := wire.ParseAMID(text)
		if err != nil {
			return reply{}, wire.Invalid("publisher: %s", err)
		}
		publisher = &who
	}
	out := wire.SchemaPage{Items: []wire.Schema{}}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		found, err := tx.Schemas(publisher, after, limit+1)
		if len(found) > limit {
			found = found[:limit]
			out.Next = found[limit-1].ID
		}
		for _, f := range found {
			out.Items = append(out.Items, wire.Schema{ID: f.ID, Publisher: f.Publisher.String(), Published: wire.Time{Time: f.Published}})
		}
		return err
	})
	return reply{body: out}, err
}
