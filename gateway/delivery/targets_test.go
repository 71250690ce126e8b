package delivery

import (
	"testing"
	"time"

	"amesh/gateway/store"
)

// Every state of a target times everything that a delivery can say about it.
func TestTargetLearns(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	type state struct {
		allowed int
		pause   time.Duration // the last one's length
		until   time.Duration // from now
	}
	fresh := state{allowed: 1}
	well := state{allowed: 8}
	silentOnce := state{allowed: 1, pause: time.Second}                      // its pause is over
	silentLong := state{allowed: 1, pause: time.Minute}                      // the same
	resting := state{allowed: 1, pause: 4 * time.Second, until: time.Second} // what was under way when it began ends now
	for _, c := range []struct {
		name string
		from state
		says health
		wait time.Duration
		to   state
		back bool
	}{
		{"fresh, unknown", fresh, unknown, 0, fresh, false},
		{"fresh, answered", fresh, answered, 0, state{allowed: 2}, true},
		{"fresh, throttled", fresh, throttled, 0, state{allowed: 1, until: time.Second}, false},
		{"fresh, throttled for long", fresh, throttled, time.Hour, state{allowed: 1, until: 10 * time.Second}, false},
		{"fresh, troubled", fresh, troubled, 0, state{allowed: 1, pause: time.Second, until: time.Second}, false},
		{"fresh, troubled for long", fresh, troubled, time.Hour, state{allowed: 1, pause: time.Second, until: time.Minute}, false},
		{"fresh, silent", fresh, silent, 0, state{allowed: 1, pause: time.Second, until: time.Second}, false},
		{"well, unknown", well, unknown, 0, well, false},
		{"well, answered", well, answered, 0, well, false},
		{"well, throttled", well, throttled, 3 * time.Second, state{allowed: 4, until: 3 * time.Second}, false},
		{"well, troubled", well, troubled, 0, state{allowed: 4}, false},
		{"well, silent", well, silent, 0, state{allowed: 4}, false},
		{"silent once, unknown", silentOnce, unknown, 0, silentOnce, false},
		{"silent once, answered", silentOnce, answered, 0, state{allowed: 2}, false},
		{"silent once, throttled", silentOnce, throttled, 0, state{allowed: 1, pause: time.Second, until: time.Second}, false},
		{"silent once, troubled", silentOnce, troubled, 0, state{allowed: 1, pause: 2 * time.Second, until: 2 * time.Second}, false},
		{"silent once, silent", silentOnce, silent, 0, state{allowed: 1, pause: 2 * time.Second, until: 2 * time.Second}, false},
		{"silent long, answered", silentLong, answered, 0, state{allowed: 2}, true},
		{"silent long, silent", silentLong, silent, 0, state{allowed: 1, pause: time.Minute, until: time.Minute}, false},
		{"resting, unknown", resting, unknown, 0, resting, false},
		{"resting, answered", resting, answered, 0, state{allowed: 2}, true},
		{"resting, throttled", resting, throttled, 0, resting, false},
		{"resting, troubled", resting, troubled, 0, resting, false},
		{"resting, silent", resting, silent, 0, resting, false},
	} {
		all := newTargets(Limits{}.withDefaults())
		one := all.get("b.test", now)
		one.allowed, one.pause, one.inFlight, all.inFlight = c.from.allowed, c.from.pause, 1, 1
		one.heard = c.name != "fresh, answered"
		if c.from.until > 0 {
			one.until = now.Add(c.from.until)
		}
		back := all.end("b.test", c.says, c.wait, now)
		got := state{allowed: one.allowed, pause: one.pause}
		if one.until.After(now) {
			got.until = one.until.Sub(now)
		}
		if got != c.to || back != c.back || all.inFlight != 0 {
			t.Errorf("%s: %+v, back %v, %d in flight; want %+v, %v", c.name, got, back, all.inFlight, c.to, c.back)
		}
	}
}

// Hurry ends pauses that are ours, and none that a target asked for with 429.
func TestHurryLeavesATargetWhatItAskedFor(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for says, want := range map[health]time.Duration{silent: time.Second, troubled: time.Second, throttled: 10 * time.Second} {
		all := newTargets(Limits{}.withDefaults())
		one := all.get("b.test", now)
		one.pause, one.inFlight, all.inFlight = 30*time.Second, 1, 1
		all.end("b.test", says, time.Minute, now)
		all.hurry("b.test")
		if got := one.until.Sub(now); got != want {
			t.Errorf("%v: left alone for %v, want %v", says, got, want)
		}
	}
}

// However many domains are named, no more are remembered than have something to say.
func TestTargetsAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	all := newTargets(Limits{}.withDefaults())
	all.hold(leased{Job: store.Job{Target: "waits.test"}}, now)
	for i := range 3 * reapTargets {
		name := string(rune('a'+i%26)) + time.Duration(i).String()
		all.get(name, now).inFlight++
		all.inFlight++
		all.end(name, silent, 0, now)
		now = now.Add(time.Minute)
	}
	if len(all.byName) > reapTargets || all.byName["waits.test"] == nil {
		t.Errorf("%d targets", len(all.byName))
	}
}

// Whoever waits for a target asks first whether that makes sense.
func TestDoubtfulTargets(t *testing.T) {
	t.Parallel()
	job := leased{Job: store.Job{Target: "x.test"}}
	for name, c := range map[string]struct {
		is   *target
		want bool
	}{
		"never heard of":               {nil, false},
		"asked for the first time":     {&target{inFlight: 1}, false},
		"asked, and others wait":       {&target{inFlight: 1, held: []leased{job}}, true},
		"well, and others wait":        {&target{inFlight: 8, held: []leased{job}, heard: true}, false},
		"silent":                       {&target{pause: time.Second}, true},
		"silent after it had answered": {&target{pause: time.Second, heard: true}, true},
	} {
		s := &Service{targets: newTargets(Limits{}.withDefaults())}
		if c.is != nil {
			s.targets.byName["x.test"] = c.is
		}
		if got := s.Doubtful("x.test"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
