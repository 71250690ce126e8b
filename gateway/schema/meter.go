package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A few hundred bytes of definition can ask for more comparisons than there are
// atoms: two references to itself in an anyOf double the work on each level of
// the payload. The library has no way to stop it, so every compiled subschema
// gets a format whose check counts first. Formats are looked at before all that
// has children, which is what makes this work; what runs before them (type,
// const, enum) is charged to the parent in advance.

// meter counts the steps of one check at a time.
type meter struct {
	left  int
	until time.Time
	calls int
}

// What a check runs out of.
var (
	errSteps = errors.New("the check takes too many steps")
	errTime  = errors.New("the check takes too long")
)

// clockEvery is how many charges pass between two looks at the clock.
const clockEvery = 64

// start fills the meter for one check.
func (m *meter) start(steps int, until time.Time) {
	m.left, m.until, m.calls = steps, until, 0
}

// charge panics with errSteps or errTime, which run recovers.
func (m *meter) charge(steps int) {
	m.left -= steps
	if m.left < 0 {
		panic(errSteps)
	}
	if m.calls++; m.calls%clockEvery == 0 && time.Now().After(m.until) {
		panic(errTime)
	}
}

// run validates v. The error is errSteps, errTime, or what is wrong with v.
func (p *program) run(v any, steps int, until time.Time) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if stop, ok := r.(error); ok && (stop == errSteps || stop == errTime) {
				err = stop
				return
			}
			// A payload that upsets the library must not end the gateway.
			err = fmt.Errorf("the check failed: %v", r)
		}
	}()
	p.meter.start(steps, until)
	return p.schema.Validate(v)
}

// reached lists all that can be reached from roots.
func reached(roots []*jsonschema.Schema) []*jsonschema.Schema {
	seen := make(map[*jsonschema.Schema]bool)
	var all []*jsonschema.Schema
	for len(roots) > 0 {
		s := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if s == nil || seen[s] {
			continue
		}
		seen[s] = true
		all = append(all, s)
		roots = append(roots, slices.Concat(inPlace(s), ofItems(s), ofMembers(s))...)
	}
	return all
}

// instrument gives each of all a price.
func (m *meter) instrument(all []*jsonschema.Schema) {
	for _, s := range all {
		if s.Bool == nil {
			s.Format = m.priced(s)
		}
	}
}

// priced is the format of s that charges first.
func (m *meter) priced(s *jsonschema.Schema) *jsonschema.Format {
	price := priceOf(s)
	format := s.Format
	unique := s.UniqueItems
	// The library compares each item with each other whose hash is equal, and
	// equal hashes are easy to make.
	s.UniqueItems = false
	name := ""
	if format != nil {
		name = format.Name
	}
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		m.charge(price.of(v))
		if items, ok := v.([]any); ok && unique {
			if err := duplicate(items); err != nil {
				return err
			}
		}
		if format == nil {
			return nil
		}
		return format.Validate(v)
	}}
}

// price is what one comparison with a subschema costs.
type price struct {
	flat      int // the subschema itself and those applied to the same value
	perItem   int
	perMember int
	perText   int // for each textUnit bytes of a string
	perName   int // the same for names of members
}

const (
	textUnit = 4096
	// dataUnit is how many values of an enum cost one step.
	dataUnit = 8
)

func (p price) of(v any) int {
	switch v := v.(type) {
	case []any:
		return p.flat + len(v)*p.perItem
	case map[string]any:
		n := p.flat + len(v)*p.perMember
		if p.perName > 0 {
			for name := range v {
				n += 1 + len(name)*p.perName/textUnit
			}
		}
		return n
	case string:
		return p.flat + len(v)*p.perText/textUnit
	default:
		return p.flat
	}
}

func priceOf(s *jsonschema.Schema) price {
	p := price{flat: own(s), perText: 16 + regexpSize(s.Pattern)}
	for _, child := range inPlace(s) {
		p.flat += own(child)
	}
	for _, child := range ofItems(s) {
		p.perItem += own(child)
	}
	// Of many prefixItems one applies to an item.
	dearest := 0
	for _, child := range s.PrefixItems {
		p.perItem -= own(child)
		dearest = max(dearest, own(child))
	}
	p.perItem += dearest
	if s.UniqueItems {
		p.perItem++
	}
	dearest = 0
	for _, child := range s.Properties {
		dearest = max(dearest, own(child))
	}
	p.perMember = dearest
	for expr, child := range s.PatternProperties {
		p.perMember += own(child)
		p.perName += regexpSize(expr)
	}
	for _, child := range []any{s.AdditionalProperties, s.PropertyNames, s.UnevaluatedProperties} {
		if child, ok := child.(*jsonschema.Schema); ok && child != nil {
			p.perMember += own(child)
		}
	}
	return p
}

