package strictjson

import (
	"errors"
	"strings"
	"testing"
)

// T09: what one reader takes one way and another the other way is refused.
func TestObjectRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                    ``,
		"not an object":            `[]`,
		"number":                   `1`,
		"null":                     `null`,
		"same name twice":          `{"a":1,"a":2}`,
		"same name with a long s":  "{\"session\":1,\"\u017fession\":2}",
		"same name in other case":  `{"allow":[],"Allow":[]}`,
		"same name by escape":      `{"a":1,"\u0061":2}`,
		"twice inside":             `{"x":{"a":1,"a":2}}`,
		"twice inside a list":      `{"x":[{"a":1,"A":2}]}`,
		"something after":          `{} {}`,
		"garbage after":            `{}x`,
		"unfinished":               `{"a":1`,
		"trailing comma":           `{"a":1,}`,
		"broken UTF-8":             "{\"a\":\"\xff\"}",
		"half a surrogate":         `{"a":"\ud800"}`,
		"half a surrogate in name": `{"\udc00":1}`,
		"NaN":                      `{"a":NaN}`,
		"comment":                  `{} // yes`,
		"depth bomb":               `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		if m, err := Object([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, %v, want ErrMalformed", name, m, err)
		}
	}
}

func TestObjectKeepsOrderAndText(t *testing.T) {
	m, err := Object([]byte(`{"b": 9007199254740993, "a": {"x": [1, 2]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != 2 || m[0].Name != "b" || string(m[0].Value) != "9007199254740993" ||
		m[1].Name != "a" || string(m[1].Value) != `{"x": [1, 2]}` {
		t.Errorf("got %+v", m)
	}
}

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"c":"d"}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Object(b)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, x := range m {
			if seen[strings.ToLower(x.Name)] {
				t.Fatalf("%q twice in %q", x.Name, b)
			}
			seen[strings.ToLower(x.Name)] = true
		}
	})
}
