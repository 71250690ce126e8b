package sim

import (
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

// A seed and the points of its crashes decide a whole run: it can be played again.
func TestSeedDecides(t *testing.T) {
	tell := func() (lines []string) {
		o := Options{
			StateKey: stateKey, Quiet: true, Seed: 7, CrashAt: []int{60, 40},
			Weather: Weather{Jitter: 50 * time.Millisecond, Lost: 0.2, Unreported: 0.1, Twice: 0.2, NotFound: 0.2},
		}
		cryptotest.SetGlobalRandom(t, o.Seed)
		synctest.Test(t, func(t *testing.T) {
			w := NewWorld(t, o)
			defer w.Stop()
			bothKnock(t, w)
			for _, e := range w.History() {
				// A message id has the time in it that the process made its last one; so the
				// bytes of envelopes differ from run to run of one process, and nothing else.
				e.Envelope = ""
				lines = append(lines, e.String())
			}
		})
		return lines
	}
	first, second := tell(), tell()
	for i := range min(len(first), len(second)) {
		if first[i] != second[i] {
			t.Fatalf("event %d was\n%s\nand is\n%s", i, first[i], second[i])
		}
	}
	if len(first) != len(second) {
		t.Errorf("%d events, then %d", len(first), len(second))
	}
}
