package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// SchemaID is a schema in a list.
type SchemaID struct {
	Domain  string `json:"domain,omitempty"`
	Entity  string `json:"entity,omitempty"`
	Version string `json:"version,omitempty"`
	Raw     string `json:"raw,omitempty"`
}

func (s SchemaID) String() string {
	if s.Raw != "" {
		return s.Raw
	}
	return "agntcy:" + s.Domain + "." + s.Entity + "." + s.Version
}

// Finding is one thing that is wrong with a payload, or with a change of a schema.
type Finding struct {
	Field   string `json:"field,omitempty"`
	Pointer string `json:"pointer,omitempty"`
	Message string `json:"message"`
	Code    string `json:"code,omitempty"`
}

// Validity is what a gateway finds about a payload.
type Validity struct {
	Valid    bool      `json:"valid"`
	Errors   []Finding `json:"errors"`
	Warnings []Finding `json:"warnings"`
}

type schemaBody struct {
	ID         string          `json:"id,omitempty"`
	Definition json.RawMessage `json:"definition"`
	Force      bool            `json:"force,omitempty"`
}

// AddSchema registers a schema; with force it may be there already.
func (c *Client) AddSchema(ctx context.Context, id string, definition json.RawMessage, force bool) error {
	return c.do(ctx, call{method: http.MethodPost, path: []string{"v1", "admin", "schemas"}, body: schemaBody{id, definition, force}}, nil)
}

// ChangeSchema puts another definition in the place of a schema's. One that breaks those
// who use it is refused without force.
func (c *Client) ChangeSchema(ctx context.Context, id string, definition json.RawMessage, force bool) error {
	return c.do(ctx, call{method: http.MethodPut, path: []string{"v1", "admin", "schemas", id}, body: schemaBody{"", definition, force}}, nil)
}

// Schemas are the schemas that a pattern fits, all for an empty one.
func (c *Client) Schemas(ctx context.Context, pattern string) ([]SchemaID, error) {
	got, err := get[struct {
		Schemas []SchemaID `json:"schemas"`
	}](ctx, c, values("pattern", pattern), "admin", "schemas")
	return got.Schemas, err
}

// Schema is a schema as the gateway shows it.
func (c *Client) Schema(ctx context.Context, id string) (json.RawMessage, error) {
	got, err := get[struct {
		Schema json.RawMessage `json:"schema"`
	}](ctx, c, nil, "admin", "schemas", id)
	return got.Schema, err
}

// RemoveSchema removes a schema.
func (c *Client) RemoveSchema(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "admin", "schemas", id}}, nil)
}

// Validate checks a payload against a schema.
func (c *Client) Validate(ctx context.Context, id string, payload json.RawMessage) (Validity, error) {
	return ask[Validity](ctx, c, call{method: http.MethodPost, path: []string{"v1", "admin", "schemas", id, "validate"},
		body: map[string]json.RawMessage{"payload": payload}})
}

// SchemaStats are the registry's numbers as the gateway shows them.
func (c *Client) SchemaStats(ctx context.Context) (json.RawMessage, error) {
	got, err := get[struct {
		Stats json.RawMessage `json:"stats"`
	}](ctx, c, nil, "admin", "schemas", "stats")
	return got.Stats, err
}

// Negotiate asks by which version of a schema the gateway would judge a payload, for
// everybody or for one recipient.
func (c *Client) Negotiate(ctx context.Context, id, recipient string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, values("schema", id, "recipient", recipient), "schemas", "negotiate")
}
