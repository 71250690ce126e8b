package schema

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestIdentifiers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"agntcy:test.message.v1", "agntcy:a-b_C.9.v0", "agntcy:x.y.v999999999"} {
		got, err := ParseID(text)
		if err != nil || got.String() != text {
			t.Errorf("ParseID(%q) = %v, %v", text, got, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "of the README": "agntcy:test.v1", "no scheme": "test.message.v1", "other scheme": "urn:test.message.v1",
		"four labels": "agntcy:a.b.c.v1", "no version": "agntcy:a.b.", "capital V": "agntcy:a.b.V1", "letters in the version": "agntcy:a.b.v1a",
		"two names for one version": "agntcy:a.b.v01", "too many digits": "agntcy:a.b.v1234567890", "sign": "agntcy:a.b.v+1",
		"a path": "agntcy:../..v1.v1", "slash": "agntcy:a/b.c.v1", "empty label": "agntcy:.b.v1", "line feed": "agntcy:a.b.v1\n",
		"wide letters": "agntcy:ä.b.v1", "long label": "agntcy:" + strings.Repeat("a", 65) + ".b.v1", "asterisk": "agntcy:a.*.v1",
	} {
		if got, err := ParseID(text); !errors.Is(err, ErrID) || got != (ID{}) {
			t.Errorf("%s: ParseID(%q) = %v, %v", name, text, got, err)
		}
	}
}

func TestIdentifierInJSON(t *testing.T) {
	t.Parallel()
	want := id(t, "agntcy:test.message.v1")
	b, err := json.Marshal(want)
	if err != nil || string(b) != `{"domain":"test","entity":"message","version":"v1","raw":"agntcy:test.message.v1"}` {
		t.Errorf("%s, %v", b, err)
	}
	for _, text := range []string{string(b), `"agntcy:test.message.v1"`, `{"domain":"test","entity":"message","version":"v1"}`} {
		var got ID
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{`1`, `{"domain":"test"}`, `{"domain":"a","entity":"b","version":"v1","raw":"agntcy:c.d.v1"}`} {
		var got ID
		if err := json.Unmarshal([]byte(text), &got); !errors.Is(err, ErrID) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

// Row 74: wildcard patterns work, and the old forms still do.
func TestPatterns(t *testing.T) {
	t.Parallel()
	ids := []string{"agntcy:test.message.v1", "agntcy:test.message.v12", "agntcy:test.mess.v1", "agntcy:testing.message.v1", "agntcy:v1.v1.v1"}
	for pattern, want := range map[string]string{
		"": "01234", "*": "01234", "agntcy:*": "01234",
		"agntcy:test.*": "012", "test.*": "012", "test": "012", "test*": "0123",
		"test.message": "01", "agntcy:test.message": "01", "agntcy:test.message.v1": "0", "agntcy:test.message.v*": "01", "test.message.v1*": "01",
		"*.message": "013", "*.message.v1": "03", "t*.m*.v1": "023", "*.v1": "0234", "nobody": "", "test.": "", "***": "01234",
	} {
		p, err := ParsePattern(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		got := ""
		for i, text := range ids {
			if p.Match(id(t, text)) {
				got += string(rune('0' + i))
			}
		}
		if got != want {
			t.Errorf("%q picks %q, want %q", pattern, got, want)
		}
	}
	for _, text := range []string{"../x", "a b", "ä", "a?", "[a]", strings.Repeat("*", 257)} {
		if _, err := ParsePattern(text); !errors.Is(err, ErrPattern) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatAgentsSupport(t *testing.T) {
	t.Parallel()
	message := id(t, "agntcy:test.message.v2")
	for text, want := range map[string]bool{
		"agntcy:test.message.v2": true, "agntcy:test.message.v1": false, "agntcy:test.*": true, "agntcy:test.mess*": true,
		"agntcy:*.message.*": true, "agntcy:tes.*": false, "agntcy:test.message.*": true, "agntcy:test.message.v3*": false,
	} {
		s, err := ParseSupported(text)
		if err != nil || s.Match(message) != want || s.String() != text {
			t.Errorf("%q: %v, %v; want %v", text, s.Match(message), err, want)
		}
	}
	for _, text := range []string{"", "agntcy:*", "*", "test.*", "agntcy:test*", "agntcy:test.message", "agntcy:../.*", "test"} {
		if _, err := ParseSupported(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"agntcy:test.message.v1", "agntcy:a.b.v01", "agntcy:*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseID(s)
		if err != nil {
			return
		}
		if got.String() != s {
			t.Errorf("%q is read as %q", s, got)
		}
		if strings.ContainsAny(s, `/\ *`) {
			t.Errorf("%q was taken", s)
		}
	})
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"agntcy:test.*", "*.message", "test", "**a**"} {
		f.Add(s, "agntcy:test.message.v1")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		named, err := ParseID(name)
		if err != nil {
			return
		}
		// Putting an asterisk at the end never makes a pattern pick less.
		if wider := (Pattern{text: p.text + "*"}); p.text != "" && p.Match(named) && !wider.Match(named) {
			t.Errorf("%q picks %s, %q does not", p, name, wider)
		}
		if sup, err := ParseSupported(s); err == nil && sup.Match(named) && !p.Match(named) {
			t.Errorf("an agent with %q takes %s, the pattern does not pick it", s, name)
		}
	})
}
