package delivery

import (
	"context"
	"time"

	"amesh/gateway/store"
)

// Run delivers until ctx is done; then it waits for the deliveries under way, at most
// Limits.Drain, writes down what came of them and puts the rest back, for which the
// database has settleTime more. The store has to run for longer than that.
func (s *Service) Run(ctx context.Context) error {
	work, breakOff := context.WithCancel(context.WithoutCancel(ctx))
	defer breakOff()
	timer := time.NewTimer(0)
	defer timer.Stop()
	look := true // into the queue
	for ctx.Err() == nil {
		look = s.startHeld(work) || look
		if look && s.places() > 0 {
			var wait time.Duration
			if look, wait = s.lease(ctx, work); look {
				continue
			}
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
		case <-s.freed:
		case <-s.cfg.Store.Woken():
			look = true
		case <-timer.C:
			look = true
		}
	}
	s.drain(work, breakOff)
	return nil
}

// lease takes what is due out of the queue and gives every job a place in its target's
// line. It reports whether there may be more, and otherwise when to look again.
func (s *Service) lease(ctx, work context.Context) (more bool, wait time.Duration) {
	l := s.cfg.Limits
	now := time.Now()
	r := store.LeaseRequest{Now: now, Until: now.Add(l.Lease)}
	s.mu.Lock()
	r.Limit = min(batch, l.InFlight-s.targets.inFlight)
	var asked time.Time // when a target that is left alone may be asked again
	r.Except, asked = s.targets.except(now)
	s.mu.Unlock()
	jobs, err := s.cfg.Store.Lease(ctx, r)
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Error("the queue cannot be read", "err", err)
		}
		return false, l.Poll
	}
	s.mu.Lock()
	for _, j := range jobs {
		s.targets.hold(leased{j, r.Until}, now)
	}
	s.mu.Unlock()
	s.startHeld(work)
	if len(jobs) == r.Limit {
		return true, 0
	}
	due, some, err := s.cfg.Store.NextDue(ctx)
	switch {
	case err != nil || !some:
		return false, l.Poll
	case len(jobs) > 0 && !due.After(now): // the store stops at so many bytes, too
		return true, 0
	case len(r.Except) > 0 && !due.After(now): // it may be theirs
		due = now.Add(busyPoll)
	}
	if !asked.IsZero() && asked.Before(due) {
		due = asked
	}
	return false, min(max(time.Until(due), minWait), l.Poll)
}

// startHeld starts what waits and may, and puts off what cannot. It reports whether a
// line that was full has room again.
func (s *Service) startHeld(work context.Context) (room bool) {
	now := time.Now()
	var off []store.Outcome
	s.mu.Lock()
	for name, one := range s.targets.waiting {
		begin, back, more := s.targets.next(name, now)
		room = room || more
		for _, j := range begin {
			s.working.Go(func() { s.deliver(work, j) })
		}
		for _, j := range back {
			off = append(off, s.putOff(j.Job, one.until, now)...)
		}
	}
	s.mu.Unlock()
	s.settleLater(work, off)
	return room
}

// places is how many more deliveries may be under way.
func (s *Service) places() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Limits.InFlight - s.targets.inFlight
}

// drain waits for the deliveries under way, breaks off those that take too long, and
// puts back what has not begun.
func (s *Service) drain(work context.Context, breakOff context.CancelFunc) {
	now := time.Now()
	var back []store.Outcome
	s.mu.Lock()
	for _, j := range s.targets.drop() {
		back = append(back, putBack(j.Job, now, now)...)
	}
	s.mu.Unlock()
	s.settleLater(work, back)
	late := time.AfterFunc(s.cfg.Limits.Drain, breakOff)
	defer late.Stop()
	s.working.Wait()
}
