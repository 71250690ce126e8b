package longpoll

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

var (
	// ErrPosition reports a request for a part of the stream that is over, or not there
	// yet, or a request that came before.
	ErrPosition = errors.New("not at this place of the stream")
	// ErrEnded reports a connection of which everything was taken.
	ErrEnded = errors.New("the session is over")
)

// Limits bound a Conn.
type Limits struct {
	Bytes  int           // that wait in each direction, and the most that Give returns
	Wait   time.Duration // the longest that Take and Give wait
	Idle   time.Duration // without a request; then the connection is closed
	Linger time.Duration // how long what was written can be fetched after Close
}

// Conn is the relay's end of a stream: a net.Conn whose bytes come and go with the
// requests that are handed to Take and Give. All methods are safe for concurrent use.
//
//	POST ──Take──> in ──Read──> relay ──Write──> out ──Give──> GET
type Conn struct {
	local, remote net.Addr
	limits        Limits
	gone          func()

	mu       sync.Mutex
	changed  sync.Cond
	in       []byte
	received uint64 // bytes that were ever in
	out      []byte
	base     uint64          // position of out: before it everything was taken
	numbers  [End + 1]uint64 // of the last request of each kind, which others give way to
	busy     int             // requests
	ended    bool            // by the client
	closed   bool            // by the relay
	lost     bool            // gone was called
	readBy   deadline
	writeBy  deadline
	timer    *time.Timer // idle, and linger when closed
}

// NewConn makes a connection. gone is called once, when requests for it make no sense
// any more; it must not call the Conn.
func NewConn(local, remote net.Addr, l Limits, gone func()) *Conn {
	c := &Conn{local: local, remote: remote, limits: l, gone: gone}
	c.changed.L = &c.mu
	c.timer = time.AfterFunc(l.Idle, c.idle)
	return c
}

// idle closes a connection that nobody asks for.
func (c *Conn) idle() {
	c.mu.Lock()
	quiet := c.busy == 0
	c.mu.Unlock()
	if quiet {
		_ = c.Close()
		c.forget()
	}
}

// Begin counts a request in, and is false when it comes too late: one of its kind
// with a number as high was here. After true, Done is due.
func (c *Conn) Begin(k Kind, number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number <= c.numbers[k] {
		return false
	}
	c.numbers[k] = number
	c.busy++
	c.changed.Broadcast()
	return true
}

// Done counts a request out.
func (c *Conn) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy--; c.busy == 0 && !c.closed {
		c.timer.Reset(c.limits.Idle)
	}
}

// Take adds what a POST with this number brought, which begins at a position, and
// returns how far the stream came. That may be less far than the body goes: the relay
// reads slowly, and the rest is to be sent again.
func (c *Conn) Take(ctx context.Context, number, at uint64, body []byte) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	late, stop := c.late(ctx)
	defer stop()
	if at > c.received {
		return c.received, ErrPosition
	}
	if known := c.received - at; known < uint64(len(body)) {
		body = body[known:]
	} else {
		body = nil
	}
	for len(body) > 0 && !c.over() && c.numbers[Up] == number {
		n := min(c.limits.Bytes-len(c.in), len(body))
		c.in = append(c.in, body[:n]...)
		c.received += uint64(n)
		if body = body[n:]; n > 0 {
			c.changed.Broadcast()
		} else if late() {
			break
		} else {
			c.changed.Wait()
		}
	}
	if c.over() {
		return c.received, ErrEnded
	}
	return c.received, nil
}

// Give returns what comes from a position on for a GET with this number, waiting for
// something to come; nothing when nothing came or a newer GET took its place. What is
// before the position is forgotten.
func (c *Conn) Give(ctx context.Context, number, at uint64) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	late, stop := c.late(ctx)
	defer stop()
	if at < c.base || at > c.base+uint64(len(c.out)) {
		return nil, ErrPosition
	}
	if taken := int(at - c.base); taken > 0 {
		if c.out, c.base = c.out[taken:], at; len(c.out) == 0 {
			c.out = nil // a connection at rest has no buffer
		}
		c.changed.Broadcast()
	}
	for len(c.out) == 0 && !c.over() && c.numbers[Down] == number && !late() {
		c.changed.Wait()
	}
	switch {
	case c.numbers[Down] != number:
		return nil, nil
	case len(c.out) == 0 && c.over():
		return nil, ErrEnded
	}
	return append([]byte(nil), c.out[:min(len(c.out), c.limits.Bytes)]...), nil
}

// late says when a request has waited enough. The caller holds the mutex.
func (c *Conn) late(ctx context.Context) (late func() bool, stop func()) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.Wait)
	wake := context.AfterFunc(ctx, c.wake)
	return func() bool { return ctx.Err() != nil }, func() {
		wake()
		cancel()
	}
}

func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.Broadcast()
}

func (c *Conn) over() bool { return c.closed || c.ended }

// End is the client's goodbye: nothing more comes, and nothing is taken.
func (c *Conn) End() {
	c.mu.Lock()
	c.ended, c.out = true, nil
	c.changed.Broadcast()
	c.mu.Unlock()
	c.forget()
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.in) > 0:
			n := copy(b, c.in)
			if c.in = c.in[n:]; len(c.in) == 0 {
				c.in = nil
			}
			c.changed.Broadcast()
			return n, nil
		case c.ended:
			return 0, io.EOF
		case c.readBy.over():
			return 0, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
}

// Write implements net.Conn. It waits as long as the client has not taken enough.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := 0; ; {
		switch room := c.limits.Bytes - len(c.out); {
		case c.over():
			return n, net.ErrClosed
		case n == len(b):
			return n, nil
		case room > 0:
			more := min(room, len(b)-n)
			c.out = append(c.out, b[n:n+more]...)
			n += more
			c.changed.Broadcast()
		case c.writeBy.over():
			return n, os.ErrDeadlineExceeded
		default:
			c.changed.Wait()
		}
	}
}

// Close implements net.Conn. What was written can be fetched for a while.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed, c.in = true, nil
	c.timer.Stop()
	c.readBy.set(time.Time{}, nil)
	c.writeBy.set(time.Time{}, nil)
	c.changed.Broadcast()
	empty := len(c.out) == 0 || c.lost
	if !empty {
		c.timer = time.AfterFunc(c.limits.Linger, c.forget)
	}
	c.mu.Unlock()
	if empty {
		c.forget()
	}
	return nil
}

// forget ends what can be asked for.
func (c *Conn) forget() {
	c.mu.Lock()
	first := !c.lost
	c.lost, c.out = true, nil
	c.timer.Stop()
	c.mu.Unlock()
	if first {
		c.gone()
	}
}

// LocalAddr implements net.Conn: where the request came to that opened it.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn: where that came from.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readBy, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	d.set(t, c.wake)
	c.changed.Broadcast()
	return nil
}

// deadline wakes whoever waits when it is over.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = t; !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), wake)
	}
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
