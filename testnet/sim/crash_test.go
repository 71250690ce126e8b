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

// What people do comes out right when nothing goes wrong, and when a process dies at
// some of the points that it passes (CP 1 to 8, 16, 18 to 23, 26, 28, 29, 31, 36).
func TestScripts(t *testing.T) {
	const some = 2
	for _, s := range allScripts() {
		t.Run(s.name, func(t *testing.T) {
			_, points := play(t, s, Options{})
			for i := range some {
				crashAt(t, s, points*(2*i+1)/(2*some)+1)
			}
		})
	}
}

// The same with every point, until a run has no point left to die at.
func TestSoakCrashAtEveryPoint(t *testing.T) {
	soak(t)
	for _, s := range allScripts() {
		t.Run(s.name, func(t *testing.T) {
			for n := 1; crashAt(t, s, n) && !t.Failed(); n++ {
			}
		})
	}
}

// crashAt plays a script and lets a process die at a point of it; it reports whether
// there was such a point.
func crashAt(t *testing.T, s script, n int) (died bool) {
	t.Run(fmt.Sprint("point ", n), func(t *testing.T) {
		crashes, _ := play(t, s, Options{CrashAt: []int{n}, Quiet: true})
		died = crashes > 0
	})
	return died
}

func allScripts() []script { return slices.Concat(scripts, undoScripts) }

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
	for first := 1; first < points; first += max(1, points/12) {
		for _, second := range []int{1, 3, 9, 27} {
			t.Run(fmt.Sprint("points ", first, " and ", second), func(t *testing.T) {
				play(t, s, Options{CrashAt: []int{first, second}, Quiet: true})
			})
		}
	}
}

// T28: both start at once, on a line that loses and repeats, and die at it.
func TestBothStartAtOnce(t *testing.T) { bothStartOften(t, 2) }

func TestSoakBothStartAtOnce(t *testing.T) {
	soak(t)
	bothStartOften(t, 300)
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
