package schema

import (
	"maps"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// unknownMembers warns about members that a definition speaks of nowhere, as
// agentry's strict mode does. A place counts as described when the definition
// has properties for it; what is allowed by additionalProperties is unknown all
// the same. It stops at limit warnings, or after unknownSteps, and follows plain
// references and allOf.
func unknownMembers(s *jsonschema.Schema, v any, limit int) []Problem {
	w := wanderer{limit: limit, left: unknownSteps}
	w.visit([]*jsonschema.Schema{s}, v, nil)
	return w.found
}

// unknownSteps is how many pairs of a value and a subschema are looked at.
const unknownSteps = 200_000

type wanderer struct {
	found []Problem
	limit int
	left  int
}

// visit looks at v, which all of schemas are about.
func (w *wanderer) visit(schemas []*jsonschema.Schema, v any, path []string) {
	schemas = spread(schemas)
	if w.left -= 1 + len(schemas); w.left < 0 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		described := slices.ContainsFunc(schemas, func(s *jsonschema.Schema) bool { return s.Properties != nil })
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if len(w.found) >= w.limit {
				return
			}
			here := append(slices.Clone(path), name)
			about := aboutMember(schemas, name)
			if described && len(about) == 0 {
				w.found = append(w.found, problemAt(here, CodeUnknownProperty, "properties", "unknown property"))
			}
			w.visit(about, v[name], here)
		}
	case []any:
		var about []*jsonschema.Schema
		for _, s := range schemas {
			if s.Items2020 != nil {
				about = append(about, s.Items2020)
			}
		}
		for i, item := range v {
			if len(about) == 0 || len(w.found) >= w.limit {
				return
			}
			w.visit(about, item, append(slices.Clone(path), strconv.Itoa(i)))
		}
	}
}

// aboutMember are the subschemas for a member of that name.
func aboutMember(schemas []*jsonschema.Schema, name string) []*jsonschema.Schema {
	var about []*jsonschema.Schema
	for _, s := range schemas {
		if child, ok := s.Properties[name]; ok {
			about = append(about, child)
		}
		for expr, child := range s.PatternProperties {
			if expr.MatchString(name) {
				about = append(about, child)
			}
		}
	}
	return about
}

// spread adds what schemas refer to and are made of.
func spread(schemas []*jsonschema.Schema) []*jsonschema.Schema {
	var all []*jsonschema.Schema
	for len(schemas) > 0 {
		s := schemas[0]
		schemas = schemas[1:]
		if s == nil || slices.Contains(all, s) {
			continue
		}
		all = append(all, s)
		schemas = append(schemas, s.Ref)
		schemas = append(schemas, s.AllOf...)
	}
	return all
}
