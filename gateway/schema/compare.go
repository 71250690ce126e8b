package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// compare works out what changed between two definitions, which must be valid.
//
// It compares keyword by keyword. A definition is a conjunction of its keywords,
// so when each one only allows more, or each only less, the whole does; where a
// keyword is not of that kind, and where documents refer to themselves in ways
// that cannot be followed, the answer is "unknown".
func compare(before, after any, alwaysFormat bool) Diff {
	c := &comparison{
		before: newDocument(before, alwaysFormat), after: newDocument(after, alwaysFormat),
		seen: make(map[pairing]bool), left: maxComparisons,
	}
	if canonical(before) == canonical(after) {
		return c.diff
	}
	if why := c.incomparable(); why != "" {
		c.unknown("", "$schema", why)
		return c.diff
	}
	c.pair(c.before.root(), c.after.root(), normal)
	if c.left <= 0 {
		c.unknown("", "$ref", "the definitions are too large to compare")
	}
	return c.diff
}

// maxComparisons is how many pairs of subschemas are looked at.
const maxComparisons = 20_000

// polarity says what a change inside means outside.
type polarity int

const (
	normal   polarity = 1
	inverted polarity = -1 // below not: what allows less allows more
	exact    polarity = 0  // below oneOf and if: any change may do anything
)

// effect is what a change does to the set of valid values.
type effect int

const (
	narrows effect = iota
	widens
	alters // both, or nobody knows
)

type comparison struct {
	before, after *document
	diff          Diff
	seen          map[pairing]bool
	left          int
}

type pairing struct {
	before, after string
	polarity      polarity
}

func (c *comparison) incomparable() string {
	switch {
	case c.before.dialect != c.after.dialect:
		return "the dialect changed, what that means is not known"
	case c.before.exotic != "" || c.after.exotic != "":
		return "uses " + max(c.before.exotic, c.after.exotic) + ", whose effect is not known"
	}
	return ""
}

func (c *comparison) unknown(at, keyword, message string) {
	c.diff.add(Change{Pointer: at, Kind: "rule", Keyword: keyword, Breaks: BreaksBoth, Unknown: true, Message: message + "; counts as breaking"})
}

// spot is where a comparison is, and what changes there mean.
type spot struct {
	at       string // of the new definition, or the old one where that has no such place
	polarity polarity
}

func (s spot) below(tokens ...string) spot {
	s.at += pointer(tokens)
	return s
}

func (c *comparison) note(s spot, e effect, kind, keyword string, before, after any, format string, args ...any) {
	ch := Change{Pointer: s.at, Kind: kind, Keyword: keyword, Old: short(before), New: short(after), Message: fmt.Sprintf(format, args...)}
	switch {
	case s.polarity == exact:
		ch.Unknown = true
		ch.Breaks = BreaksBoth
		ch.Message += " below oneOf or if, whose effect is not known; counts as breaking"
	case e == alters:
		ch.Breaks = BreaksBoth
	case (e == narrows) == (s.polarity == normal):
		ch.Breaks = BreaksBackward
	default:
		ch.Breaks = BreaksForward
	}
	c.diff.add(ch)
}

// undeclared notes a change that matters to members without a declaration only.
func (c *comparison) undeclared(s spot, e effect, kind, keyword, message string) {
	if s.polarity != normal {
		c.note(s, e, kind, keyword, nil, nil, "%s", message)
		return
	}
	breaks := BreaksForward
	if e == narrows {
		breaks = BreaksBackward
	}
	c.diff.add(Change{Pointer: s.at, Kind: kind, Keyword: keyword, Breaks: breaks, Undeclared: true, Message: message})
}

