package timestamp

import (
	"strings"
	"testing"
)

func TestTimestampsAreRenderedAsRustDoes(t *testing.T) {
	cases := []struct{ in, rust, text string }{
		{"2026-02-01T12:00:00.123Z", "2026-02-01T12:00:00.123+00:00", "2026-02-01T12:00:00.123Z"},
		{"2026-02-01T12:00:00.000Z", "2026-02-01T12:00:00+00:00", "2026-02-01T12:00:00Z"},
		{"2026-02-01T12:00:00.123000+00:00", "2026-02-01T12:00:00.123+00:00", "2026-02-01T12:00:00.123Z"},
		{"2026-02-01T12:00:00.123456+00:00", "2026-02-01T12:00:00.123456+00:00", "2026-02-01T12:00:00.123456Z"},
		{"2026-02-01T14:00:00+02:00", "2026-02-01T12:00:00+00:00", "2026-02-01T12:00:00Z"},
		{"2026-02-01T12:00:00.000000001Z", "2026-02-01T12:00:00.000000001+00:00", "2026-02-01T12:00:00Z"},
		{"2026-02-01T12:00:00.100000999Z", "2026-02-01T12:00:00.100000999+00:00", "2026-02-01T12:00:00.100Z"},
	}
	for _, c := range cases {
		at, err := Parse(c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		if got := Rerender(at); got != c.rust {
			t.Errorf("%s: re-rendered %s, want %s", c.in, got, c.rust)
		}
		if got := Text(at); got != c.text {
			t.Errorf("%s: on the wire %s, want %s", c.in, got, c.text)
		}
	}
	for _, bad := range []string{"", "now", "2026-02-01 12:00:00Z", "2026-02-01T12:00:00", "2026-02-01T12:00:00,5Z", "2026-02-01T12:00:00." + strings.Repeat("0", 40) + "Z"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
