package schema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
)

// numbers compares the bounds of numbers and of counts.
func (c *comparison) numbers(a, b side, s spot) {
	c.bound(s, "minimum", "exclusiveMinimum", lower(a), lower(b), 1)
	c.bound(s, "maximum", "exclusiveMaximum", upper(a), upper(b), -1)
	for _, keyword := range []string{"minLength", "minItems", "minProperties"} {
		c.bound(s, keyword, keyword, count(a, keyword, true), count(b, keyword, true), 1)
	}
	for _, keyword := range []string{"maxLength", "maxItems", "maxProperties"} {
		c.bound(s, keyword, keyword, count(a, keyword, false), count(b, keyword, false), -1)
	}
	before, after := number(a.rules["multipleOf"]), number(b.rules["multipleOf"])
	switch {
	case before == nil && after == nil || before != nil && after != nil && before.Cmp(after) == 0:
	case before == nil || after != nil && isMultiple(after, before):
		c.note(s, narrows, "bounds", "multipleOf", a.rules["multipleOf"], b.rules["multipleOf"], "fewer numbers are multiples")
	case after == nil || isMultiple(before, after):
		c.note(s, widens, "bounds", "multipleOf", a.rules["multipleOf"], b.rules["multipleOf"], "more numbers are multiples")
	default:
		c.note(s, alters, "bounds", "multipleOf", a.rules["multipleOf"], b.rules["multipleOf"], "other numbers are multiples")
	}
}

func isMultiple(a, b *big.Rat) bool {
	return b.Sign() != 0 && new(big.Rat).Quo(a, b).IsInt()
}

// limit is a bound; nil is none.
type limit struct {
	value     *big.Rat
	exclusive bool
}

func number(v any) *big.Rat {
	if v == nil {
		return nil
	}
	r, ok := new(big.Rat).SetString(fmt.Sprint(v))
	if !ok {
		return nil
	}
	return r
}

func lower(x side) *limit { return tighter(x, "minimum", "exclusiveMinimum", 1) }
func upper(x side) *limit { return tighter(x, "maximum", "exclusiveMaximum", -1) }

// tighter returns the stricter of an inclusive and an exclusive bound; sign is 1
// for lower bounds and -1 for upper ones.
func tighter(x side, inclusive, exclusive string, sign int) *limit {
	in, ex := number(x.rules[inclusive]), number(x.rules[exclusive])
	switch {
	case in == nil && ex == nil:
		return nil
	case ex == nil || in != nil && in.Cmp(ex)*sign > 0:
		return &limit{value: in}
	default:
		return &limit{value: ex, exclusive: true}
	}
}

// count reads a count; a minimum of 0 is none.
func count(x side, keyword string, minimum bool) *limit {
	n := number(x.rules[keyword])
	if n == nil || minimum && n.Sign() <= 0 {
		return nil
	}
	return &limit{value: n}
}

// bound compares two bounds; sign is 1 for lower and -1 for upper ones.
func (c *comparison) bound(s spot, inclusive, exclusive string, before, after *limit, sign int) {
	order := compareLimits(before, after, sign)
	keyword := inclusive
	if after != nil && after.exclusive || after == nil && before != nil && before.exclusive {
		keyword = exclusive
	}
	switch {
	case order < 0:
		c.note(s, narrows, "bounds", keyword, limitText(before), limitText(after), "the bound is tighter")
	case order > 0:
		c.note(s, widens, "bounds", keyword, limitText(before), limitText(after), "the bound is wider")
	}
}

// compareLimits is negative when after is tighter.
func compareLimits(before, after *limit, sign int) int {
	switch {
	case before == nil && after == nil:
		return 0
	case before == nil:
		return -1
	case after == nil:
		return 1
	}
	if order := before.value.Cmp(after.value) * sign; order != 0 {
		return order
	}
	switch {
	case after.exclusive && !before.exclusive:
		return -1
	case before.exclusive && !after.exclusive:
		return 1
	}
	return 0
}

func limitText(l *limit) any {
	if l == nil {
		return nil
	}
	return json.Number(ratText(l.value))
}

// texts compares pattern, format and uniqueItems, which have no more and less.
func (c *comparison) texts(a, b side, s spot) {
	for _, keyword := range []string{"pattern", "format"} {
		before, after := a.rules[keyword], b.rules[keyword]
		switch {
		case before == after:
		case before == nil:
			c.note(s, narrows, "format", keyword, nil, after, "a %s is asked for", keyword)
		case after == nil:
			c.note(s, widens, "format", keyword, before, nil, "the %s is no longer asked for", keyword)
		default:
			c.unknown(s.below(keyword).at, keyword, "another "+keyword+" is asked for, and which of them allows more is not known")
		}
	}
	before, after := a.rules["uniqueItems"] == true, b.rules["uniqueItems"] == true
	switch {
	case !before && after:
		c.note(s, narrows, "rule", "uniqueItems", false, true, "items must differ now")
	case before && !after:
		c.note(s, widens, "rule", "uniqueItems", true, false, "items may be equal now")
	}
}