// pair compares two subschemas.
func (c *comparison) pair(before, after node, p polarity) {
	if c.left--; c.left <= 0 {
		return
	}
	before, knownBefore := c.before.follow(before)
	after, knownAfter := c.after.follow(after)
	key := pairing{before.at, after.at, p}
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	s := spot{at: after.place(before), polarity: p}
	if !knownBefore || !knownAfter {
		if canonical(before.value) != canonical(after.value) {
			c.unknown(s.at, "$ref", "refers elsewhere than before")
		}
		return
	}
	a, aFalse := c.before.rules(before)
	b, bFalse := c.after.rules(after)
	switch {
	case aFalse && bFalse:
	case aFalse:
		c.note(s, widens, "added", "", nil, nil, "nothing was allowed here")
	case bFalse:
		c.note(s, narrows, "removed", "", nil, nil, "nothing is allowed here any more")
	default:
		c.keywords(side{c.before, before, a}, side{c.after, after, b}, s)
	}
}

// side is one of the two subschemas that are compared.
type side struct {
	doc   *document
	node  node
	rules map[string]any
}

// child is the subschema under tokens, anything when there is none.
func (x side) child(tokens ...string) node {
	var v any = x.rules
	for _, token := range tokens {
		switch at := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = at[token]; !ok {
				return anything
			}
		case []any:
			i, ok := index(token, len(at))
			if !ok {
				return anything
			}
			v = at[i]
		default:
			return anything
		}
	}
	return node{value: v, at: x.node.at + pointer(tokens)}
}

func (x side) has(keyword string) bool {
	_, ok := x.rules[keyword]
	return ok
}

func (x side) object(keyword string) map[string]any {
	m, _ := x.rules[keyword].(map[string]any)
	return m
}

func (x side) list(keyword string) []any {
	l, _ := x.rules[keyword].([]any)
	return l
}

func (c *comparison) keywords(a, b side, s spot) {
	c.reference(a, b, s)
	c.types(a, b, s)
	c.values(a, b, s)
	c.numbers(a, b, s)
	c.texts(a, b, s)
	c.required(a, b, s)
	c.members(a, b, s)
	c.items(a, b, s)
	c.contains(a, b, s)
	c.combined(a, b, s)
	c.dependent(a, b, s)
	c.unevaluated(a, b, s)
}

// reference compares what is referred to beside other rules.
func (c *comparison) reference(a, b side, s spot) {
	switch {
	case a.has("$ref") && b.has("$ref"):
		c.pair(node{value: map[string]any{"$ref": a.rules["$ref"]}, at: a.node.at + "/$ref"},
			node{value: map[string]any{"$ref": b.rules["$ref"]}, at: b.node.at + "/$ref"}, s.polarity)
	case b.has("$ref"):
		c.note(s, narrows, "added", "$ref", nil, b.rules["$ref"], "what it refers to is asked for too")
	case a.has("$ref"):
		c.note(s, widens, "removed", "$ref", a.rules["$ref"], nil, "what it referred to is no longer asked for")
	}
}

// types compares the keyword type, an integer being a number without a fraction.
func (c *comparison) types(a, b side, s spot) {
	before, after := typeSet(a.rules["type"]), typeSet(b.rules["type"])
	lost, won := without(before, after), without(after, before)
	text := func(v any) any { return strings.Join(stringList(v), " or ") }
	switch {
	case len(lost) > 0 && len(won) > 0:
		c.note(s, alters, "type", "type", text(a.rules["type"]), text(b.rules["type"]), "the type changed")
	case len(lost) > 0:
		c.note(s, narrows, "type", "type", text(a.rules["type"]), text(b.rules["type"]), "%s is no longer allowed", strings.Join(lost, ", "))
	case len(won) > 0:
		c.note(s, widens, "type", "type", text(a.rules["type"]), text(b.rules["type"]), "%s is allowed too", strings.Join(won, ", "))
	}
}

var allTypes = []string{"null", "boolean", "object", "array", "integer", "fraction", "string"}

func typeSet(v any) []string {
	if v == nil {
		return allTypes
	}
	var set []string
	for _, name := range stringList(v) {
		if name == "number" {
			set = append(set, "integer", "fraction")
		} else {
			set = append(set, name)
		}
	}
	return set
}

