package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	messageV1 = "agntcy:test.message.v1"

	// What the golden cases register.
	messageDefinition = `{"type":"object","properties":{"text":{"type":"string"},"timestamp":{"type":"string","format":"date-time"},
		"priority":{"type":"integer","minimum":1,"maximum":5}},"required":["text"]}`
)

// verdict validates payload with one definition.
func verdict(t testing.TB, definition, payload string, limits Limits) Result {
	t.Helper()
	s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: definition}), Limits: limits})
	r, err := s.Validate(t.Context(), id(t, messageV1), json.RawMessage(payload))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Row 71: the errors of golden case 071.
func TestErrorsAreThoseOfAgentry(t *testing.T) {
	t.Parallel()
	if r := verdict(t, messageDefinition, `{"text":"Hello, World!","timestamp":"2024-01-15T10:30:00Z"}`, Limits{}); !r.Valid || r.Errors != nil {
		t.Errorf("%+v", r)
	}
	r := verdict(t, messageDefinition, `{"timestamp":"x","priority":9}`, Limits{})
	want := []Problem{
		{Field: "text", Pointer: "/text", Message: "required field missing", Code: CodeRequiredMissing, Keyword: "required"},
		{Field: "priority", Pointer: "/priority", Message: "value 9 is greater than maximum 5", Code: CodeValueTooLarge, Keyword: "maximum", Value: json.Number("9")},
		{Field: "timestamp", Pointer: "/timestamp", Message: "invalid format date-time", Code: CodeInvalidFormat, Keyword: "format", Value: "x"},
	}
	if diff := cmp.Diff(want, r.Errors); diff != "" || r.Valid {
		t.Error(diff)
	}
}

func TestEveryKeywordHasItsCodeAndPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ definition, payload, code, pointer, field string }{
		"type":              {`{"properties":{"a":{"type":"string"}}}`, `{"a":1}`, "TYPE_MISMATCH", "/a", "a"},
		"nested":            {`{"properties":{"a":{"items":{"properties":{"b":{"type":"string"}}}}}}`, `{"a":[{},{"b":1}]}`, "TYPE_MISMATCH", "/a/1/b", "a[1].b"},
		"odd name":          {`{"properties":{"a/b~c":{"type":"string"}}}`, `{"a/b~c":1}`, "TYPE_MISMATCH", "/a~1b~0c", "a/b~c"},
		"whole":             {`{"type":"object"}`, `[]`, "TYPE_MISMATCH", "", ""},
		"enum":              {`{"enum":["a"]}`, `"b"`, "INVALID_ENUM_VALUE", "", ""},
		"const":             {`{"const":1}`, `2`, "INVALID_ENUM_VALUE", "", ""},
		"pattern":           {`{"pattern":"^a"}`, `"b"`, "INVALID_FORMAT", "", ""},
		"min length":        {`{"minLength":2}`, `"b"`, "VALUE_TOO_SMALL", "", ""},
		"max length":        {`{"maxLength":2}`, `"bbb"`, "VALUE_TOO_LARGE", "", ""},
		"min items":         {`{"minItems":2}`, `[1]`, "VALUE_TOO_SMALL", "", ""},
		"max items":         {`{"maxItems":1}`, `[1,2]`, "VALUE_TOO_LARGE", "", ""},
		"min properties":    {`{"minProperties":2}`, `{}`, "VALUE_TOO_SMALL", "", ""},
		"max properties":    {`{"maxProperties":0}`, `{"a":1}`, "VALUE_TOO_LARGE", "", ""},
		"exclusive minimum": {`{"exclusiveMinimum":2}`, `2`, "VALUE_TOO_SMALL", "", ""},
		"exclusive maximum": {`{"exclusiveMaximum":2}`, `2.0`, "VALUE_TOO_LARGE", "", ""},
		"minimum":           {`{"minimum":2}`, `1`, "VALUE_TOO_SMALL", "", ""},
		"multiple of":       {`{"multipleOf":0.1}`, `0.25`, "INVALID_VALUE", "", ""},
		"unique items":      {`{"uniqueItems":true}`, `[1,1.0]`, "INVALID_VALUE", "", ""},
		"contains":          {`{"contains":{"const":1}}`, `[2]`, "INVALID_VALUE", "", ""},
		"min contains":      {`{"contains":{"const":1},"minContains":2}`, `[1]`, "VALUE_TOO_SMALL", "", ""},
		"max contains":      {`{"contains":{"const":1},"maxContains":1}`, `[1,1]`, "VALUE_TOO_LARGE", "", ""},
		"not":               {`{"not":{"type":"string"}}`, `"a"`, "INVALID_VALUE", "", ""},
		"one of":            {`{"oneOf":[true,true]}`, `"a"`, "INVALID_VALUE", "", ""},
		"any of":            {`{"anyOf":[{"type":"string"}]}`, `1`, "INVALID_VALUE", "", ""},
		"additional":        {`{"additionalProperties":false}`, `{"a":1}`, "UNKNOWN_PROPERTY", "/a", "a"},
		"unevaluated":       {`{"unevaluatedProperties":false}`, `{"a":1}`, "UNKNOWN_PROPERTY", "/a", "a"},
		"property names":    {`{"propertyNames":{"maxLength":1}}`, `{"ab":1}`, "UNKNOWN_PROPERTY", "/ab", "ab"},
		"dependent":         {`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, "REQUIRED_FIELD_MISSING", "/b", "b"},
		"email":             {`{"format":"email"}`, `"nobody"`, "INVALID_FORMAT", "", ""},
		"nothing":           {`false`, `1`, "UNKNOWN_PROPERTY", "", ""},
		"not JSON":          {`true`, `{"a":`, "INVALID_JSON", "", ""},
		"trailing":          {`true`, `1 1`, "INVALID_JSON", "", ""},
		"not text":          {`true`, "\"\xff\"", "INVALID_JSON", "", ""},
		"reference":         {`{"$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}}`, `1`, "TYPE_MISMATCH", "", ""},
	} {
		r := verdict(t, c.definition, c.payload, Limits{})
		if r.Valid || len(r.Errors) == 0 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		got := r.Errors[0]
		if string(got.Code) != c.code || got.Pointer != c.pointer || got.Field != c.field || got.Message == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A definition with a $schema has the rules of that draft: a format is a remark
// in 2020-12 and a rule in draft 7. FormatsAlways makes it a rule.
func TestFormatsFollowTheDialect(t *testing.T) {
	t.Parallel()
	for dialect, remark := range map[string]bool{
		"": false, "https://json-schema.org/draft/2020-12/schema": true, "http://json-schema.org/draft-07/schema#": false,
	} {
		definition := `{"format":"email"}`
		if dialect != "" {
			definition = `{"$schema":"` + dialect + `","format":"email"}`
		}
		if r := verdict(t, definition, `"nobody"`, Limits{}); r.Valid != remark {
			t.Errorf("%q: %+v", dialect, r)
		}
		s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: definition}), Formats: FormatsAlways})
		if r, err := s.Validate(t.Context(), id(t, messageV1), []byte(`"nobody"`)); err != nil || r.Valid {
			t.Errorf("always, %q: %+v, %v", dialect, r, err)
		}
	}
}