// members compares properties, patternProperties and additionalProperties, which
// only mean something together.
func (c *comparison) members(a, b side, s spot) {
	for _, name := range unionOf(a.object("properties"), b.object("properties")) {
		_, declaredBefore := a.object("properties")[name]
		_, declaredAfter := b.object("properties")[name]
		switch {
		case declaredBefore && declaredAfter:
			c.pair(a.child("properties", name), b.child("properties", name), s.polarity)
		case declaredAfter:
			c.declared(b, a, name, s, narrows)
		default:
			c.declared(a, b, name, s, widens)
		}
	}
	for _, expr := range unionOf(a.object("patternProperties"), b.object("patternProperties")) {
		_, before := a.object("patternProperties")[expr]
		_, after := b.object("patternProperties")[expr]
		if before && after {
			c.pair(a.child("patternProperties", expr), b.child("patternProperties", expr), s.polarity)
			continue
		}
		c.unknown(s.below("patternProperties", expr).at, "patternProperties", "which members an expression adds or takes is not known")
	}
	c.pair(a.child("additionalProperties"), b.child("additionalProperties"), s.polarity)
	c.pair(a.child("propertyNames"), b.child("propertyNames"), s.polarity)
}

// declared compares a member that one side names with what the other side says
// of members that it does not name. The effect is that of the declaration where
// there was none: narrows when with is the new side, widens when it is the old.
func (c *comparison) declared(with, sans side, name string, s spot, e effect) {
	at := s.below("properties", name)
	kind, message := "added", fmt.Sprintf("%q is declared now", clip(name))
	if e == widens {
		kind, message = "removed", fmt.Sprintf("%q is no longer declared", clip(name))
	}
	if matchesExpression(sans, name) {
		c.unknown(at.at, "properties", "an expression in patternProperties speaks of this member too")
		return
	}
	declaration, other := with.child("properties", name), sans.child("additionalProperties")
	switch {
	case isTrue(other.value) && isTrue(declaration.value):
		c.diff.add(Change{Pointer: at.at, Kind: kind, Keyword: "properties", Breaks: BreaksNothing, Message: message})
	case isTrue(other.value) && !slices.Contains(stringList(with.rules["required"]), name) && !slices.Contains(stringList(sans.rules["required"]), name):
		c.undeclared(at, e, kind, "properties", message+"; before and after, members without a declaration may be anything")
	case isTrue(other.value):
		c.note(at, e, kind, "properties", nil, nil, "%s and was allowed to be anything", message)
	case other.value == false && e == narrows:
		c.note(at, widens, kind, "properties", nil, nil, "%s and was not allowed", message)
	case other.value == false:
		c.note(at, narrows, kind, "properties", nil, nil, "%s and not allowed any more", message)
	case e == narrows:
		c.pair(other, declaration, s.polarity)
	default:
		c.pair(declaration, other, s.polarity)
	}
}

func matchesExpression(x side, name string) bool {
	for expr := range x.object("patternProperties") {
		re, err := regexp.Compile(expr)
		if err != nil || re.MatchString(name) {
			return true
		}
	}
	return false
}

// items compares prefixItems and items place by place.
func (c *comparison) items(a, b side, s spot) {
	before, after := itemsOf(a), itemsOf(b)
	for i := range max(len(before.first), len(after.first)) {
		c.pair(before.of(i), after.of(i), s.polarity)
	}
	c.pair(before.rest, after.rest, s.polarity)
}

// sequence is what a definition says of the items of an array.
type sequence struct {
	first []node
	rest  node
}

func (q sequence) of(i int) node {
	if i < len(q.first) {
		return q.first[i]
	}
	return q.rest
}

// itemsOf reads prefixItems and items, or the list of older drafts.
func itemsOf(x side) sequence {
	keyword, rest := "prefixItems", x.child("items")
	if list, ok := x.rules["items"].([]any); ok && list != nil {
		keyword, rest = "items", x.child("additionalItems")
	}
	q := sequence{rest: rest}
	for i := range x.list(keyword) {
		q.first = append(q.first, x.child(keyword, strconv.Itoa(i)))
	}
	return q
}

// contains compares contains with its counts.
func (c *comparison) contains(a, b side, s spot) {
	if !a.has("contains") && !b.has("contains") {
		return
	}
	at := s.below("contains")
	if a.has("maxContains") || b.has("maxContains") {
		if a.has("contains") != b.has("contains") {
			c.unknown(at.at, "contains", "what came or went here is not known")
			return
		}
		c.pair(a.child("contains"), b.child("contains"), exact)
		c.bound(s, "maxContains", "maxContains", count(a, "maxContains", false), count(b, "maxContains", false), -1)
		c.bound(s, "minContains", "minContains", minContains(a), minContains(b), 1)
		return
	}
	before, after := minContains(a), minContains(b)
	switch {
	case before == nil && after == nil:
	case before == nil:
		c.note(at, narrows, "added", "contains", nil, nil, "an item of a kind is asked for")
	case after == nil:
		c.note(at, widens, "removed", "contains", nil, nil, "an item of a kind is no longer asked for")
	default:
		c.pair(a.child("contains"), b.child("contains"), s.polarity)
		c.bound(s, "minContains", "minContains", before, after, 1)
	}
}

