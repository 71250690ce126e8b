package sim

import "testing"

// CP 28: the start that finds the mark gone dies, and the next one finds out again.
func TestMarkLostAloneAtEveryPoint(t *testing.T) {
	s := script{run: func(t *testing.T, w *World) {
		bob := w.Join("bob", "accept")
		w.LoseMark(bob)
		w.Finish()
	}}
	for n := 1; crashAt(t, s, n); n++ {
	}
}
