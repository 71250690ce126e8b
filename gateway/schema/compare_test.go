package schema

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"amesh/internal/ijson"
)

func mustDecode(t testing.TB, text string) any {
	t.Helper()
	v, err := decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// Row 75: what a change breaks. The second half of each word is about strict mode.
func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after, breaks, strict, pointer string }{
		"golden 066: a new optional member": {
			`{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}`,
			`{"type":"object","properties":{"text":{"type":"string"},"priority":{"type":"integer"}},"required":["text"]}`, "none", "backward", "/properties/priority"},
		"golden 067: another required member": {messageDefinition, `{"type":"object","required":["zzz"]}`, "both", "both", "/required"},
		"remarks":                             {`{"title":"a"}`, `{"title":"b","description":"c","x-own":1}`, "none", "none", ""},
		"order and spelling":                  {`{"minimum":1,"type":["string","number"]}`, `{"type":["number","string"],"minimum":1.0}`, "none", "none", ""},
		"required":                            {`{}`, `{"required":["a"]}`, "backward", "backward", "/required"},
		"no longer required":                  {`{"required":["a"]}`, `{}`, "forward", "forward", "/required"},
		"type narrower":                       {`{"properties":{"a":{"type":"number"}}}`, `{"properties":{"a":{"type":"integer"}}}`, "backward", "backward", "/properties/a"},
		"type wider":                          {`{"type":"string"}`, `{"type":["string","null"]}`, "forward", "forward", ""},
		"type other":                          {`{"type":"string"}`, `{"type":"number"}`, "both", "both", ""},
		"enum less":                           {`{"enum":["a","b"]}`, `{"enum":["a"]}`, "backward", "backward", ""},
		"enum more":                           {`{"enum":["a"]}`, `{"enum":["a",1]}`, "forward", "forward", ""},
		"const is an enum":                    {`{"enum":["a"]}`, `{"const":"a"}`, "none", "none", ""},
		"minimum up":                          {`{"minimum":1}`, `{"minimum":2}`, "backward", "backward", ""},
		"minimum exclusive":                   {`{"minimum":1}`, `{"exclusiveMinimum":1}`, "backward", "backward", ""},
		"maximum up":                          {`{"maximum":1}`, `{"maximum":1.5}`, "forward", "forward", ""},
		"length":                              {`{"maxLength":5}`, `{"maxLength":4}`, "backward", "backward", ""},
		"count of nothing":                    {`{}`, `{"minItems":0}`, "none", "none", ""},
		"multiple":                            {`{"multipleOf":2}`, `{"multipleOf":4}`, "backward", "backward", ""},
		"multiple, less":                      {`{"multipleOf":4}`, `{"multipleOf":2}`, "forward", "forward", ""},
		"multiple, other":                     {`{"multipleOf":2}`, `{"multipleOf":3}`, "both", "both", ""},
		"pattern new":                         {`{}`, `{"pattern":"a"}`, "backward", "backward", ""},
		"pattern other":                       {`{"pattern":"a"}`, `{"pattern":"a|b"}`, "both", "both", "/pattern"},
		"format gone":                         {`{"format":"email"}`, `{}`, "forward", "forward", ""},
		"format, a remark":                    {`{"$schema":"https://json-schema.org/draft/2020-12/schema","format":"email"}`, `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`, "none", "none", ""},
		"unique":                              {`{}`, `{"uniqueItems":true}`, "backward", "backward", ""},
		"closed":                              {`{}`, `{"additionalProperties":false}`, "backward", "backward", "/additionalProperties"},
		"opened":                              {`{"additionalProperties":false}`, `{}`, "forward", "forward", "/additionalProperties"},
		"new member of a closed object":       {`{"additionalProperties":false}`, `{"additionalProperties":false,"properties":{"a":{"type":"string"}}}`, "forward", "forward", "/properties/a"},
		"member gone from a closed object":    {`{"additionalProperties":false,"properties":{"a":{"type":"string"}}}`, `{"additionalProperties":false}`, "backward", "backward", "/properties/a"},
		"member gone from an open object":     {`{"properties":{"a":{"type":"string"}}}`, `{}`, "none", "forward", "/properties/a"},
		"a required member is declared":       {`{"required":["a"]}`, `{"required":["a"],"properties":{"a":{"type":"string"}}}`, "backward", "backward", "/properties/a"},
		"new member in the form of others":    {`{"additionalProperties":{"type":"string"}}`, `{"additionalProperties":{"type":"string"},"properties":{"a":{"type":["string","null"]}}}`, "forward", "forward", "/properties/a"},
		"an expression speaks of it":          {`{"patternProperties":{"^a":{"type":"string"}}}`, `{"patternProperties":{"^a":{"type":"string"}},"properties":{"ab":{"type":"string"}}}`, "both", "both", "/properties/ab"},
		"items":                               {`{"items":{"type":"number"}}`, `{"items":{"type":"integer"}}`, "backward", "backward", "/items"},
		"first items":                         {`{"prefixItems":[{"type":"string"}],"items":{"type":"string"}}`, `{"items":{"type":"string"}}`, "none", "none", ""},
		"items of draft 7":                    {`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}]}`, `{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":false}`, "backward", "backward", "/additionalItems"},
		"contains":                            {`{}`, `{"contains":{"type":"string"}}`, "backward", "backward", "/contains"},
		"at least":                            {`{"contains":true}`, `{"contains":true,"minContains":2}`, "backward", "backward", ""},
		"at most":                             {`{"contains":{"minimum":1},"maxContains":2}`, `{"contains":{"minimum":2},"maxContains":2}`, "both", "both", "/contains"},
		"all of more":                         {`{"allOf":[{"minimum":1}]}`, `{"allOf":[{"maximum":3},{"minimum":1}]}`, "backward", "backward", "/allOf/0"},
		"any of more":                         {`{"anyOf":[{"minimum":1}]}`, `{"anyOf":[{"minimum":1},{"type":"string"}]}`, "forward", "forward", "/anyOf/1"},
		"the first any of":                    {`{}`, `{"anyOf":[{"minimum":1}]}`, "backward", "backward", "/anyOf"},
		"one of":                              {`{"oneOf":[{"minimum":1},{"type":"string"}]}`, `{"oneOf":[{"minimum":2},{"type":"string"}]}`, "both", "both", "/oneOf/0"},
		"not more":                            {`{"not":{"minimum":2}}`, `{"not":{"minimum":1}}`, "backward", "backward", "/not"},
		"not not":                             {`{"not":{"not":{"minimum":2}}}`, `{"not":{"not":{"minimum":1}}}`, "forward", "forward", "/not/not"},
		"a member below not":                  {`{"not":{"properties":{}}}`, `{"not":{"properties":{"a":{"type":"string"}}}}`, "forward", "forward", "/not/properties/a"},
		"then":                                {`{"if":{"type":"string"},"then":{"maxLength":3}}`, `{"if":{"type":"string"},"then":{"maxLength":2}}`, "backward", "backward", "/then"},
		"if":                                  {`{"if":{"maxLength":3},"then":{"minLength":2}}`, `{"if":{"maxLength":4},"then":{"minLength":2}}`, "both", "both", "/if"},
		"if that says nothing":                {`{"if":{"maxLength":3}}`, `{"if":{"maxLength":4}}`, "none", "none", ""},
		"dependent":                           {`{"dependentRequired":{"a":["b"]}}`, `{"dependentRequired":{"a":["b","c"]}}`, "backward", "backward", "/dependentRequired/a"},
		"unevaluated":                         {`{"unevaluatedProperties":false}`, `{"unevaluatedProperties":false,"properties":{"a":true}}`, "both", "both", "/unevaluatedProperties"},
		"names":                               {`{"propertyNames":{"maxLength":3}}`, `{"propertyNames":{"maxLength":2}}`, "backward", "backward", "/propertyNames"},
		"nothing":                             {`true`, `false`, "backward", "backward", ""},
		"something":                           {`{"items":false}`, `{"items":true}`, "forward", "forward", "/items"},
		"behind a reference":                  {`{"$ref":"#/$defs/a","$defs":{"a":{"minimum":1}}}`, `{"$ref":"#/$defs/a","$defs":{"a":{"minimum":2}}}`, "backward", "backward", "/$defs/a"},
		"a reference in place":                {`{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"minimum":1}}}`, `{"properties":{"a":{"minimum":1}}}`, "none", "none", ""},
		"what nobody refers to":               {`{"$defs":{"a":{"minimum":1}}}`, `{"$defs":{}}`, "none", "none", ""},
		"round in a circle":                   {`{"properties":{"a":{"$ref":"#"}},"minimum":1}`, `{"properties":{"a":{"$ref":"#"}},"minimum":2}`, "backward", "backward", ""},
		"the same from elsewhere":             {`{"items":{"$ref":"agntcy:a.b.v1"}}`, `{"items":{"$ref":"agntcy:a.b.v1"},"title":"x"}`, "none", "none", ""},
		"other from elsewhere":                {`{"items":{"$ref":"agntcy:a.b.v1"}}`, `{"items":{"$ref":"agntcy:a.b.v2"}}`, "both", "both", "/items"},
		"another dialect":                     {`{"$schema":"http://json-schema.org/draft-07/schema#"}`, `{"type":"string"}`, "both", "both", ""},
		"anchors":                             {`{"$anchor":"a"}`, `{"$anchor":"a","type":"string"}`, "both", "both", ""},
		"ids inside":                          {`{"$defs":{"a":{"$id":"https://x.test/"}}}`, `{"$defs":{"a":{"$id":"https://y.test/"}}}`, "both", "both", ""},
		"beside a reference in draft 7":       {`{"$schema":"http://json-schema.org/draft-07/schema#","allOf":[{"$ref":"#/definitions/a","minimum":1}],"definitions":{"a":true}}`, `{"$schema":"http://json-schema.org/draft-07/schema#","allOf":[{"$ref":"#/definitions/a","minimum":2}],"definitions":{"a":true}}`, "none", "none", ""},
	} {
		d := compare(mustDecode(t, c.before), mustDecode(t, c.after), false)
		if got := broken(d, false); got != c.breaks {
			t.Errorf("%s: breaks %s, want %s: %+v", name, got, c.breaks, d.Changes)
		}
		if got := broken(d, true); got != c.strict {
			t.Errorf("%s: strictly breaks %s, want %s: %+v", name, got, c.strict, d.Changes)
		}
		if c.strict != "none" && !strings.Contains(fmt.Sprintf("%q", pointers(d)), fmt.Sprintf("%q", c.pointer)) {
			t.Errorf("%s: at %q, want %q", name, pointers(d), c.pointer)
		}
		for _, change := range d.Changes {
			if change.Unknown != strings.HasSuffix(change.Message, "counts as breaking") || change.Message == "" || change.Kind == "" {
				t.Errorf("%s: %+v", name, change)
			}
		}
	}
}

