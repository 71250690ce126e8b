package trim

import (
	"runtime/debug"
	"testing"
)

// Not parallel: there is one percentage in a process.
func TestGarbageOfTheStart(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for before, during := range map[int]int{100: startPercent, 50: startPercent, startPercent: startPercent, 800: 800, -1: -1} {
		debug.SetGCPercent(before)
		over := Start()
		if got := debug.SetGCPercent(during); got != during {
			t.Errorf("%d%% are %d%% during the start, want %d%%", before, got, during)
		}
		over()
		if got := debug.SetGCPercent(77); got != before {
			t.Errorf("%d%% are %d%% after the start", before, got)
		}
		if over(); debug.SetGCPercent(77) != 77 {
			t.Errorf("%d%%: ended twice", before)
		}
	}
}

func TestGarbageOfABusyServer(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for before, after := range map[int]int{100: busyPercent, 50: 50, 800: 800, -1: -1} {
		debug.SetGCPercent(before)
		Busy()
		if got := debug.SetGCPercent(100); got != after {
			t.Errorf("%d%% became %d%%, want %d%%", before, got, after)
		}
	}
}
