package relay

import (
	"context"
	"errors"
	"time"

	"github.com/coder/websocket"
)

var errDrained = errors.New("the time for draining is over")

// drainLook is how often a drain looks at least whether everybody is gone.
const drainLook = 200 * time.Millisecond

// Drain lets no connection in any more, says so on /readyz and to clients that will
// understand, and waits until nothing but pings was said for QuietFor, until nobody
// is connected, or until within is over. It returns how many are still connected. Mail
// is taken and handed out meanwhile; ending Run then closes what is left.
func (s *Server) Drain(ctx context.Context, within time.Duration) (left int, err error) {
	s.mu.Lock()
	s.draining = true
	for _, c := range s.online {
		if c.ack {
			c.queue.offer(encode(drainingFrame{Type: typeDraining, Within: seconds(within)}))
		}
	}
	s.mu.Unlock()
	s.log.Info("draining", "within", within)
	ctx, cancel := context.WithTimeoutCause(ctx, within, errDrained)
	defer cancel()
	look := time.NewTicker(max(min(s.limits.QuietFor/10, drainLook), time.Millisecond))
	defer look.Stop()
	said, since := s.said(), time.Now()
	for {
		if left = s.connected(); left == 0 {
			return 0, nil
		}
		select {
		case now := <-look.C:
			if n := s.said(); n != said {
				said, since = n, now
			} else if now.Sub(since) >= s.limits.QuietFor {
				return left, nil
			}
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause != errDrained {
				return left, cause
			}
			return left, nil
		}
	}
}

// said counts frames, but for those that only say that somebody is there.
func (s *Server) said() uint64 {
	var n uint64
	for _, t := range []tally{s.counts.in, s.counts.out} {
		for name, a := range t {
			if name != typePing && name != typePong {
				n += a.n.Load()
			}
		}
	}
	return n
}

func (s *Server) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.online)
}

// finish lets no connection in any more and ends those that are open: each when what
// waits for its socket is written, or FinishWait is over.
func (s *Server) finish() {
	s.mu.Lock()
	s.stopping = true
	reason := "relay is stopping" // and may be back in a moment
	if s.draining {
		reason = "relay is draining"
	}
	for c := range s.open {
		if c.named {
			s.wg.Go(func() { c.farewell(reason) })
		} else {
			c.stop(websocket.StatusGoingAway, reason)
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (c *conn) farewell(reason string) {
	goAway := func() { c.stop(websocket.StatusGoingAway, reason) }
	late := time.AfterFunc(c.s.limits.FinishWait, goAway)
	defer late.Stop()
	c.queue.drained()
	goAway()
}
