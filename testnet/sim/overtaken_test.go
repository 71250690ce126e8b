package sim

import (
	"testing"
	"time"

	"amesh/node/api"
)

// CP 33: the key of a message that was overtaken is kept while the receiver's clock is
// wrong for some minutes.
func TestClockJumpKeepsKeysOfOvertakenMessages(t *testing.T) {
	play(t, script{run: func(t *testing.T, w *World) {
		ann, bob := talked(w)
		w.Weather.Lost = 1
		w.Say(ann, bob, "1", 0)
		w.Pass(time.Second)
		w.Weather.Lost = 0
		w.Say(ann, bob, "2", 0)
		w.Reaches(ann, "2", api.StateDelivered, 10*time.Second)
		bob.Step(30 * 24 * time.Hour)
		w.Reaches(ann, "1", api.StateDelivered, 5*time.Minute)
		bob.Step(-30 * 24 * time.Hour)
		w.Work(bob, 3)
		w.Finish()
		wantShown(t, bob, ann, "first", "1", "2")
	}}, Options{Quiet: true})
}
