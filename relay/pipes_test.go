package relay

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// pipes is a network of one listener, for tests under fake time. Freezing it
// swallows everything on the connections of that moment, as a dead route does.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	live []*pipe
	cold bool
}

func newPipes() *pipes {
	return &pipes{incoming: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	if p.cold {
		p.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	a, b := net.Pipe()
	ours, theirs := newPipe(a), newPipe(b)
	p.live = append(p.live, ours, theirs)
	p.mu.Unlock()
	select {
	case p.incoming <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cold = true
	for _, c := range p.live {
		c.mu.Lock()
		c.cold = true
		c.mu.Unlock()
	}
}

func (p *pipes) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cold = false
}

// pipe is one end. Unlike net.Pipe alone it has a buffer, of 100 segments: without one,
// two sides that write at the same moment wait for each other.
type pipe struct {
	net.Conn
	out  chan []byte
	done chan struct{}
	once sync.Once

	mu    sync.Mutex
	cold  bool
	until time.Time // of writes: for room in the buffer, not for what is in it
}

// segment is how many bytes travel together, so that a buffer that is full has about
// the same number of them, whatever the writes were.
const segment = 512

func newPipe(c net.Conn) *pipe {
	p := &pipe{Conn: c, out: make(chan []byte, 100), done: make(chan struct{})}
	go p.carry()
	return p
}

func (p *pipe) carry() {
	defer p.hangUp()
	for {
		select {
		case b := <-p.out:
			if _, err := p.Conn.Write(b); err != nil {
				return
			}
		case <-p.done:
			p.flush()
			return
		}
	}
}

// flush writes what was said before the end; a socket does the same.
func (p *pipe) flush() {
	for {
		select {
		case b := <-p.out:
			if _, err := p.Conn.Write(b); err != nil {
				return
			}
		default:
			return
		}
	}
}

// hangUp closes, of which the other side of a frozen network must hear nothing.
func (p *pipe) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cold {
		_ = p.Conn.Close()
	}
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	cold, until := p.cold, p.until
	p.mu.Unlock()
	if cold {
		return len(b), nil
	}
	var late <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		late = t.C
	}
	n := 0
	for n < len(b) {
		end := min(n+segment, len(b))
		select {
		case p.out <- append([]byte(nil), b[n:end]...):
			n = end
		case <-late:
			return n, os.ErrDeadlineExceeded
		case <-p.done:
			return n, net.ErrClosed
		}
	}
	return n, nil
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
	return nil
}

func (p *pipe) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	p.mu.Lock()
	cold := p.cold
	p.mu.Unlock()
	if cold {
		return p.Conn.SetDeadline(time.Unix(1, 0))
	}
	// What waits here ends now, what was said goes out first.
	return p.SetReadDeadline(time.Unix(1, 0))
}
