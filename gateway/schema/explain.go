package schema

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// longestValue is how long a value may be to be repeated in a Problem, in bytes.
const longestValue = 256

// maxWays is how many alternatives an error goes through.
const maxWays = 4

// explain turns what the library found in v into problems: what is missing
// first, then by place. It returns at most limit of them and how many more there
// were.
func explain(err error, v any, limit int) (problems []Problem, omitted int) {
	var found *jsonschema.ValidationError
	if !errors.As(err, &found) {
		return []Problem{problemAt(nil, CodePipelineFailed, "", "%v", err)}, 0
	}
	e := explainer{payload: v, keep: 8 * limit}
	e.walk(found)
	slices.SortStableFunc(e.problems, func(a, b Problem) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Keyword, b.Keyword))
	})
	e.problems = slices.CompactFunc(e.problems, func(a, b Problem) bool {
		return a.Pointer == b.Pointer && a.Keyword == b.Keyword && a.Message == b.Message
	})
	if n := len(e.problems); n > limit {
		return e.problems[:limit], e.dropped + n - limit
	}
	return e.problems, e.dropped
}

func rank(p Problem) int {
	if p.Code == CodeRequiredMissing {
		return 0
	}
	return 1
}

// explainer collects problems from the library's tree.
type explainer struct {
	payload  any
	problems []Problem
	keep     int
	dropped  int
}

func (e *explainer) add(p Problem) {
	if len(e.problems) >= e.keep {
		e.dropped++
		return
	}
	e.problems = append(e.problems, p)
}

func (e *explainer) walk(err *jsonschema.ValidationError) {
	switch k := err.ErrorKind.(type) {
	case nil, *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		e.causes(err)
	case *kind.AnyOf:
		e.alternatives(err, "anyOf")
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			e.value(err, CodeInvalidValue, "oneOf", "matches more than one alternative: %v", k.Subschemas)
			return
		}
		e.alternatives(err, "oneOf")
	case *kind.Required:
		e.missing(err, "required", "required field missing", k.Missing)
	case *kind.DependentRequired:
		e.missing(err, "dependentRequired", "required field missing beside "+strconv.Quote(clip(k.Prop)), k.Missing)
	case *kind.Dependency:
		e.missing(err, "dependencies", "required field missing beside "+strconv.Quote(clip(k.Prop)), k.Missing)
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			e.add(problemAt(under(err, name), CodeUnknownProperty, "additionalProperties", "unknown property"))
		}
	case *kind.PropertyNames:
		e.add(problemAt(under(err, k.Property), CodeUnknownProperty, "propertyNames", "this name is not allowed%s", because(err)))
	case *kind.FalseSchema:
		e.add(problemAt(err.InstanceLocation, CodeUnknownProperty, "", "nothing is allowed here"))
	default:
		e.leaf(err)
	}
}

// because says why a name is not allowed, when it is for an expression in a
// definition.
func because(err *jsonschema.ValidationError) string {
	for _, cause := range err.Causes {
		if k, ok := cause.ErrorKind.(*kind.Format); ok {
			return fmt.Sprintf(": invalid %s: %v", k.Want, k.Err)
		}
	}
	return ""
}

func (e *explainer) causes(err *jsonschema.ValidationError) {
	for _, cause := range err.Causes {
		e.walk(cause)
	}
}

// alternatives says for each alternative what is first in the way. To list all of
// it would tell the reader to do what only one of them asks for.
func (e *explainer) alternatives(err *jsonschema.ValidationError, keyword string) {
	var ways []string
	for _, cause := range err.Causes {
		one := explainer{payload: e.payload, keep: 1}
		one.walk(cause)
		if len(one.problems) == 0 || len(ways) == maxWays {
			continue
		}
		way := one.problems[0].Message
		if one.problems[0].Pointer != pointer(err.InstanceLocation) {
			way = one.problems[0].Field + ": " + way
		}
		ways = append(ways, way)
	}
	text := strings.Join(ways, "; or ")
	if text != "" {
		text = ": " + clip(text)
	}
	e.value(err, CodeInvalidValue, keyword, "matches none of %d alternatives%s", len(err.Causes), text)
}

// oneOfValues lists the values of an enum, as far as they are few and short.
func oneOfValues(values []any) string {
	var list []string
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil || len(list) == maxWays*2 {
			list = append(list, "…")
			break
		}
		list = append(list, string(text))
	}
	return clip(strings.Join(list, ", "))
}

func (e *explainer) missing(err *jsonschema.ValidationError, keyword, message string, names []string) {
	for _, name := range names {
		e.add(problemAt(under(err, name), CodeRequiredMissing, keyword, "%s", message))
	}
}

func under(err *jsonschema.ValidationError, name string) []string {
	return append(slices.Clone(err.InstanceLocation), name)
}

