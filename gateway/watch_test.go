package gateway

import (
	"net/http"
	"testing"
	"time"
)

func TestWatchTellsOfChanges(t *testing.T) {
	w := newWatch()
	one, endOne, _ := w.on([]string{"m1"}, 3)
	two, endTwo, _ := w.on([]string{"m1"}, 3)
	other, endOther, _ := w.on([]string{"m2", "m4"}, 3)
	if _, _, ok := w.on([]string{"m3"}, 3); ok {
		t.Error("more wait than may")
	}
	w.changed([]string{"m1", "m1", "m9"}) // blocks nobody, however often it is told
	if len(one) != 1 || len(two) != 1 || len(other) != 0 {
		t.Errorf("told %d, %d and %d", len(one), len(two), len(other))
	}
	w.changed([]string{"m4"})
	if len(other) != 1 {
		t.Error("not told of the second of two")
	}
	endOne()
	endTwo()
	endOther()
	if len(w.by) != 0 || w.n != 0 {
		t.Errorf("%d messages and %d waiters are remembered", len(w.by), w.n)
	}
	w.changed([]string{"m1"})
}

func TestPreferenceToWait(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  time.Duration
		ok    bool
	}{
		{"none", nil, 0, false},
		{"alone", []string{"wait=5"}, 5 * time.Second, true},
		{"among others", []string{"respond-async, WAIT = 7 ; x=y"}, 7 * time.Second, true},
		{"second line", []string{"return=minimal", "wait=0"}, 0, true},
		{"negative", []string{"wait=-1"}, 0, false},
		{"no number", []string{"wait=soon"}, 0, false},
		{"too long for a number", []string{"wait=99999999999999999999"}, 0, false},
	} {
		got, ok := preferred(http.Header{"Prefer": c.lines})
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %v %v, want %v %v", c.name, got, ok, c.want, c.ok)
		}
	}
}
