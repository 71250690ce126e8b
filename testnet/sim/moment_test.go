package sim

import (
	"testing"
	"time"

	"amesh/node/api"
)

// T66, §9.6: offers, answers and echoes pass between messages, by relay and directly,
// whoever dies meanwhile; what is not of the moment comes out as ever.
func offersAndEchoes(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "ask")
	w.Say(ann, bob, "one", 0)
	w.Decide(bob, true)
	w.Work(bob, 1)
	w.Punch(ann, bob)
	w.Echo(bob, ann, api.PathRelayed)
	w.Say(bob, ann, "two", 0)
	w.Direct(ann, bob, true)
	w.Echo(ann, bob, api.PathDirect)
	w.Punch(bob, ann)
	w.Say(ann, bob, "three", 0)
	w.Direct(ann, bob, false)
	w.Echo(ann, bob, "")
	w.Work(ann, 1)
	w.Work(bob, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"one": api.StateHandled, "three": api.StateHandled})
	want(t, bob, map[string]api.State{"two": api.StateHandled})
	wantShown(t, bob, ann, "one", "three")
	wantShown(t, ann, bob, "two")
}

// The same on a line that loses and repeats, with crashes where the dice fall.
func TestOffersAndEchoesInBadWeather(t *testing.T) {
	for seed := range uint64(4) {
		play(t, script{run: offersAndEchoes}, Options{
			Seed: seed, Quiet: true, CrashChance: 0.01, MostCrashes: 4,
			Weather: Weather{Jitter: time.Second, Lost: 0.2, Unreported: 0.2, Twice: 0.3},
		})
	}
}

// A peer that comes back after an hour is not bothered with what was of the moment then.
func TestNothingOfTheMomentIsSentLater(t *testing.T) {
	play(t, script{run: func(t *testing.T, w *World) {
		ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
		w.Say(ann, bob, "one", 0)
		w.Work(bob, 1)
		w.Cut(ann, true)
		if w.offerOnce(ann, bob) {
			t.Error("an answer came through a line that is cut")
		}
		w.Cut(ann, false)
		w.Cut(bob, true)
		w.offerOnce(ann, bob)
		w.Pass(time.Hour)
		w.Cut(bob, false)
		w.Pass(time.Hour)
		w.Punch(bob, ann)
		w.Finish()
		for _, e := range w.History() {
			if e.Kind == Heard && e.Who == "bob" && e.State == "offer" {
				t.Errorf("bob was told of an old offer: %s", e)
			}
		}
	}}, Options{Quiet: true})
}
