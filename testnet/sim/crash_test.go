package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"amesh/internal/store"
)

var stateKey *store.StateKey

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		panic(err)
	}
	if stateKey, err = store.LoadStateKey(filepath.Join(dir, "state.key")); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// play runs a script in a world of its own and returns how many processes died, and
// how many points were passed after the last death.
func play(t *testing.T, s script, o Options) (crashes, points int) {
	o.StateKey = stateKey
	cryptotest.SetGlobalRandom(t, o.Seed)
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld(t, o)
		defer w.Stop()
		s.run(t, w)
		crashes, points = w.Crashes(), w.Points()
	})
	return crashes, points
}

func allScripts() []script { return slices.Concat(scripts, undoScripts) }

// What people do comes out right when nothing goes wrong.
func TestScripts(t *testing.T) {
	for _, s := range allScripts() {
		t.Run(s.name, func(t *testing.T) { play(t, s, Options{}) })
	}
}

// CP 1 to 8, 18 to 23, 26, 36: a process dies at every point of every script, some of
// them here and all of them in the soak.
func TestCrashAtPoints(t *testing.T) {
	for _, s := range allScripts() {
		t.Run(s.name, func(t *testing.T) { crashAtPoints(t, s, 6) })
	}
}

func TestSoakCrashAtEveryPoint(t *testing.T) {
	soak(t)
	for _, s := range allScripts() {
		t.Run(s.name, func(t *testing.T) { crashAtPoints(t, s, 0) })
	}
}

// crashAtPoints plays a script again and again, dying later each time, until a run has
// no point left to die at. With most above 0 it takes so many of the points, spread
// over the run.
func crashAtPoints(t *testing.T, s script, most int) {
	step := 1
	if most > 0 {
		_, points := play(t, s, Options{})
		step = max(1, points/most)
	}
	for n := 1; ; n += step {
		died := true
		ok := t.Run(fmt.Sprint("point ", n), func(t *testing.T) {
			crashes, _ := play(t, s, Options{CrashAt: []int{n}, Quiet: true})
			died = crashes > 0
		})
		if !ok || !died {
			return
		}
	}
}

func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes minutes; set AMESH_SOAK=1")
	}
}

// The second crash comes when the first one's traces are still there.
func TestSoakCrashTwice(t *testing.T) {
	soak(t)
	for _, s := range allScripts() {
		t.Run(s.name, func(t *testing.T) { crashTwice(t, s) })
	}
}

func crashTwice(t *testing.T, s script) {
	_, points := play(t, s, Options{Quiet: true})
	for first := 1; first < points; first += max(1, points/40) {
		for _, second := range []int{1, 2, 3, 5, 8, 13, 21, 34, 55} {
			t.Run(fmt.Sprint("points ", first, " and ", second), func(t *testing.T) {
				play(t, s, Options{CrashAt: []int{first, second}, Quiet: true})
			})
		}
	}
}

// T28: both start at once, on a line that loses and repeats, and die at it.
func TestBothStartAtOnce(t *testing.T) { bothStartOften(t, 3) }

func TestSoakBothStartAtOnce(t *testing.T) {
	soak(t)
	bothStartOften(t, 1000)
}

func bothStartOften(t *testing.T, times uint64) {
	everythingArrives := func(t *testing.T, w *World) {
		ann, bob := bothStart(w)
		wantShown(t, ann, bob, "1", "2")
		wantShown(t, bob, ann, "1", "2")
	}
	for seed := range times {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			play(t, script{run: everythingArrives}, Options{
				Seed: seed, Quiet: true, CrashChance: 0.01, MostCrashes: 6,
				Weather: Weather{Jitter: 2 * time.Second, Lost: 0.3, Unreported: 0.2, Twice: 0.3, NotFound: 0.3},
			})
		})
	}
}
