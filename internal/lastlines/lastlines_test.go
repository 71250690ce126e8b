package lastlines

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTheLastLinesAreKeptInOrder(t *testing.T) {
	l := New(3)
	if got := l.All(); len(got) != 0 {
		t.Errorf("before anything: %q", got)
	}
	for i := range 7 {
		fmt.Fprintf(l, "line %d\n", i)
		first := max(0, i-2)
		if got := l.All(); len(got) != i-first+1 || got[0] != fmt.Sprintf("line %d", first) || got[len(got)-1] != fmt.Sprintf("line %d", i) {
			t.Errorf("after %d: %q", i, got)
		}
	}
	if n, err := l.Write([]byte(strings.Repeat("x", 5000))); n != 5000 || err != nil || len(l.All()[2]) != maxLine {
		t.Errorf("a long line: %d, %v, %d bytes kept", n, err, len(l.All()[2]))
	}
}

func TestLinesOfALogger(t *testing.T) {
	l := New(10)
	log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
	log.Debug("not this")
	log.Info("this", "what", "two\nlines")
	if got := l.All(); len(got) != 1 || !strings.Contains(got[0], `what="two\nlines"`) {
		t.Errorf("%q", got)
	}
}
