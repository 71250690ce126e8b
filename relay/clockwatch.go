package relay

import (
	"context"
	"time"
)

// clockWatch compares the wall clock with the monotonic one. Mail waits by the second,
// so a jump of the first expires nothing; but timestamps of clients are judged by
// it, and an operator wants to know.
type clockWatch struct {
	most time.Duration
	last time.Time
}

// jumped reports by how much the wall clock has left the other since the last call,
// if that is more than the most.
func (w *clockWatch) jumped(now time.Time) (time.Duration, bool) {
	last := w.last
	w.last = now
	if last.IsZero() {
		return 0, false
	}
	return leap(now.Round(0).Sub(last.Round(0)), now.Sub(last), w.most)
}

func leap(wall, steady, most time.Duration) (time.Duration, bool) {
	by := wall - steady
	return by, by.Abs() > most
}

// check is Run's look at the clock, at the books and, while it fails, at the mailbox.
func (s *Server) check(ctx context.Context, now time.Time) {
	if by, ok := s.clock.jumped(now); ok {
		s.counts.jumps.Add(1)
		s.log.Warn("clock jumped", "by", by.Round(time.Second))
	}
	s.books.turn(now)
	if s.failing.Load() {
		s.sweep(ctx)
	}
}
