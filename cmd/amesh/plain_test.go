package main

import (
	"strings"
	"testing"
)

// T100: what strangers write cannot move the cursor, turn text around or hide.
func TestStrangersTextIsHarmless(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain text", "Grüße, 日本語 – ok", "Grüße, 日本語 – ok"},
		{"emoji", "fine 👍", "fine 👍"},
		{"clear screen", "\x1b[2J", `\x1b[2J`},
		{"window title", "\x1b]0;root\x07", `\x1b]0;root\x07`},
		{"C1 escape", "\u009b31m", `\u{9b}31m`},
		{"carriage return", "ok\rno", `ok\x0dno`},
		{"new header line", "x\nfrom: somebody", `x\x0afrom: somebody`},
		{"right to left override", "exe.\u202efdp", `exe.\u{202e}fdp`},
		{"isolate", "\u2066x\u2069", `\u{2066}x\u{2069}`},
		{"zero width", "pay\u200bpal\u200d\u2060\ufeff", `pay\u{200b}pal\u{200d}\u{2060}\u{feff}`},
		{"tags block", "hi\U000e0041\U000e007f", `hi\u{e0041}\u{e007f}`},
		{"soft hyphen", "a\u00adb", `a\u{ad}b`},
		{"line separator", "a\u2028b\u2029", `a\u{2028}b\u{2029}`},
		{"Hangul filler", "a\u3164b", `a\u{3164}b`},
		{"text in variation selectors", "a\U000e0100", `a\u{e0100}`},
		{"private use", "\ue000", `\u{e000}`},
		{"not UTF-8", "a\xff\xfeb", `a\xff\xfeb`},
		{"a replacement character as such", "\ufffd", "\ufffd"},
	} {
		if got := plain(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := plain(plain(c.in)); got != c.want {
			t.Errorf("%s: escaped twice it is %q", c.name, got)
		}
	}
	if got := plainLines("a\n\tb\r"); got != "a\n\tb\\x0d" {
		t.Errorf("lines: %q", got)
	}
}

func TestSpans(t *testing.T) {
	for in, want := range map[string]string{"90s": "1m30s", "7d": "168h0m0s", "2h30m": "2h30m0s", "0s": "0s"} {
		if d, err := parseSpan(in); err != nil || d.String() != want {
			t.Errorf("%s: %s, %v", in, d, err)
		}
	}
	for _, in := range []string{"", "d", "-1d", "-5s", "7", "1.5d", "soon", strings.Repeat("9", 30) + "d"} {
		if d, err := parseSpan(in); err == nil {
			t.Errorf("%q was taken for %s", in, d)
		}
	}
}