// An error says what to do, not only that something is wrong.
func TestErrorsTellTheWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ definition, payload, want string }{
		"enum":         {`{"enum":["a",1,null]}`, `"b"`, `value not in enum: "a", 1, null`},
		"const":        {`{"const":{"a":1}}`, `1`, `value is not {"a":1}`},
		"alternatives": {`{"anyOf":[{"type":"string"},{"properties":{"a":{"minimum":2}}},{"required":["b"]}]}`, `{"a":1}`, `matches none of 3 alternatives: expected type string; or a: value 1 is less than minimum 2; or b: required field missing`},
		"nested":       {`{"oneOf":[{"anyOf":[{"type":"string"}]}]}`, `1`, `matches none of 1 alternatives: matches none of 1 alternatives: expected type string`},
	} {
		if r := verdict(t, c.definition, c.payload, Limits{}); len(r.Errors) != 1 || r.Errors[0].Message != c.want {
			t.Errorf("%s: %+v", name, r.Errors)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	r := verdict(t, `{"items":{"type":"string"}}`, "["+strings.Repeat("1,", 9999)+"1]", Limits{Problems: 5})
	if len(r.Errors) != 5 || r.Omitted != 9995 {
		t.Errorf("%d errors and %d omitted, want 5 and 9995", len(r.Errors), r.Omitted)
	}
	long := `"` + strings.Repeat("x", 300) + `"`
	if r := verdict(t, `{"type":"number"}`, long, Limits{}); r.Errors[0].Value != nil {
		t.Error("a long value is repeated in the error")
	}
}

// A definition or a payload may ask for a lot; it gets little.
func TestBombs(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`[`, 60) + strings.Repeat(`]`, 60)
	nested := `1`
	for range 60 {
		nested = `{"a":` + nested + `}`
	}
	long := `"` + strings.Repeat("a", 1<<20) + `"`
	many := "[" + equalHashes(12) + "]"
	for name, c := range map[string]struct {
		definition, payload string
		code                Code
	}{
		"recursion doubles at each level":      {`{"items":{"anyOf":[{"$ref":"#"},{"$ref":"#"}]},"type":"array","minItems":1}`, deep, CodePipelineFailed},
		"the same without verdicts":            {`{"not":{"$ref":"#/$defs/a"},"$defs":{"a":{"items":{"$ref":"#/$defs/a"},"contains":{"$ref":"#/$defs/a"},"minItems":1}}}`, deep, CodePipelineFailed},
		"patterns double, verdicts unwanted":   {`{"not":{"$ref":"#/$defs/a"},"$defs":{"a":{"type":"object","patternProperties":{"^a":{"$ref":"#/$defs/a"},"a$":{"$ref":"#/$defs/a"}}}}}`, nested, CodePipelineFailed},
		"dependent schemas":                    {`{"$ref":"#/$defs/a","$defs":{"a":{"type":"object","dependentSchemas":{"a":{"properties":{"a":{"$ref":"#/$defs/a"}}}},"properties":{"a":{"$ref":"#/$defs/a"}}}}}`, nested, CodePipelineFailed},
		"definitions double":                   {doubling(40), `1`, CodePipelineFailed},
		"dynamic references double":            {`{"$dynamicAnchor":"n","items":{"allOf":[{"$dynamicRef":"#n"},{"$dynamicRef":"#n"}]}}`, deep, CodePipelineFailed},
		"a large expression on a long text":    {`{"pattern":"(x?){900}y"}`, long, CodePipelineFailed},
		"many values in an enum, many to find": {`{"items":{"enum":[` + strings.Repeat(`"a",`, 20_000) + `"b"]}}`, "[" + strings.Repeat("1,", 50_000) + "1]", CodePipelineFailed},
		"more values than steps":               {`true`, "[" + strings.Repeat("1,", 100_000) + "1]", CodePayloadTooLarge},
		"nested too deep":                      {`true`, strings.Repeat("[", 100_000), CodePayloadTooLarge},
		"an endless number":                    {`{"minimum":1}`, `1e999999999`, CodeInvalidJSON},
		"an endless fraction":                  {`{"multipleOf":3}`, `1e-999999999`, ""},
		"a long number":                        {`{"multipleOf":3}`, strings.Repeat("3", 305) + "." + strings.Repeat("3", 1<<20), ""},
		"equal hashes":                         {`{"uniqueItems":true}`, many, ""},
		"a reference to itself":                {`{"$ref":"#"}`, `1`, CodePipelineFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := verdict(t, c.definition, c.payload, Limits{Steps: 100_000})
			switch {
			case c.code == "" && len(r.Errors) > 0 && r.Errors[0].Code == CodePipelineFailed:
				t.Errorf("%+v", r)
			case c.code != "" && (r.Valid || len(r.Errors) != 1 || r.Errors[0].Code != c.code):
				t.Errorf("%+v, want %s", r, c.code)
			}
		})
	}
}