func broken(d Diff, strict bool) string {
	switch backward, forward := !d.Allows(ModeBackward, strict), !d.Allows(ModeForward, strict); {
	case backward && forward:
		return "both"
	case backward:
		return "backward"
	case forward:
		return "forward"
	}
	return "none"
}

func pointers(d Diff) []string {
	var list []string
	for _, c := range d.Changes {
		list = append(list, c.Pointer)
	}
	return list
}

func TestModes(t *testing.T) {
	t.Parallel()
	tighter := compare(mustDecode(t, `{}`), mustDecode(t, `{"minimum":1}`), false)
	wider := compare(mustDecode(t, `{"minimum":1}`), mustDecode(t, `{}`), false)
	for mode, want := range map[Mode][2]bool{ModeNone: {true, true}, ModeBackward: {false, true}, ModeForward: {true, false}, ModeFull: {false, false}, "": {false, true}} {
		if got := [2]bool{tighter.Allows(mode, false), wider.Allows(mode, false)}; got != want {
			t.Errorf("%q: %v, want %v", mode, got, want)
		}
	}
	var many Diff
	for range maxChanges {
		many.add(Change{Breaks: BreaksNothing})
	}
	if many.add(Change{Breaks: BreaksBackward}); many.Omitted != 1 || many.Allows(ModeBackward, false) {
		t.Error("what is not listed does not count")
	}
}

