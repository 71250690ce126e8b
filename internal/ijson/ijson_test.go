package ijson_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"amesh/internal/ijson"
)

const depth = 32

func TestRefusesWhatTwoReadersCouldReadInTwoWays(t *testing.T) {
	t.Parallel()
	many := `{"n0":0`
	for i := range 100 {
		many += `,"n` + strconv.Itoa(i+1) + `":0`
	}
	for name, text := range map[string]string{
		"nothing":                        ` `,
		"same name twice":                `{"a":1,"a":2}`,
		"same name by escape":            `{"a":1,"\u0061":2}`,
		"same name inside":               `{"x":{"a":1,"a":2}}`,
		"same name in a list":            `[{"a":1,"a":2}]`,
		"same name among many":           many + `,"n77":0}`,
		"something after":                `{} {}`,
		"garbage after":                  `{}x`,
		"unfinished object":              `{"a":1`,
		"unfinished list":                `[1`,
		"unfinished string":              `"a`,
		"unfinished escape":              `"\`,
		"unfinished name":                `{"a`,
		"no colon":                       `{"a" 1}`,
		"no value":                       `{"a":}`,
		"comma at the end":               `{"a":1,}`,
		"comma at the end of list":       `[1,]`,
		"no comma":                       `[1 2]`,
		"name without quotes":            `{a:1}`,
		"broken UTF-8":                   "\"\xff\"",
		"half a pair":                    `"\ud800"`,
		"half a pair, then text":         `"\ud800abcdef"`,
		"second half alone":              `"\udc00"`,
		"two first halves":               `"\ud800\ud800"`,
		"unknown escape":                 `"\x"`,
		"bad hex":                        `"\u00g0"`,
		"line break in a string":         "\"a\nb\"",
		"number beyond a double":         `1e400`,
		"long number":                    strings.Repeat("9", 400),
		"leading zero":                   `01`,
		"leading plus":                   `+1`,
		"point without digits":           `1.`,
		"exponent without digits":        `1e`,
		"minus alone":                    `-`,
		"NaN":                            `NaN`,
		"half a word":                    `tru`,
		"comment":                        `{} // yes`,
		"byte order mark":                "\ufeff{}",
		"too deep":                       strings.Repeat("[", depth+1) + strings.Repeat("]", depth+1),
		"same name, the last of many":    many + `,"n0":0}`,
		"same name by escape among many": many + `,"\u006e77":0}`,
	} {
		if err := ijson.Check([]byte(text), depth); !errors.Is(err, ijson.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestTakesAllOfJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, `[]`, ` { } `, `[ ]`, `0`, `-0`, `-1.5e-3`, `1E+2`, `1e-400`, `true`, `false`, `null`,
		`"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`, "\"\ufffd é\"", `{"a":{"a":[{"a":1}]},"A":2}`, `"\ufffd"`,
		strings.Repeat("[", depth) + strings.Repeat("]", depth),
	} {
		if err := ijson.Check([]byte(text), depth); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHandsOutNoMoreThanFits(t *testing.T) {
	t.Parallel()
	var members, elements strings.Builder
	for i := range 1<<16 + 1 {
		members.WriteString(`,"n` + strconv.Itoa(i) + `":0`)
		elements.WriteString(`,0`)
	}
	if _, err := ijson.Object([]byte("{"+members.String()[1:]+"}"), depth); !errors.Is(err, ijson.ErrMalformed) {
		t.Errorf("members: %v", err)
	}
	if _, err := ijson.Array([]byte("["+elements.String()[1:]+"]"), depth); !errors.Is(err, ijson.ErrMalformed) {
		t.Errorf("elements: %v", err)
	}
	for _, text := range []string{"{" + members.String()[1:] + "}", "[" + elements.String()[1:] + "]"} {
		if err := ijson.Check([]byte(text), depth); err != nil {
			t.Errorf("only checked: %v", err)
		}
	}
}

func TestHandsOutMembersAsTheyStand(t *testing.T) {
	t.Parallel()
	members, err := ijson.Object([]byte(` {"b" : 1.50 , "\u0061":{"x": [1, 2]}, "c":"\ud83d\ude00\n" } `), depth)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ name, value string }{{"b", "1.50"}, {"a", `{"x": [1, 2]}`}, {"c", `"\ud83d\ude00\n"`}}
	for i, w := range want {
		if i >= len(members) || members[i].Name != w.name || string(members[i].Value) != w.value {
			t.Fatalf("got %q, want %q", members, want)
		}
	}
	if s, ok := ijson.String(members[2].Value); !ok || s != "😀\n" {
		t.Errorf("got %q", s)
	}
	if _, ok := ijson.String(members[0].Value); ok {
		t.Error("a number read as a string")
	}
	if got := string(ijson.AppendCompact(nil, []byte(" [ \"a \\\" b\" , 1 ]\n"))); got != `["a \" b",1]` {
		t.Errorf("got %s", got)
	}
	if _, err := ijson.Object([]byte(`[]`), depth); err == nil {
		t.Error("a list read as an object")
	}
	elements, err := ijson.Array([]byte(`[1, "x" ,{}]`), depth)
	if err != nil || len(elements) != 3 || string(elements[1]) != `"x"` {
		t.Errorf("got %q, %v", elements, err)
	}
}

// FuzzCheck holds the reader against encoding/json, which takes everything that we
// take and reads the same members.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"c":"d\u00e9\ud83d\ude00"}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Add([]byte(` [ -0.1e5 , true ] `))
	f.Fuzz(func(t *testing.T, text []byte) {
		if ijson.Check(text, depth) != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is not JSON", text)
		}
		members, err := ijson.Object(text, depth)
		if err != nil {
			return
		}
		var reference map[string]json.RawMessage
		if err := json.Unmarshal(text, &reference); err != nil || len(reference) != len(members) {
			t.Fatalf("%q: %v, %d members, want %d", text, err, len(members), len(reference))
		}
		for _, m := range members {
			if string(reference[m.Name]) != string(m.Value) {
				t.Fatalf("%q: member %q is %q, want %q", text, m.Name, m.Value, reference[m.Name])
			}
		}
		var compact map[string]any
		if err := json.Unmarshal(ijson.AppendCompact(nil, text), &compact); err != nil {
			t.Fatalf("%q: compacted: %v", text, err)
		}
	})
}