// equalHashes writes 2^n arrays that differ, and that look the same to a hash which
// puts the byte 4 before each string and no length.
func equalHashes(n int) string {
	var arrays []string
	for bits := range 1 << n {
		b := []byte(`["a`)
		for i := range n {
			if bits>>i&1 == 0 {
				b = append(b, `","a`...)
			} else {
				b = append(b, `\u0004a`...)
			}
		}
		arrays = append(arrays, string(b)+`"]`)
	}
	return strings.Join(arrays, ",")
}

// The library compares every item with all others of the same hash.
func TestUniqueItemsAreOurs(t *testing.T) {
	t.Parallel()
	p, err := build(messageV1, map[string]any{messageV1: mustDecode(t, `{"items":{"uniqueItems":true}}`)}, nil, FormatsDialect, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if p.schema.Items2020.UniqueItems {
		t.Error("the library would look for equal items")
	}
}

// doubling is a definition whose each part refers to the next one twice.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/a","$defs":{`)
	for i := range n {
		name, next := strings.Repeat("a", i+1), strings.Repeat("a", i+2)
		b.WriteString(`"` + name + `":{"allOf":[{"$ref":"#/$defs/` + next + `"},{"$ref":"#/$defs/` + next + `"}]},`)
	}
	b.WriteString(`"` + strings.Repeat("a", n+1) + `":true}}`)
	return b.String()
}

// A check ends when its time is over, however many steps are left.
func TestCheckEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: `{"items":{"$ref":"#/$defs/a"},"$defs":{"a":{"type":"number"}}}`}),
			Limits: Limits{Time: time.Nanosecond}})
		sch, err := s.Get(t.Context(), id(t, messageV1))
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.ready(t.Context(), sch)
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.take()
		if err != nil {
			t.Fatal(err)
		}
		v, _ := decode([]byte("[" + strings.Repeat("1,", 1000) + "1]"))
		until := time.Now().Add(time.Second)
		if err := p.run(v, 1<<20, until); err != nil {
			t.Errorf("in time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := p.run(v, 1<<20, until); !errors.Is(err, errTime) {
			t.Errorf("late: %v", err)
		}
	})
}

func TestDefinitionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ definition, says, pointer string }{
		"not JSON":               {`{`, "not I-JSON", ""},
		"a number":               {`1`, "an object or a boolean", ""},
		"a member twice":         {`{"type":"string","type":"object"}`, "twice", ""},
		"a member twice, deeper": {`{"allOf":[true,{"properties":{"a":true,"a":false}}]}`, "twice", ""},
		"no type of JSON":        {`{"properties":{"a":{"type":"text"}}}`, "matches none", "/properties/a/type"},
		"required is no list":    {`{"required":"a"}`, "expected type array", "/required"},
		"no expression":          {`{"pattern":"("}`, "missing closing", "/pattern"},
		"look-ahead":             {`{"pattern":"(?=a)"}`, "without look-ahead", "/pattern"},
		"a dear expression":      {`{"patternProperties":{"((a{30}){30}){30}":true}}`, "invalid repeat count", "/patternProperties/((a{30}){30}){30}"},
		"too many instructions":  {`{"pattern":"(abcdefg{99}){9}(hijklmn{99}){9}(opqrs{99}){9}"}`, "at most 2000", "/pattern"},
		"too many together":      {manyExpressions(30), "together", "/allOf/23/pattern"},
		"a name twice":           {`{"required":["a","b","a"]}`, "items 0 and 2 are equal", "/required"},
		"a file":                 {`{"$ref":"file:///etc/passwd"}`, "nothing is fetched", ""},
		"the network":            {`{"$ref":"https://example.org/schema.json"}`, "nothing is fetched", ""},
		"a path":                 {`{"$ref":"other.json"}`, "nothing is fetched", ""},
		"a path under nothing":   {`{"$id":"dir/","$ref":"other.json"}`, "relative", ""},
		"a path under a URL":     {`{"$id":"https://example.org/dir/","$ref":"other.json"}`, "nothing is fetched", ""},
		"an unknown dialect":     {`{"$schema":"https://example.org/dialect"}`, "nothing is fetched", ""},
		"an unknown schema":      {`{"$ref":"agntcy:no.body.v1"}`, "not found", ""},
		"a dangling pointer":     {`{"$ref":"#/$defs/a"}`, "not found", ""},
		"too long":               {`{"title":"` + strings.Repeat("x", 256<<10) + `"}`, "bytes", ""},
		"too deep":               {strings.Repeat(`{"not":`, 65) + "true" + strings.Repeat("}", 65), "deep", ""},
		"too many subschemas":    {`{"allOf":[` + strings.Repeat("{},", 2000) + `{}]}`, "subschemas", ""},
		"a long chain":           {chain(maxChain + 1), "one within another", ""},
		"a circle":               {`{"anyOf":[{"type":"string"},{"$ref":"#"}]}`, "refers to itself", ""},
		"a circle further down":  {`{"items":{"$ref":"#/$defs/a"},"$defs":{"a":{"if":{"$ref":"#/$defs/b"}},"b":{"not":{"$ref":"#/$defs/a"}}}}`, "refers to itself", ""},
		"a dynamic circle":       {`{"$dynamicAnchor":"n","allOf":[{"$dynamicRef":"#n"}]}`, "refers to itself", ""},
		"endless number":         {`{"minimum":1e999999999}`, "range of a double", ""},
	} {
		s := newService(t, Config{Registry: newMemory(t, nil)})
		err := s.Valid(t.Context(), schemaOf(t, messageV1, c.definition))
		var refused *DefinitionError
		if !errors.As(err, &refused) || len(refused.Problems) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p := refused.Problems[0]
		if !strings.Contains(p.Message, c.says) || p.Pointer != c.pointer || p.Code != CodeInvalidDefinition {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// manyExpressions is a definition with n that compile to about 800 instructions each.
func manyExpressions(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"pattern":"x%d(abcdefg{99}){8}"}`, i))
	}
	return `{"allOf":[` + strings.Join(list, ",") + `]}`
}

// chain is a definition of n subschemas, each of which refers to the next one.
func chain(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/a0","$defs":{`)
	for i := range n - 2 {
		fmt.Fprintf(&b, `"a%d":{"$ref":"#/$defs/a%d"},`, i, i+1)
	}
	fmt.Fprintf(&b, `"a%d":true}}`, n-2)
	return b.String()
}

func TestLongestChain(t *testing.T) {
	t.Parallel()
	if r := verdict(t, chain(maxChain), `1`, Limits{}); !r.Valid {
		t.Errorf("%+v", r)
	}
}

