package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

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

// What people do comes out right when nothing goes wrong.
func TestScripts(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) { play(t, s, Options{}) })
	}
}

// CP 1 to 8, 18 to 23, 26, 36: a process dies at every point of every script, some of
// them here and all of them in the soak.
func TestCrashAtPoints(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) { crashAtPoints(t, s, 6) })
	}
}

func TestSoakCrashAtEveryPoint(t *testing.T) {
	soak(t)
	for _, s := range scripts {
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
