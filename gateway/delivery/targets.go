package delivery

import (
	"time"

	"amesh/gateway/store"
)

// health is what a delivery says about its target.
type health int

const (
	unknown   health = iota // no request was made, or we broke it off
	answered                // in whatever words
	throttled               // 429
	troubled                // 5xx
	silent                  // no answer
)

// leased is a job that we have taken out of the queue.
type leased struct {
	store.Job
	until time.Time // when others may have it
}

// target is a domain or an agent, and what we know of how it is.
type target struct {
	inFlight int
	held     []leased // taken out of the queue, waiting for their turn
	allowed  int      // how many at a time, at most
	pause    time.Duration
	until    time.Time // nothing is sent before
	floor    time.Time // as until, when an operator wants it sent now
	heard    bool      // it has answered since we know it
}

// targets are those that have something under way, or that are not well. It has no
// clock and no lock.
type targets struct {
	limits   Limits
	byName   map[string]*target
	waiting  map[string]*target // those with something held
	inFlight int
}

func newTargets(l Limits) *targets {
	return &targets{limits: l, byName: make(map[string]*target), waiting: make(map[string]*target)}
}

func (t *targets) get(name string, now time.Time) *target {
	one := t.byName[name]
	if one == nil {
		if len(t.byName) >= reapTargets {
			t.reap(now)
		}
		one = &target{allowed: 1}
		t.byName[name] = one
	}
	return one
}

// reap forgets targets that nothing is known about which would matter.
func (t *targets) reap(now time.Time) {
	for name, one := range t.byName {
		if one.inFlight == 0 && len(one.held) == 0 && now.Sub(one.until) > t.limits.MaxPause {
			delete(t.byName, name)
		}
	}
}

// hold puts a job into its target's line.
func (t *targets) hold(j leased, now time.Time) {
	one := t.get(j.Target, now)
	one.held = append(one.held, j)
	t.waiting[j.Target] = one
}

// next takes jobs out of a target's line as long as they may go on: to begin now; or back
// into the queue, where the target is left alone or the lease is nearly over; or to be
// given up, where their time is long over and the target is silent. It reports whether a line
// that was full has room again.
func (t *targets) next(name string, now time.Time) (begin, off []leased, room bool) {
	one := t.byName[name]
	was := len(one.held)
	for len(one.held) > 0 {
		j := one.held[0]
		switch {
		case now.Before(one.until), one.pause > 0 && t.limits.over(j.Job, now.Add(-lastTry)), j.until.Sub(now) < t.limits.Attempt:
			off = append(off, j)
		case t.turn(one):
			one.inFlight++
			t.inFlight++
			begin = append(begin, j)
		default:
			return begin, off, was >= t.limits.Held && len(one.held) < t.limits.Held
		}
		one.held[0] = leased{} // its document need not stay
		one.held = one.held[1:]
	}
	one.held = nil
	delete(t.waiting, name)
	return begin, off, was >= t.limits.Held
}

// drop empties all lines.
func (t *targets) drop() []leased {
	var all []leased
	for name, one := range t.waiting {
		all = append(all, one.held...)
		one.held = nil
		delete(t.waiting, name)
	}
	return all
}

// turn reports whether a target may have one more now. Those that have many get fewer
// as the places run out, and a quarter of the places is for those that have none and are
// not known to be silent: there is always one left for whoever is well.
func (t *targets) turn(one *target) bool {
	free := t.limits.InFlight - t.inFlight
	spare := free - t.limits.InFlight/4
	switch {
	case one.inFlight > 0:
		return one.inFlight < one.allowed && one.inFlight < spare/4
	case one.pause > 0:
		return spare > 0
	}
	return free > 0
}

// end counts a delivery that has ended, and learns from it. It reports whether the
// target answers again after it was silent for long, or for the first time: what waits
// for it may have been put off by a gateway that knew of a silence, and has ended since.
func (t *targets) end(name string, h health, wait time.Duration, now time.Time) (back bool) {
	one := t.get(name, now)
	one.inFlight--
	t.inFlight--
	switch h {
	case answered:
		back = t.long(one) || !one.heard
		one.heard = true
		one.allowed, one.pause, one.until = min(one.allowed*2, t.limits.PerTarget), 0, time.Time{}
	case throttled:
		one.allowed = max(one.allowed/2, 1)
		one.until = later(one.until, now.Add(min(max(wait, t.limits.MinPause), t.limits.Throttle)))
		one.floor = one.until // it has asked for it
	case troubled, silent:
		if one.allowed > 1 { // it may be that one message's trouble, or one connection's
			one.allowed /= 2
			return false
		}
		t.rest(one, wait, now)
	}
	return back
}

// rest begins a pause, longer than the one before. What was under way when it began
// does not make it longer.
func (t *targets) rest(one *target, wait time.Duration, now time.Time) {
	if now.Before(one.until) {
		return
	}
	one.pause = min(max(one.pause*2, t.limits.MinPause), t.limits.MaxPause)
	one.until = now.Add(max(one.pause, min(wait, t.limits.MaxPause)))
	one.floor = now.Add(t.limits.MinPause)
}

// hurry ends a target's pause, but for as much of it as keeps us from asking in vain more
// often than once in MinPause, or as the target itself asked for.
func (t *targets) hurry(name string) {
	if one := t.byName[name]; one != nil && one.floor.Before(one.until) {
		one.until = one.floor
	}
}

// except are the targets of which nothing is taken out of the queue for now: their line
// is full, or they are left alone for a moment only. What comes up for those that are
// left alone for longer is put off, because a heap that is due and passed over again and
// again would make every look into the queue a long one. The time is when the first of
// them may be asked again, zero if there is none.
func (t *targets) except(now time.Time) (names []string, until time.Time) {
	for name, one := range t.waiting {
		if len(one.held) >= t.limits.Held && len(names) < maxExcept {
			names = append(names, name)
		}
	}
	for name, one := range t.byName {
		if !now.Before(one.until) || t.longer(one, now) || len(one.held) >= t.limits.Held || len(names) >= maxExcept {
			continue
		}
		names = append(names, name)
		if until.IsZero() || one.until.Before(until) {
			until = one.until
		}
	}
	return names, until
}

// long reports whether a target has been silent for so long that what waits for it is
// put off; when it is back, all of that is due at once.
func (t *targets) long(one *target) bool { return one.pause >= longPause*t.limits.MinPause }

// longer reports whether a target will be left alone for more than a moment.
func (t *targets) longer(one *target, now time.Time) bool {
	return t.long(one) && one.until.Sub(now) > t.limits.MinPause
}

// paused counts the targets that are left alone.
func (t *targets) paused(now time.Time) int {
	n := 0
	for _, one := range t.byName {
		if now.Before(one.until) {
			n++
		}
	}
	return n
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
