package knock

import (
	"time"

	"amesh/identity"
)

// Limiter counts events of senders in a sliding window. It keeps at most Total
// of them, whatever names they come under. It is not safe for concurrent use.
type Limiter struct {
	perSender int
	total     int
	window    time.Duration
	events    []event // the oldest first
	counts    map[identity.AMID]int
}

type event struct {
	at   time.Time
	peer identity.AMID
}

// NewLimiter counts by l's PerSender, Total and Window.
func NewLimiter(l Limits) *Limiter {
	return &Limiter{perSender: l.PerSender, total: l.Total, window: l.Window, counts: make(map[identity.AMID]int)}
}

// Allow says whether an event of peer at the time now is within the limits, and
// counts it if so. Times do not go back.
func (l *Limiter) Allow(peer identity.AMID, now time.Time) bool {
	l.forget(now)
	if len(l.events) >= l.total || l.counts[peer] >= l.perSender {
		return false
	}
	l.events = append(l.events, event{now, peer})
	l.counts[peer]++
	return true
}

func (l *Limiter) forget(now time.Time) {
	old := 0
	for old < len(l.events) && now.Sub(l.events[old].at) >= l.window {
		p := l.events[old].peer
		if l.counts[p]--; l.counts[p] == 0 {
			delete(l.counts, p)
		}
		old++
	}
	l.events = append(l.events[:0], l.events[old:]...)
}
