package relay

import (
	"context"
	"time"
)

// check is Run's look at the books, at the clock and, while it fails, at the mailbox.
// A jump of the wall clock expires nothing, but timestamps of clients are judged by it.
func (s *Server) check(ctx context.Context, now time.Time) {
	if jumps := s.box.Stats().ClockJumps; jumps > s.jumps {
		s.jumps = jumps
		s.log.Warn("clock jumped", "times", jumps)
	}
	s.books.turn(now)
	if s.failing.Load() {
		s.sweep(ctx)
	}
}
