package direct

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"
)

// stopwatch measures the time in which the peer could have been heard.
type stopwatch struct {
	start time.Time
	stood time.Duration // total of all pauses that are over
	since time.Time     // when the present pause began; zero: it runs
}

func (w *stopwatch) now() time.Duration {
	d := time.Since(w.start) - w.stood
	if w.standing() {
		d -= time.Since(w.since)
	}
	return d
}

func (w *stopwatch) standing() bool { return !w.since.IsZero() }

func (w *stopwatch) pause() { w.since = time.Now() }

func (w *stopwatch) resume() {
	w.stood += time.Since(w.since)
	w.since = time.Time{}
}

// batch is one write and what it contains.
type batch struct {
	frames  []byte
	parcels []*parcel
	pings   []*ping
}

// write is the writer goroutine: it gathers what is to be said, says it, and
// notices when the peer has been silent for too long.
func (s *stream) write() {
	b := batch{frames: make([]byte, 0, s.limits.Batch+frameSize(maxEnvelope))}
	for {
		wait, err := s.overdue()
		if err != nil {
			s.fail(err)
			return
		}
		if !s.take(&b) {
			return
		}
		if len(b.frames) == 0 {
			if !s.sleep(wait) {
				return
			}
			continue
		}
		if err := s.push(b.frames); err != nil {
			s.fail(err)
			return
		}
		s.wrote(&b)
	}
}

// push writes with a deadline. Running into it means that the peer takes nothing
// any more, which is silence too.
func (s *stream) push(frames []byte) error {
	if err := s.raw.SetWriteDeadline(time.Now().Add(s.limits.AckTimeout)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err := s.raw.Write(frames)
	var late net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("%w: write: %w", errDead, err)
	}
	return fmt.Errorf("write: %w", err) // the peer closed it
}

// sleep waits for something to say, at most for d (negative: without end), and
// returns false when the stream is dead.
func (s *stream) sleep(d time.Duration) bool {
	var timeout <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-s.dead:
		return false
	case <-s.wake:
	case <-timeout:
	}
	return true
}

// take moves what is to be said into b: first what keeps the peer from giving us
// up, then envelopes in the order of the calls. It returns false on a dead stream.
func (s *stream) take(b *batch) bool {
	b.frames, b.parcels, b.pings = b.frames[:0], b.parcels[:0], b.pings[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	if !s.greeted {
		s.greeted = true
		b.frames = appendHello(b.frames)
	}
	for _, nonce := range s.pongs {
		b.frames = appendEcho(b.frames, typePong, nonce)
	}
	s.pongs = s.pongs[:0]
	b.frames = appendAcks(b.frames, s.acks)
	s.acks = s.acks[:0]
	for _, p := range s.pings {
		if !p.taken {
			p.taken = true
			b.frames = appendEcho(b.frames, typePing, p.nonce)
			b.pings = append(b.pings, p)
		}
	}
	b.frames = s.takeKeys(b.frames)
	for len(s.unsent) > 0 && len(b.frames) < s.limits.Batch {
		p := s.unsent[0]
		s.unsent[0] = nil
		s.unsent = s.unsent[1:]
		p.taken = true
		b.frames = appendEnvelope(b.frames, p.From, p.To, p.Data)
		b.parcels = append(b.parcels, p)
		s.flight = append(s.flight, p)
	}
	return true
}

// wrote starts the clocks of what was written: waiting in our own queue is not
// the peer's fault.
func (s *stream) wrote(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.watch.now()
	for _, p := range b.parcels {
		p.written, p.at = true, now
	}
	for _, p := range b.pings {
		p.written, p.at = true, now
	}
}

// overdue returns how long nothing will be late (negative: nothing is expected
// now), or errDead when something is. A stream due for a ping gets one.
func (s *stream) overdue() (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch.standing() {
		return -1, nil // the reader wakes us when it is back
	}
	now := s.watch.now()
	if len(s.pings) == 0 && now >= s.echoed+s.limits.PingEvery {
		s.addPing()
	}
	next := s.echoed + s.limits.PingEvery
	for _, p := range s.pings {
		if !p.written {
			continue
		}
		if now >= p.at+s.limits.PongTimeout {
			return 0, fmt.Errorf("%w: no pong in %v", errDead, s.limits.PongTimeout)
		}
		next = p.at + s.limits.PongTimeout
		break // they are in the order of their writing
	}
	for _, p := range s.flight {
		if p.acked || !p.written {
			continue
		}
		if now >= p.at+s.limits.AckTimeout {
			return 0, fmt.Errorf("%w: no ack in %v", errDead, s.limits.AckTimeout)
		}
		next = min(next, p.at+s.limits.AckTimeout)
		break
	}
	return max(next-now, 0), nil
}

// addPing queues a ping. The caller holds mu, or is the only one to know s.
func (s *stream) addPing() *ping {
	p := &ping{done: make(chan struct{})}
	_, _ = rand.Read(p.nonce[:]) // never fails (crypto/rand)
	s.pings = append(s.pings, p)
	return p
}

// ask queues a ping and returns it; the stream may be dead already.
func (s *stream) ask() *ping {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.addPing()
	s.nudge()
	return p
}