// minContains is how many items must be as contains says; nil is none.
func minContains(x side) *limit {
	if !x.has("contains") {
		return nil
	}
	if !x.has("minContains") {
		return &limit{value: big.NewRat(1, 1)}
	}
	return count(x, "minContains", true)
}

// combined compares the keywords that combine subschemas.
func (c *comparison) combined(a, b side, s spot) {
	c.listed(a, b, s, "allOf", narrows, widens)
	c.listed(a, b, s, "anyOf", widens, narrows)
	c.oneOf(a, b, s)
	switch {
	case a.has("not") && b.has("not"):
		c.pair(a.child("not"), b.child("not"), -s.polarity)
	case b.has("not"):
		c.note(s.below("not"), narrows, "added", "not", nil, nil, "something is forbidden now")
	case a.has("not"):
		c.note(s.below("not"), widens, "removed", "not", nil, nil, "something is no longer forbidden")
	}
	c.conditions(a, b, s)
}

// listed compares allOf or anyOf: what another element and one element less do
// to the whole. A first or last anyOf is a rule that comes or goes.
func (c *comparison) listed(a, b side, s spot, keyword string, more, less effect) {
	before, after := elements(a, keyword), elements(b, keyword)
	switch {
	case keyword == "anyOf" && len(before) == 0 && len(after) > 0:
		c.note(s.below(keyword), narrows, "added", keyword, nil, nil, "one of several alternatives is asked for")
		return
	case keyword == "anyOf" && len(after) == 0 && len(before) > 0:
		c.note(s.below(keyword), widens, "removed", keyword, nil, nil, "alternatives are no longer asked for")
		return
	}
	if len(before) == len(after) {
		for i := range before {
			c.pair(before[i], after[i], s.polarity)
		}
		return
	}
	lost, won := unmatched(before, after), unmatched(after, before)
	for _, n := range won {
		c.note(spot{n.at, s.polarity}, more, "added", keyword, nil, nil, "an element of %s was added", keyword)
	}
	for _, n := range lost {
		c.note(spot{n.at, s.polarity}, less, "removed", keyword, nil, nil, "an element of %s was removed", keyword)
	}
}

// elements are the subschemas of a list.
func elements(x side, keyword string) []node {
	var list []node
	for i := range x.list(keyword) {
		list = append(list, x.child(keyword, strconv.Itoa(i)))
	}
	return list
}

// unmatched returns the elements of a that have no equal in b. What refers
// elsewhere equals nothing, since that may have changed.
func unmatched(a, b []node) []node {
	there := make(map[string]int)
	for _, n := range b {
		if !hasReference(n.value) {
			there[canonical(n.value)]++
		}
	}
	var rest []node
	for _, n := range a {
		key := canonical(n.value)
		if !hasReference(n.value) && there[key] > 0 {
			there[key]--
			continue
		}
		rest = append(rest, n)
	}
	return rest
}

func (c *comparison) oneOf(a, b side, s spot) {
	before, after := elements(a, "oneOf"), elements(b, "oneOf")
	at := s.below("oneOf")
	switch {
	case len(before) == 0 && len(after) > 0:
		c.note(at, narrows, "added", "oneOf", nil, nil, "exactly one of several alternatives is asked for")
	case len(after) == 0 && len(before) > 0:
		c.note(at, widens, "removed", "oneOf", nil, nil, "alternatives are no longer asked for")
	case len(before) != len(after):
		c.unknown(at.at, "oneOf", "another number of alternatives of which exactly one may match")
	default:
		for i := range before {
			c.pair(before[i], after[i], exact)
		}
	}
}

// conditions compares if, then and else. Without then and else an if says nothing.
func (c *comparison) conditions(a, b side, s spot) {
	says := func(x side) bool {
		return x.has("if") && (!isTrue(x.child("then").value) || !isTrue(x.child("else").value))
	}
	switch {
	case says(a) && says(b):
		c.pair(a.child("if"), b.child("if"), exact)
		c.pair(a.child("then"), b.child("then"), s.polarity)
		c.pair(a.child("else"), b.child("else"), s.polarity)
	case says(b):
		c.note(s.below("if"), narrows, "added", "if", nil, nil, "a condition was added")
	case says(a):
		c.note(s.below("if"), widens, "removed", "if", nil, nil, "a condition was removed")
	}
}