// A $ref names another registered schema by its identifier; when that one
// changes, so does what is valid.
func TestReferencesAmongSchemas(t *testing.T) {
	t.Parallel()
	m := newMemory(t, map[string]string{
		messageV1:                `{"properties":{"to":{"$ref":"agntcy:test.address.v1#/$defs/line"},"from":{"$ref":"agntcy:test.address.v1"}}}`,
		"agntcy:test.address.v1": `{"type":"string","$defs":{"line":{"maxLength":5}}}`,
	})
	s := newService(t, Config{Registry: m})
	valid := func(payload string) bool {
		r, err := s.Validate(t.Context(), id(t, messageV1), []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return r.Valid
	}
	if !valid(`{"to":"abc"}`) || valid(`{"to":"abcdef"}`) || valid(`{"from":1}`) {
		t.Error("the schema referred to does not count")
	}
	m.set(t, "agntcy:test.address.v1", `{"type":"number","$defs":{"line":{"maxLength":9}}}`)
	if !valid(`{"to":"abcdef"}`) || !valid(`{"from":1}`) {
		t.Error("the schema referred to was changed and is not seen")
	}
	if err := m.Remove(t.Context(), id(t, "agntcy:test.address.v1")); err != nil {
		t.Fatal(err)
	}
	if valid(`{"from":1}`) {
		t.Error("valid by a schema that is gone")
	}
	m.set(t, "agntcy:test.address.v1", `{"type":"string","$defs":{"line":true}}`)
	if !valid(`{"from":"a"}`) {
		t.Error("not valid though the schema is there again")
	}
	m.down = true
	if _, err := s.Validate(t.Context(), id(t, messageV1), nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("registry down: %v", err)
	}
	// A chain of references is as long as Limits allow.
	short := newService(t, Config{Registry: newMemory(t, map[string]string{
		"agntcy:c.a.v1": `{"$ref":"agntcy:c.b.v1"}`, "agntcy:c.b.v1": `{"$ref":"agntcy:c.c.v1"}`, "agntcy:c.c.v1": `true`,
	}), Limits: Limits{References: 1}})
	if r, err := short.Validate(t.Context(), id(t, "agntcy:c.a.v1"), []byte(`1`)); err != nil || r.Valid || !strings.Contains(r.Errors[0].Message, "more than 1 schemas") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestUnknownMembersAreWarnedAbout(t *testing.T) {
	t.Parallel()
	const definition = `{"properties":{"a":{"$ref":"#/$defs/a"},"list":{"items":{"allOf":[{"properties":{"x":true}},{"patternProperties":{"^y":true}}]}},"free":true},
		"$defs":{"a":{"properties":{"b":true},"additionalProperties":true}}}`
	s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: definition}), WarnUnknown: true, Limits: Limits{Problems: 3}})
	for payload, want := range map[string]string{
		`{"a":{"b":1},"list":[{"x":1,"y":2}],"free":{"any":1}}`: "", `{"z":1,"a":{"c":1}}`: "/a/c /z",
		`{"list":[{"x":1},{"z":1}]}`: "/list/1/z", `{"1":1,"2":1,"3":1,"4":1}`: "/1 /2 /3", `[1]`: "",
	} {
		r, err := s.Validate(t.Context(), id(t, messageV1), []byte(payload))
		var got []string
		for _, w := range r.Warnings {
			got = append(got, w.Pointer)
		}
		if err != nil || !r.Valid || strings.Join(got, " ") != want {
			t.Errorf("%s: %+v, %v; want %q", payload, r, err, want)
		}
	}
	if r := verdict(t, definition, `{"z":1}`, Limits{}); r.Warnings != nil {
		t.Errorf("%+v", r)
	}
}

// Programs count their steps, so no two checks may share one.
func TestChecksAtOnceDoNotMix(t *testing.T) {
	t.Parallel()
	s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: `{"items":{"type":"number"}}`}), Limits: Limits{Checks: 1}})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			n := 1
			if i%4 == 0 {
				n = 25_000 // more than a few steps, so it waits for the slot
			}
			good := "[" + strings.Repeat("1,", n) + "1]"
			bad := "[" + strings.Repeat("1,", n) + `"x"]`
			for range 2 {
				if r, err := s.Validate(t.Context(), id(t, messageV1), []byte(good)); err != nil || !r.Valid {
					t.Errorf("%+v, %v", r, err)
				}
				if r, err := s.Validate(t.Context(), id(t, messageV1), []byte(bad)); err != nil || r.Valid {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkValidate(b *testing.B) {
	s := newService(b, Config{Registry: newMemory(b, map[string]string{messageV1: messageDefinition}), Fresh: time.Minute})
	request := Request{Schema: messageV1, Payload: []byte(`{"text":"Hello, World!","timestamp":"2024-01-15T10:30:00Z","priority":3}`),
		Recipients: []Recipient{{}}}
	b.ReportAllocs()
	for b.Loop() {
		if r, err := s.Check(b.Context(), request); err != nil || !r.Decisions[0].Accept {
			b.Fatal(r, err)
		}
	}
}
