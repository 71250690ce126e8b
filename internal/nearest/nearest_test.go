package nearest

import "testing"

func TestWordFindsWhatWasMeant(t *testing.T) {
	known := []string{"server", "storage", "logging", "log"}
	for _, c := range []struct{ word, want string }{
		{"sever", "server"},
		{"storaeg", "storage"},
		{"stor", "storage"},
		{"logs", "log"},
		{"colour", ""},
		{"", ""},
	} {
		if got := Word(c.word, known); got != c.want {
			t.Errorf("Word(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}

func TestEditsBetweenWords(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"send", "send", 0}, {"sned", "send", 1}, {"", "abc", 3},
		{"kitten", "sitting", 3}, {"aprove", "approve", 1}, {"relays", "relay", 1},
	} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
