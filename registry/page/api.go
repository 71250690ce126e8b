package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// operation is one line of the API as a person reads it.
type operation struct {
	Method, Path, Says, More string
	Takes                    []field // of path, query and header
	Body                     string  // media type of the request, empty without one
	Sends, Gives             []field // members of the bodies
	Answers                  string  // media type of the answer, empty without one
}

// field is a parameter or a member of a body.
type field struct{ Name, Type, Says string }

// methods are the methods of a path in the order in which they are shown.
func methods(item *huma.PathItem) []*huma.Operation {
	var ops []*huma.Operation
	for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
		if op != nil {
			ops = append(ops, op)
		}
	}
	return ops
}

// operations turns an OpenAPI document into what the page lists.
func operations(api *huma.OpenAPI) []operation {
	if api == nil {
		return nil
	}
	var list []operation
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		for _, op := range methods(api.Paths[path]) {
			list = append(list, describeOperation(api, path, op))
		}
	}
	return list
}

func describeOperation(api *huma.OpenAPI, path string, op *huma.Operation) operation {
	out := operation{Method: op.Method, Path: path, Says: op.Summary, More: op.Description}
	for _, p := range op.Parameters {
		says := p.Description
		if says == "" && p.Schema != nil {
			says = p.Schema.Description
		}
		out.Takes = append(out.Takes, field{Name: p.Name + " (" + p.In + ")", Type: typeName(p.Schema), Says: says})
	}
	if op.RequestBody != nil {
		out.Body, out.Sends = bodyOf(api, op.RequestBody.Content)
	}
	for _, code := range slices.Sorted(maps.Keys(op.Responses)) {
		if strings.HasPrefix(code, "2") {
			out.Answers, out.Gives = bodyOf(api, op.Responses[code].Content)
		}
	}
	return out
}

// bodyOf is the media type of a body and, for JSON, its members.
func bodyOf(api *huma.OpenAPI, content map[string]*huma.MediaType) (string, []field) {
	if len(content) == 0 {
		return "", nil
	}
	kind := slices.Min(slices.Collect(maps.Keys(content)))
	schema := content[kind].Schema
	for schema != nil && schema.Ref != "" {
		schema = api.Components.Schemas.SchemaFromRef(schema.Ref)
	}
	if schema == nil {
		return kind, nil
	}
	var members []field
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		m := schema.Properties[name]
		members = append(members, field{Name: name, Type: typeName(m), Says: m.Description})
	}
	return kind, members
}

// typeName is a schema's type in a word or two.
func typeName(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray:
		return "list of " + typeName(s.Items)
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		return strings.Join(words, " | ")
	case s.ContentEncoding != "":
		return s.ContentEncoding
	case s.Format != "" && s.Type == huma.TypeString:
		return s.Format
	}
	return s.Type
}
