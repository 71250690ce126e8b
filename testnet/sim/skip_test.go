package sim

import (
	"testing"
	"time"

	"amesh/node/api"
)

// session.md §9.1, §9.4: a message that was delivered and is not ended is sealed again in
// a new epoch. The receiver, whose state was undone as well, waits for it in its turn.
func TestDeliveredComesAgainInItsTurn(t *testing.T) {
	play(t, script{run: func(t *testing.T, w *World) {
		ann, bob := talked(w)
		b := bob.Backup()
		w.Weather.Lost = 1
		w.Say(ann, bob, "1", 0)
		w.Pass(time.Second)
		w.Weather.Lost = 0
		w.Say(ann, bob, "2", 0)
		w.Reaches(ann, "2", api.StateDelivered, 10*time.Second)
		w.Cut(ann, true)
		a := ann.Backup()
		w.Pass(time.Minute)
		w.Restore(ann, a)
		w.Restore(bob, b)
		w.Cut(ann, false)
		w.Say(ann, bob, "3", 0)
		w.Work(bob, 4)
		w.Finish()
		wantShown(t, bob, ann, "first", "1", "2", "3")
		for _, e := range w.History() {
			if e.Kind == InRow && e.Who == "bob" && e.Late {
				t.Errorf("late: %s", e)
			}
		}
	}}, Options{Quiet: true})
}