// stringList reads a text or a list of texts.
func stringList(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	var rest []string
	for _, s := range a {
		if !slices.Contains(b, s) && !slices.Contains(rest, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// values compares enum and const.
func (c *comparison) values(a, b side, s spot) {
	before, aLimited := valueSet(a)
	after, bLimited := valueSet(b)
	switch {
	case !aLimited && !bLimited:
		return
	case !aLimited:
		c.note(s, narrows, "enum", "enum", nil, nil, "only listed values are allowed now")
		return
	case !bLimited:
		c.note(s, widens, "enum", "enum", nil, nil, "more than the listed values is allowed now")
		return
	}
	var lost, won []string
	for key := range before {
		if _, ok := after[key]; !ok {
			lost = append(lost, clip(key))
		}
	}
	for key := range after {
		if _, ok := before[key]; !ok {
			won = append(won, clip(key))
		}
	}
	slices.Sort(lost)
	slices.Sort(won)
	if len(lost) > 0 {
		c.note(s, narrows, "enum", "enum", strings.Join(lost, ", "), nil, "values are no longer allowed")
	}
	if len(won) > 0 {
		c.note(s, widens, "enum", "enum", nil, strings.Join(won, ", "), "values are allowed too")
	}
}

// valueSet returns the values that enum and const allow together, and whether
// they limit them at all.
func valueSet(x side) (map[string]bool, bool) {
	set := make(map[string]bool)
	if x.has("enum") {
		for _, v := range x.list("enum") {
			set[valueKey(v)] = true
		}
	}
	if x.has("const") {
		key := valueKey(x.rules["const"])
		if !x.has("enum") || set[key] {
			return map[string]bool{key: true}, true
		}
		return nil, true
	}
	return set, x.has("enum")
}

func valueKey(v any) string {
	var b strings.Builder
	writeKey(&b, v)
	return b.String()
}

// required compares the names that must be there.
func (c *comparison) required(a, b side, s spot) {
	before, after := stringList(a.rules["required"]), stringList(b.rules["required"])
	for _, name := range without(after, before) {
		c.note(s.below("required"), narrows, "required", "required", nil, name, "%q is required now", clip(name))
	}
	for _, name := range without(before, after) {
		c.note(s.below("required"), widens, "required", "required", name, nil, "%q is no longer required", clip(name))
	}
}

// dependent compares what the presence of a member asks for.
func (c *comparison) dependent(a, b side, s spot) {
	for _, name := range unionOf(a.object("dependentRequired"), b.object("dependentRequired")) {
		before, after := stringList(a.object("dependentRequired")[name]), stringList(b.object("dependentRequired")[name])
		at := s.below("dependentRequired", name)
		if more := without(after, before); len(more) > 0 {
			c.note(at, narrows, "required", "dependentRequired", nil, strings.Join(more, ", "), "more is required beside %q", clip(name))
		}
		if less := without(before, after); len(less) > 0 {
			c.note(at, widens, "required", "dependentRequired", strings.Join(less, ", "), nil, "less is required beside %q", clip(name))
		}
	}
	for _, name := range unionOf(a.object("dependentSchemas"), b.object("dependentSchemas")) {
		c.pair(a.child("dependentSchemas", name), b.child("dependentSchemas", name), s.polarity)
	}
	if a.has("dependencies") || b.has("dependencies") {
		c.same(a, b, s, "dependencies")
	}
}

// same notes a keyword that is not understood unless nothing about it changed.
func (c *comparison) same(a, b side, s spot, keyword string) {
	if canonical(a.rules[keyword]) == canonical(b.rules[keyword]) && !hasReference(a.rules[keyword]) {
		return
	}
	c.unknown(s.below(keyword).at, keyword, "what a change here does is not known")
}

// unionOf lists the names of both objects in order.
func unionOf(a, b map[string]any) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}

// unevaluated rules depend on everything beside them.
func (c *comparison) unevaluated(a, b side, s spot) {
	for _, keyword := range []string{"unevaluatedProperties", "unevaluatedItems"} {
		if isTrue(a.child(keyword).value) && isTrue(b.child(keyword).value) {
			continue
		}
		if canonical(a.rules) != canonical(b.rules) || hasReference(a.rules) {
			c.unknown(s.below(keyword).at, keyword, "depends on all rules beside it, and one of them may have changed")
		}
	}
}
