package agent

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// jumpTolerance is how far the wall clock may run ahead of the time that has
	// passed and be believed at once: what NTP mends, a short sleep of a laptop.
	jumpTolerance = time.Hour
	// jumpHold is how long a greater lead must last before anything expires by it.
	jumpHold = 10 * time.Minute
	// lookEvery is how often somebody looks whether the wall clock jumped, since
	// everybody else may be asleep until a time that is now another.
	lookEvery = time.Minute
	// lookStep is the smallest jump that is worth waking them.
	lookStep = time.Second
)

// patientClock is the time by which things expire (CP 33). It is never later than the wall
// clock, so that a clock set back expires nothing early; and it does not follow a wall
// clock that suddenly runs more than jumpTolerance ahead, until that has held for
// jumpHold of time that really passed. A laptop that wakes to the right time expires
// ten minutes later what ran out while it slept; a clock that is wrong for a moment
// expires nothing.
//
// It is safe for concurrent use. Waiting is not its affair: how long is left to a
// moment is told by uptime, which no clock can be set by.
type patientClock struct {
	wall   func() time.Time
	uptime func() time.Duration
	log    *slog.Logger

	mu    sync.Mutex
	base  time.Time     // the wall time of uptime 0, as far as we believe it
	claim time.Time     // the same by a wall clock that runs ahead; zero: it does not
	since time.Duration // uptime at which that was first seen
	told  time.Time     // base when moved last said so
}

func newPatientClock(wall func() time.Time, uptime func() time.Duration, log *slog.Logger) *patientClock {
	// Round strips the monotonic reading, which would compare instead of the wall time.
	base := wall().Round(0).Add(-uptime())
	return &patientClock{wall: wall, uptime: uptime, log: log, base: base, told: base}
}

// now is the latest time that we are sure has come.
func (p *patientClock) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	wall, up := p.wall().Round(0), p.uptime()
	base := wall.Add(-up)
	switch ahead := base.Sub(p.base); {
	case ahead <= jumpTolerance:
		if ahead < -jumpTolerance {
			p.alarm("the clock was set back", ahead)
		}
		p.base, p.claim = base, time.Time{}
	case p.claim.IsZero() || base.Sub(p.claim).Abs() > jumpTolerance:
		p.alarm("the clock runs ahead; nothing expires until it has held", ahead)
		p.claim, p.since = base, up
	case up-p.since >= jumpHold:
		p.log.Info("the clock's new time has held", "by", ahead)
		p.base, p.claim = base, time.Time{}
	}
	if sure := p.base.Add(up); sure.Before(wall) {
		return sure
	}
	return wall
}

func (p *patientClock) alarm(what string, by time.Duration) {
	p.log.Warn(what, "alarm", "clock_jump", "by", by)
}

// moved reports whether the time jumped since it last reported so.
func (p *patientClock) moved() bool {
	p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.base.Sub(p.told).Abs() < lookStep {
		return false
	}
	p.told = p.base
	return true
}

// times are the time that is sure and the wall clock, which is never before it. What is
// to be kept for some time is stamped by the second and judged by the first: whatever
// the clock does meanwhile, it is not kept too short.
func (a *Agent) times() (now, wall time.Time) { return a.expiry.now(), a.Clock() }

// passed is a time that only grows with the time that really passes, for what counts
// in windows.
func (a *Agent) passed() time.Time { return time.Time{}.Add(a.Uptime()) }

// byEitherClock makes a check of somebody else's times: what is good by the wall clock
// or by the time that is sure may well be good.
func (a *Agent) byEitherClock(check func(time.Time) error) error {
	if check(a.expiry.now()) == nil {
		return nil
	}
	return check(a.Clock())
}
