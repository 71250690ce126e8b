package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"amesh/relay/socket"
)

// entrance looks at what a new connection asks for first. A WebSocket is taken in
// here, because what net/http does around a handler costs as much as all the rest of
// an upgrade: a goroutine that reads ahead and has to be stopped, contexts, buffers.
// Whatever is not plainly an upgrade goes to an http.Server, whose listener the
// entrance is, with the bytes that were read.
//
//	accept ──> meet ──upgrade──> Server.welcome
//	             └───the rest──> Accept ──> net/http ──> Server.ServeHTTP
type entrance struct {
	net.Listener
	s      *Server
	others chan arrival
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	meeting map[net.Conn]struct{}
	ended   chan struct{} // when closed
}

// arrival is what Accept returns.
type arrival struct {
	conn net.Conn
	err  error
}

func newEntrance(l net.Listener, s *Server) *entrance {
	return &entrance{Listener: l, s: s, others: make(chan arrival), meeting: map[net.Conn]struct{}{}, ended: make(chan struct{})}
}

// run accepts connections until the listener is closed.
func (e *entrance) run() {
	for {
		conn, err := e.Listener.Accept()
		if err != nil {
			// Accept's caller decides whether it was the last, and waits a moment if not.
			if !e.pass(arrival{err: err}) {
				break
			}
			continue
		}
		if e.begin(conn) {
			go e.meet(conn.(*guest))
		}
	}
	e.wg.Wait()
}

// Accept returns the next connection that is no WebSocket.
func (e *entrance) Accept() (net.Conn, error) {
	select {
	case a := <-e.others:
		return a.conn, a.err
	case <-e.ended:
		return nil, net.ErrClosed
	}
}

func (e *entrance) pass(a arrival) bool {
	select {
	case e.others <- a:
		return true
	case <-e.ended:
		return false
	}
}

// Close ends the connections, too, that have not said what they want.
func (e *entrance) Close() error {
	err := e.Listener.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		close(e.ended)
	}
	for conn := range e.meeting {
		_ = conn.Close()
	}
	return err
}

// begin notes a connection that is to be met.
func (e *entrance) begin(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = conn.Close()
		return false
	}
	e.meeting[conn] = struct{}{}
	e.wg.Add(1)
	return true
}

func (e *entrance) end(conn net.Conn) {
	e.mu.Lock()
	delete(e.meeting, conn)
	e.mu.Unlock()
	e.wg.Done()
}

// meet reads the head of the first request.
func (e *entrance) meet(g *guest) {
	growStack()
	h := heads.Get().(*head)
	r, ahead, err := h.read(g, time.Now().Add(e.s.limits.Admission.HeaderWait))
	heads.Put(h)
	switch {
	case r != nil:
		e.end(g)
		e.s.serveUpgrade(g, r, ahead)
		return
	case err != nil, !e.pass(arrival{conn: &begun{g, ahead}}):
		_ = g.Close()
	}
	e.end(g)
}

// growStack makes the stack of a new goroutine as deep as reading the head and checking
// a signature need. Growing in steps, with all their frames to be moved each time, was
// a fifteenth of what a connection costs.
//
//go:noinline
func growStack() {
	var room [12 << 10]byte
	touch(&room)
}

//go:noinline
func touch(room *[12 << 10]byte) { room[0] = 1 }

// headSize is how long a head may be that is read here. Longer ones are left to
// net/http.
const headSize = 4 << 10

// head reads the head of a request.
type head struct {
	buf [headSize]byte
	src bytes.Reader
	in  *bufio.Reader
}

var heads = sync.Pool{New: func() any {
	h := new(head)
	h.in = bufio.NewReaderSize(&h.src, headSize)
	return h
}}

// read reads until an empty line and returns the request, if it asks for a WebSocket as
// it should, and what came behind it. Otherwise it returns all that came.
func (h *head) read(conn net.Conn, deadline time.Time) (r *http.Request, ahead []byte, err error) {
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	for n := 0; n < len(h.buf); {
		from := max(0, n-3)
		more, err := conn.Read(h.buf[n:])
		n += more
		switch {
		case endsHead(h.buf[from:n]):
			r, ahead = h.upgrade(h.buf[:n])
			return r, bytes.Clone(ahead), nil
		case err == io.EOF:
			return nil, bytes.Clone(h.buf[:n]), nil
		case err != nil:
			return nil, nil, err
		}
	}
	return nil, bytes.Clone(h.buf[:]), nil
}

// endsHead reports whether there is an empty line. Lines may end without a carriage
// return, as net/http has it.
func endsHead(b []byte) bool {
	return bytes.Contains(b, []byte("\n\r\n")) || bytes.Contains(b, []byte("\n\n"))
}

// upgrade is read for what has come.
func (h *head) upgrade(b []byte) (r *http.Request, ahead []byte) {
	h.src.Reset(b)
	h.in.Reset(&h.src)
	r, err := http.ReadRequest(h.in)
	if err != nil || r.Host == "" || r.ContentLength != 0 || socket.Check(r) != nil {
		return nil, b
	}
	return r, b[len(b)-h.src.Len()-h.in.Buffered():]
}

// begun is a connection of which the beginning was read.
type begun struct {
	*guest
	rest []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return b.guest.Read(p)
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// SyscallConn implements syscall.Conn when there is nothing that it would pass by.
func (b *begun) SyscallConn() (syscall.RawConn, error) {
	if len(b.rest) > 0 {
		return nil, errors.ErrUnsupported
	}
	return b.guest.SyscallConn()
}