// leaf explains what concerns one value.
func (e *explainer) leaf(err *jsonschema.ValidationError) {
	switch k := err.ErrorKind.(type) {
	case *kind.Type:
		e.value(err, CodeTypeMismatch, "type", "expected type %s", strings.Join(k.Want, " or "))
	case *kind.Enum:
		e.value(err, CodeInvalidEnumValue, "enum", "value not in enum: %s", oneOfValues(k.Want))
	case *kind.Const:
		e.value(err, CodeInvalidEnumValue, "const", "value is not %s", oneOfValues([]any{k.Want}))
	case *kind.Format:
		var dup *errDuplicate
		if errors.As(k.Err, &dup) {
			e.value(err, CodeInvalidValue, "uniqueItems", "%v", dup)
			return
		}
		if k.Want == "regex" {
			e.value(err, CodeInvalidFormat, "format", "invalid expression: %v", k.Err)
			return
		}
		e.value(err, CodeInvalidFormat, "format", "invalid format %s", k.Want)
	case *kind.UniqueItems:
		e.value(err, CodeInvalidValue, "uniqueItems", "items %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.Pattern:
		e.value(err, CodeInvalidFormat, "pattern", "does not match %s", clip(k.Want))
	case *kind.MultipleOf:
		e.value(err, CodeInvalidValue, "multipleOf", "value %s is not a multiple of %s", ratText(k.Got), ratText(k.Want))
	case *kind.Not:
		e.value(err, CodeInvalidValue, "not", "matches what it must not")
	case *kind.Contains:
		e.value(err, CodeInvalidValue, "contains", "no item is as one must be")
	case *kind.RefCycle:
		e.value(err, CodePipelineFailed, "$ref", "the definition refers to itself without end")
	default:
		e.bounds(err)
	}
}

// bounds explains what is too small or too large.
func (e *explainer) bounds(err *jsonschema.ValidationError) {
	small := func(keyword, format string, args ...any) { e.value(err, CodeValueTooSmall, keyword, format, args...) }
	large := func(keyword, format string, args ...any) { e.value(err, CodeValueTooLarge, keyword, format, args...) }
	switch k := err.ErrorKind.(type) {
	case *kind.Minimum:
		small("minimum", "value %s is less than minimum %s", ratText(k.Got), ratText(k.Want))
	case *kind.ExclusiveMinimum:
		small("exclusiveMinimum", "value %s is not more than %s", ratText(k.Got), ratText(k.Want))
	case *kind.Maximum:
		large("maximum", "value %s is greater than maximum %s", ratText(k.Got), ratText(k.Want))
	case *kind.ExclusiveMaximum:
		large("exclusiveMaximum", "value %s is not less than %s", ratText(k.Got), ratText(k.Want))
	case *kind.MinLength:
		small("minLength", "%d characters, at least %d are needed", k.Got, k.Want)
	case *kind.MaxLength:
		large("maxLength", "%d characters, at most %d are allowed", k.Got, k.Want)
	case *kind.MinItems:
		small("minItems", "%d items, at least %d are needed", k.Got, k.Want)
	case *kind.MaxItems:
		large("maxItems", "%d items, at most %d are allowed", k.Got, k.Want)
	case *kind.AdditionalItems:
		large("additionalItems", "%d items too many", k.Count)
	case *kind.MinContains:
		small("minContains", "%d items are as they must be, at least %d are needed", len(k.Got), k.Want)
	case *kind.MaxContains:
		large("maxContains", "%d items are as they may be, at most %d are allowed", len(k.Got), k.Want)
	case *kind.MinProperties:
		small("minProperties", "%d members, at least %d are needed", k.Got, k.Want)
	case *kind.MaxProperties:
		large("maxProperties", "%d members, at most %d are allowed", k.Got, k.Want)
	default:
		e.value(err, CodeInvalidValue, strings.Join(err.ErrorKind.KeywordPath(), "/"), "not as the schema wants it")
		e.causes(err)
	}
}

// value adds a problem with what stands at its place.
func (e *explainer) value(err *jsonschema.ValidationError, code Code, keyword, format string, args ...any) {
	p := problemAt(err.InstanceLocation, code, keyword, format, args...)
	p.Value = short(lookup(e.payload, err.InstanceLocation))
	e.add(p)
}

// lookup returns what stands at a path, nil when nothing does.
func lookup(v any, path []string) any {
	for _, token := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// short returns v when it is no longer than longestValue, and no object or array.
func short(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > longestValue {
			return nil
		}
	case json.Number:
		if len(v) > longestValue {
			return nil
		}
	case map[string]any, []any:
		return nil
	}
	return v
}

// ratText writes a number as a person would.
func ratText(r *big.Rat) string {
	if r == nil {
		return "?"
	}
	if r.IsInt() && r.Num().BitLen() < 128 {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return fmt.Sprint(f)
}
