package wire

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStrangersTextIsVisibleAndShort(t *testing.T) {
	cases := []struct {
		name, in string
		max      int
		line     string
		plain    bool
	}{
		{"as it is", "Reisebüro 航班", 40, "Reisebüro 航班", true},
		{"line breaks", " a\r\n\tb ", 40, "a b", false},
		{"bell, escape and NUL", "a\x07\x1b[2J\x00b", 40, "a[2Jb", false},
		{"change of direction", "a\u202eb\u2066c", 40, "abc", false},
		{"zero width", "a\u200bb\u2060c\ufeff", 40, "abc", false},
		{"letters without a glyph", "a\u3164b\u2800c", 40, "abc", false},
		{"tags", "a\U000e0041b", 40, "ab", false},
		{"broken text", "a\xffb", 40, "a\ufffdb", false},
		{"too long", "abcdefgh", 6, "abc…", true},
		{"cut between characters", "ääää", 6, "ä…", true},
		{"nothing fits", "abcdef", 3, "…", true},
	}
	for _, c := range cases {
		if got := Line(c.in, c.max); got != c.line {
			t.Errorf("%s: line %q, want %q", c.name, got, c.line)
		}
		if got := Plain(c.in); got != c.plain {
			t.Errorf("%s: plain is %v", c.name, got)
		}
	}
	if got := Text(" a\r\nb\x07\n\n", 40); got != "a \nb" {
		t.Errorf("text %q", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\u202eb", 5)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 3 || max > 1000 {
			return
		}
		got := Line(s, max)
		if len(got) > max || !utf8.ValidString(got) || !Plain(got) || strings.TrimSpace(got) != got {
			t.Errorf("line of %q in %d bytes is %q", s, max, got)
		}
	})
}