// What compare calls compatible has to be: no value may be valid before and
// invalid after. FuzzCompare looks for one among random definitions.
func FuzzCompare(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	limits := Limits{}.withDefaults()
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		before := writeSchema(r, 3)
		after := mutate(r, before)
		if r.IntN(4) == 0 {
			after = writeSchema(r, 3)
		}
		withDefs := func(text string, defs string) string {
			if text[0] != '{' || strings.Contains(text, `"$defs"`) {
				return text
			}
			return strings.Replace(`{"$defs":{"d":`+defs+`},`+text[1:], ",}", "}", 1)
		}
		def := writeSchema(r, 1)
		before, after = withDefs(before, def), withDefs(after, mutate(r, def))
		b, a := mustDecode(t, before), mustDecode(t, after)
		old, err := compile("agntcy:a.b.v1", b, nil, FormatsDialect, limits)
		if err != nil {
			return
		}
		next, err := compile("agntcy:a.b.v2", a, nil, FormatsDialect, limits)
		if err != nil {
			return
		}
		d := compare(b, a, false)
		for range 40 {
			text := writeValue(r, 3)
			v := mustDecode(t, text)
			was, is := fits(t, old, v), fits(t, next, v)
			if was && !is && d.Allows(ModeBackward, true) {
				t.Fatalf("%s\nwas valid by   %s\nand is not by  %s\nwhich is said to be backward compatible: %+v", text, before, after, d.Changes)
			}
			if !was && is && d.Allows(ModeForward, true) {
				t.Fatalf("%s\nwas not valid by %s\nand is by        %s\nwhich is said to be forward compatible: %+v", text, before, after, d.Changes)
			}
		}
	})
}