// own is what comparing a value with s costs before its format is looked at.
func own(s *jsonschema.Schema) int {
	n := 1 + len(s.Required)/dataUnit
	if s.Enum != nil {
		n += valuesIn(s.Enum.Values) / dataUnit
	}
	if s.Const != nil {
		n += valuesIn(*s.Const) / dataUnit
	}
	for _, names := range s.DependentRequired {
		n += 1 + len(names)/dataUnit
	}
	return n
}

func valuesIn(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += valuesIn(item)
		}
	case map[string]any:
		for _, member := range v {
			n += valuesIn(member)
		}
	}
	return n
}

func regexpSize(r jsonschema.Regexp) int {
	if e, ok := r.(*expression); ok {
		return e.size
	}
	return 0
}

// inPlace are the subschemas that s applies to the same value.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Concat(s.AllOf, s.AnyOf, s.OneOf)
	for _, child := range []*jsonschema.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else, s.ContentSchema} {
		if child != nil {
			list = append(list, child)
		}
	}
	if s.DynamicRef != nil {
		list = append(list, s.DynamicRef.Ref)
	}
	for _, child := range s.DependentSchemas {
		list = append(list, child)
	}
	for _, child := range s.Dependencies {
		if child, ok := child.(*jsonschema.Schema); ok {
			list = append(list, child)
		}
	}
	return list
}

// ofItems are those that s applies to the items of an array.
func ofItems(s *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Clone(s.PrefixItems)
	for _, child := range []any{s.Items, s.AdditionalItems, s.Items2020, s.Contains, s.UnevaluatedItems} {
		switch child := child.(type) {
		case *jsonschema.Schema:
			if child != nil {
				list = append(list, child)
			}
		case []*jsonschema.Schema:
			list = append(list, child...)
		}
	}
	return list
}

// ofMembers are those that s applies to the members of an object or their names.
func ofMembers(s *jsonschema.Schema) []*jsonschema.Schema {
	var list []*jsonschema.Schema
	for _, child := range s.Properties {
		list = append(list, child)
	}
	for _, child := range s.PatternProperties {
		list = append(list, child)
	}
	for _, child := range []any{s.AdditionalProperties, s.PropertyNames, s.UnevaluatedProperties} {
		if child, ok := child.(*jsonschema.Schema); ok && child != nil {
			list = append(list, child)
		}
	}
	return list
}

// errDuplicate is how a broken uniqueItems comes back through a format.
type errDuplicate struct{ first, second int }

func (e *errDuplicate) Error() string {
	return fmt.Sprintf("items %d and %d are equal", e.first, e.second)
}

func duplicate(items []any) error {
	seen := make(map[string]int, len(items))
	var b strings.Builder
	for i, item := range items {
		b.Reset()
		writeKey(&b, item)
		if first, ok := seen[b.String()]; ok {
			return &errDuplicate{first: first, second: i}
		}
		seen[b.String()] = i
	}
	return nil
}

// writeKey writes v so that two values are equal in the sense of JSON Schema
// when their keys are.
func writeKey(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case string:
		b.WriteString(strconv.Quote(v))
	case []any:
		b.WriteByte('[')
		for _, item := range v {
			writeKey(b, item)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b.WriteString(strconv.Quote(name))
			b.WriteByte(':')
			writeKey(b, v[name])
			b.WriteByte(',')
		}
		b.WriteByte('}')
	default:
		b.WriteString(numberKey(v))
	}
}

// numberKey writes 1, 1.0 and 10e-1 the same way.
func numberKey(v any) string {
	text := fmt.Sprint(v)
	if n, ok := v.(json.Number); ok && n != "-0" && strings.Trim(string(n), "-0123456789") == "" {
		return text
	}
	if r, ok := new(big.Rat).SetString(text); ok {
		return r.RatString()
	}
	return text
}
