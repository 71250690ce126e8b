package schema

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// document is a definition that is being compared.
type document struct {
	value any
	// dialect is the draft: the URL of its meta-schema without scheme and fragment.
	dialect string
	// formats says that format is a rule.
	formats bool
	// siblings says that rules beside a $ref count.
	siblings bool
	// ignored are keywords that the dialect does not know.
	ignored []string
	// exotic names something in it that compare does not follow.
	exotic string
}

// What compare knows of the drafts. Others are exotic.
const (
	draft2020 = "json-schema.org/draft/2020-12/schema"
	draft2019 = "json-schema.org/draft/2019-09/schema"
	draft07   = "json-schema.org/draft-07/schema"
	draft06   = "json-schema.org/draft-06/schema"
)

func newDocument(v any, alwaysFormat bool) *document {
	d := &document{value: v, dialect: draft2020, formats: true, siblings: true}
	if root, ok := v.(map[string]any); ok {
		if text, ok := root["$schema"].(string); ok {
			d.dialect = strings.TrimSuffix(text[strings.Index(text, ":")+1:], "#")
			d.dialect = strings.TrimPrefix(d.dialect, "//")
			d.formats = alwaysFormat
		}
	}
	switch d.dialect {
	case draft2020:
	case draft2019:
		d.ignored = []string{"prefixItems"}
	case draft07, draft06:
		d.formats, d.siblings = true, false
		d.ignored = []string{"prefixItems", "minContains", "maxContains", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems"}
	default:
		d.exotic = "the dialect " + clip(d.dialect)
	}
	if d.exotic == "" {
		d.exotic = findExotic(v, true)
	}
	return d
}

// findExotic names the first keyword that changes what a reference means.
func findExotic(v any, root bool) string {
	switch v := v.(type) {
	case map[string]any:
		for _, keyword := range []string{"$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor"} {
			if v[keyword] != nil {
				return keyword
			}
		}
		if !root && v["$id"] != nil {
			return "$id"
		}
		for name, member := range v {
			if isData(name) {
				continue
			}
			if found := findExotic(member, false); found != "" {
				return found
			}
		}
	case []any:
		for _, item := range v {
			if found := findExotic(item, false); found != "" {
				return found
			}
		}
	}
	return ""
}

// node is a subschema and where it stands.
type node struct {
	value any
	at    string
}

// anything is what stands for a subschema that is not there. It is nowhere.
var anything = node{value: true, at: "(none)"}

// place is the pointer to show: that of n, or of other when n is nowhere.
func (n node) place(other node) string {
	if n.at == anything.at {
		n = other
	}
	return strings.TrimSuffix(n.at, "/$ref")
}

func (d *document) root() node { return node{value: d.value} }

// follow goes to what n refers to when it says nothing else. It reports false
// for a reference that leads out of the document or round in a circle.
func (d *document) follow(n node) (node, bool) {
	for range 32 {
		rules, never := d.rules(n)
		ref, ok := rules["$ref"].(string)
		if never || !ok || len(rules) > 1 {
			return n, true
		}
		target, ok := d.find(ref)
		if !ok {
			return node{value: map[string]any{"$ref": ref}, at: n.at}, false
		}
		n = target
	}
	return n, false
}

// find returns what a reference within the document names.
func (d *document) find(ref string) (node, bool) {
	text, ok := strings.CutPrefix(ref, "#")
	if !ok || text != "" && text[0] != '/' {
		return node{}, false
	}
	n := d.root()
	if text == "" {
		return n, true
	}
	for _, token := range strings.Split(text[1:], "/") {
		token, ok := unescape(token)
		if !ok {
			return node{}, false
		}
		switch at := n.value.(type) {
		case map[string]any:
			if n.value, ok = at[token]; !ok {
				return node{}, false
			}
		case []any:
			i, ok := index(token, len(at))
			if !ok {
				return node{}, false
			}
			n.value = at[i]
		default:
			return node{}, false
		}
		n.at += pointer([]string{token})
	}
	return n, true
}

// index reads token as a place in a list of n.
func index(token string, n int) (int, bool) {
	i, err := strconv.Atoi(token)
	return i, err == nil && i >= 0 && i < n
}

// rules returns what n asks for, without remarks; never says that nothing is
// allowed.
func (d *document) rules(n node) (rules map[string]any, never bool) {
	object, ok := n.value.(map[string]any)
	if !ok {
		return nil, n.value == false
	}
	rules = make(map[string]any, len(object))
	if ref, ok := object["$ref"]; ok && !d.siblings {
		rules["$ref"] = ref
		return rules, false
	}
	for keyword, value := range object {
		if ruleKeywords[keyword] && (keyword != "format" || d.formats) && !slices.Contains(d.ignored, keyword) {
			rules[keyword] = value
		}
	}
	return rules, false
}

// ruleKeywords are those that can make a value invalid.
var ruleKeywords = func() map[string]bool {
	set := make(map[string]bool)
	for _, keyword := range strings.Fields(`$ref type enum const
		multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern format
		maxItems minItems uniqueItems maxContains minContains contains items prefixItems additionalItems unevaluatedItems
		maxProperties minProperties required properties patternProperties additionalProperties propertyNames unevaluatedProperties
		dependentRequired dependentSchemas dependencies allOf anyOf oneOf not if then else`) {
		set[keyword] = true
	}
	return set
}()

// isTrue reports whether a subschema plainly allows everything.
func isTrue(v any) bool {
	object, ok := v.(map[string]any)
	if !ok {
		return v == true
	}
	for keyword := range object {
		if ruleKeywords[keyword] {
			return false
		}
	}
	return true
}

func hasReference(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if name == "$ref" || hasReference(member) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if hasReference(item) {
				return true
			}
		}
	}
	return false
}

// canonical writes v so that equal values have equal texts.
func canonical(v any) string { return valueKey(v) }

// unescape reads one token of a JSON pointer in the fragment of a URL.
func unescape(token string) (string, bool) {
	text, err := url.PathUnescape(token)
	if err != nil {
		return "", false
	}
	return pointerUnescape.Replace(text), true
}

var pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")