func fits(t *testing.T, c *compiled, v any) bool {
	t.Helper()
	p, err := c.take()
	if err != nil {
		t.Fatal(err)
	}
	defer c.give(p)
	return p.run(v, 1_000_000, time.Now().Add(time.Minute)) == nil
}

func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// writeSchema writes a random definition from a small vocabulary, so that
// random values meet its rules.
func writeSchema(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(8) == 0 {
		return pick(r, "true", "false", "{}", `{"type":"string"}`, `{"type":"integer"}`, `{"type":"number"}`, `{"minimum":1}`, `{"const":1}`, `{"maxLength":1}`, `{"type":["null","array"]}`, `{"$ref":"#/$defs/d"}`)
	}
	sub := func() string { return writeSchema(r, depth-1) }
	list := func() string { return "[" + strings.Join(several(r, sub, 1), ",") + "]" }
	object := func(keys ...string) string {
		var parts []string
		for _, key := range keys {
			if r.IntN(2) == 0 {
				parts = append(parts, fmt.Sprintf("%q:%s", key, sub()))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	rules := map[string]func() string{
		"type": func() string {
			return pick(r, `"object"`, `"array"`, `["string","number"]`, `["object","array"]`, `"integer"`)
		},
		"enum":                  func() string { return pick(r, `[1,"a"]`, `[1]`, `["a",null,{}]`, `[[],1.0]`) },
		"const":                 func() string { return pick(r, `1`, `"a"`, `{}`) },
		"minimum":               func() string { return pick(r, `0`, `1`, `1.5`) },
		"exclusiveMinimum":      func() string { return pick(r, `0`, `1`) },
		"maximum":               func() string { return pick(r, `1`, `2`) },
		"multipleOf":            func() string { return pick(r, `1`, `2`, `0.5`) },
		"minLength":             func() string { return pick(r, `0`, `1`, `2`) },
		"maxLength":             func() string { return pick(r, `1`, `2`) },
		"pattern":               func() string { return pick(r, `"a"`, `"^a"`) },
		"minItems":              func() string { return pick(r, `0`, `1`) },
		"maxItems":              func() string { return pick(r, `1`, `2`) },
		"uniqueItems":           func() string { return pick(r, `true`, `false`) },
		"items":                 sub,
		"prefixItems":           list,
		"contains":              sub,
		"minContains":           func() string { return pick(r, `0`, `1`, `2`) },
		"maxContains":           func() string { return pick(r, `1`, `2`) },
		"unevaluatedItems":      sub,
		"required":              func() string { return pick(r, `["a"]`, `["a","b"]`, `[]`) },
		"properties":            func() string { return object("a", "b", "c") },
		"patternProperties":     func() string { return object("^a", "b") },
		"additionalProperties":  sub,
		"unevaluatedProperties": sub,
		"propertyNames":         func() string { return pick(r, `{"maxLength":1}`, `{"enum":["a","b"]}`, `true`) },
		"minProperties":         func() string { return pick(r, `0`, `1`) },
		"maxProperties":         func() string { return pick(r, `1`, `2`) },
		"dependentRequired":     func() string { return pick(r, `{"a":["b"]}`, `{"a":["b","c"],"b":[]}`, `{}`) },
		"dependentSchemas":      func() string { return object("a", "b") },
		"allOf":                 list,
		"anyOf":                 list,
		"oneOf":                 list,
		"not":                   sub,
		"if":                    sub,
		"then":                  sub,
		"else":                  sub,
		"$ref":                  func() string { return `"#/$defs/d"` },
		"title":                 func() string { return pick(r, `"x"`, `"y"`) },
	}
	names := unionOf(anyMap(rules), nil)
	used := map[string]bool{}
	var parts []string
	for range 1 + r.IntN(4) {
		name := pick(r, names...)
		if !used[name] {
			used[name] = true
			parts = append(parts, fmt.Sprintf("%q:%s", name, rules[name]()))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func anyMap[V any](m map[string]V) map[string]any {
	out := make(map[string]any)
	for k, v := range m {
		out[k] = v
	}
	return out
}

func several(r *rand.Rand, write func() string, least int) []string {
	var list []string
	for range least + r.IntN(2) {
		list = append(list, write())
	}
	return list
}

// mutate changes a word or two of a definition; what comes out may be none.
func mutate(r *rand.Rand, text string) string {
	for range 1 + r.IntN(2) {
		swaps := [][2]string{{`:1`, `:2`}, {`:2`, `:1`}, {`true`, `false`}, {`false`, `true`}, {`{}`, `{"type":"string"}`}, {`"a"`, `"b"`}, {`"b"`, `"a"`},
			{`"integer"`, `"number"`}, {`"number"`, `"integer"`}, {`[1,"a"]`, `[1]`}, {`["a"]`, `["a","b"]`}, {`["a","b"]`, `["a"]`}, {`{"type":"string"}`, `{}`},
			{`"items"`, `"title"`}, {`"properties":{`, `"properties":{"c":{"type":"string"},`}, {`allOf`, `anyOf`}, {`"minimum"`, `"exclusiveMinimum"`},
			{`,"maxLength":1`, ``}, {`{`, `{"maxLength":2,`}, {`{`, `{"required":["a"],`}, {`{`, `{"additionalProperties":false,`}, {`{`, `{"unevaluatedProperties":false,`}, {`[{`, `[{"minimum":1},{`}}
		s := swaps[r.IntN(len(swaps))]
		n := strings.Count(text, s[0])
		if n == 0 {
			continue
		}
		at := 0
		for range 1 + r.IntN(n) {
			at += strings.Index(text[at:], s[0]) + len(s[0])
		}
		next := text[:at-len(s[0])] + s[1] + text[at:]
		next = strings.NewReplacer(",}", "}", ",]", "]").Replace(next)
		if _, err := decode([]byte(next)); err == nil && ijson.Check([]byte(next), 100) == nil {
			text = next
		}
	}
	return text
}

func writeValue(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(3) == 0 {
		return pick(r, `null`, `true`, `0`, `1`, `2`, `1.5`, `1.0`, `-3`, `"a"`, `"b"`, `"ab"`, `""`, `"aaa"`, `{}`, `[]`)
	}
	value := func() string { return writeValue(r, depth-1) }
	if r.IntN(2) == 0 {
		return "[" + strings.Join(several(r, value, r.IntN(3)), ",") + "]"
	}
	var parts []string
	for _, name := range []string{"a", "b", "c", "ab"} {
		if r.IntN(2) == 0 {
			parts = append(parts, fmt.Sprintf("%q:%s", name, value()))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}
