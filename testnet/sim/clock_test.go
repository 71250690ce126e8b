package sim

import (
	"fmt"
	"testing"
	"time"

	"amesh/node/api"
)

// CP 33: whoever's clock jumps by an hour back or by four days ahead for some minutes,
// nothing expires early and nothing stands still: what waits arrives, once, on the
// session that is there.
func TestClockJumpsAndComesBack(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, -24 * time.Hour, 4 * 24 * time.Hour, 40 * 24 * time.Hour} {
		for _, who := range []string{"ann", "bob", "both"} {
			t.Run(fmt.Sprint(by, " at ", who), func(t *testing.T) {
				play(t, script{run: func(t *testing.T, w *World) { clockComesBack(t, w, by, who) }}, Options{Quiet: true})
			})
		}
	}
}

func clockComesBack(t *testing.T, w *World, by time.Duration, who string) {
	w.Slack.End += 12 * time.Minute
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
	jump := func(by time.Duration) {
		for _, p := range []*Person{ann, bob} {
			if who == p.Name || who == "both" {
				p.Step(by)
			}
		}
	}
	w.Say(ann, bob, "before", 0)
	w.Work(bob, 1)
	w.Pass(time.Minute)
	sessions := len(bob.rows.sessions[ann.AMID()])
	w.Cut(bob, true)
	w.Say(ann, bob, "an hour", time.Hour)
	w.Say(ann, bob, "three days", 0)
	w.Pass(time.Minute)
	jump(by)
	w.Pass(5 * time.Minute)
	w.Cut(bob, false)
	w.Reaches(ann, "an hour", api.StateDelivered, 2*time.Minute)
	jump(-by)
	w.Work(bob, 3)
	w.Say(bob, ann, "back", 0)
	w.Work(ann, 1)
	w.Finish()
	want(t, ann, map[string]api.State{"an hour": api.StateHandled, "three days": api.StateHandled})
	wantShown(t, bob, ann, "before", "an hour", "three days")
	if n := len(bob.rows.sessions[ann.AMID()]); n != sessions {
		t.Errorf("%d sessions, there were %d", n, sessions)
	}
}

// CP 33: a new time that stays is believed after ten minutes: a laptop that slept ends
// what ran out while it slept, and then only.
func TestClockJumpsForGood(t *testing.T) {
	for _, by := range []time.Duration{8 * time.Hour, 4 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			play(t, script{run: func(t *testing.T, w *World) { clockStays(t, w, by) }}, Options{Quiet: true})
		})
	}
}

func clockStays(t *testing.T, w *World, by time.Duration) {
	w.Slack.Early = by
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
	w.Say(ann, bob, "before", 0)
	w.Work(bob, 1)
	w.Pass(time.Minute)
	w.Cut(ann, true)
	w.Say(ann, bob, "too late", time.Hour)
	w.Pass(time.Minute)
	ann.Step(by)
	bob.Step(by)
	w.Pass(9 * time.Minute)
	if state, _ := ann.State("too late"); state != api.StateAccepted {
		t.Errorf("%s nine minutes after the jump, want accepted still", state)
	}
	w.Reaches(ann, "too late", api.StateDead, 5*time.Minute)
	w.Cut(ann, false)
	w.Say(ann, bob, "after", 0)
	w.Work(bob, 2)
	w.Finish()
	wantShown(t, bob, ann, "before", "after")
}

// CP 33: timers go by the time that passes. With its clock a day back a node goes on
// sending what was lost on the way.
func TestTimersGoOnAfterAJumpBack(t *testing.T) {
	play(t, script{run: func(t *testing.T, w *World) {
		ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
		w.Say(ann, bob, "1", 0)
		w.Work(bob, 1)
		w.Pass(time.Minute)
		w.Weather.Lost = 1
		w.Say(ann, bob, "2", 0)
		w.Pass(time.Second)
		ann.Step(-24 * time.Hour)
		w.Weather.Lost = 0
		w.Reaches(ann, "2", api.StateDelivered, time.Minute)
		w.Work(bob, 2)
		ann.Step(24 * time.Hour)
		w.Finish()
	}}, Options{Quiet: true})
}

// CP 33: a knock that was dated by a clock four days ahead is dropped by its peer, as one
// of the future; when the clock is right again it is made again, and nobody waits.
func TestClockDatedAKnock(t *testing.T) {
	play(t, script{run: func(t *testing.T, w *World) {
		ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
		ann.Step(4 * 24 * time.Hour)
		w.Say(ann, bob, "hello", 0)
		w.Pass(5 * time.Minute)
		ann.Step(-4 * 24 * time.Hour)
		w.Reaches(ann, "hello", api.StateDelivered, 2*time.Minute)
		w.Work(bob, 1)
		w.Finish()
		want(t, ann, map[string]api.State{"hello": api.StateHandled})
		wantShown(t, bob, ann, "hello")
	}}, Options{Quiet: true})
}
