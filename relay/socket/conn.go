package socket

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// Conn is one connection. One goroutine reads; one at a time writes, beside it.
// Close may be called by anybody.
type Conn struct {
	conn net.Conn
	// raw reads and writes without waiting; nil where that cannot be done.
	raw   syscall.RawConn
	limit int

	// buf holds what was read, from used to held. It is nil while there is nothing
	// to hold: a connection at rest has no buffer.
	buf        []byte
	used, held int
	// message gathers a message that comes in pieces.
	message []byte
	kind    Op // of message; zero: none was begun

	reading, writing attempt
	torn             bool // a write ended in the middle of a frame
}

// attempt is one system call that does not wait. What it calls is made once.
type attempt struct {
	do  func(fd uintptr) bool
	out []byte
	n   int
	err error
}

const (
	// bufferSize is how much is read at a time; longer frames get a longer buffer.
	bufferSize = 32 << 10
	// restSize is what reads begin with that have to wait with a buffer.
	restSize = 512
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// New makes a WebSocket of a connection that was upgraded. ahead is what was read of
// it already. limit is the longest message, in bytes.
func New(conn net.Conn, ahead []byte, limit int) *Conn {
	c := &Conn{conn: conn, raw: rawOf(conn), limit: limit}
	if c.raw != nil {
		c.reading.do, c.writing.do = c.tryRead, c.tryWrite
	}
	if len(ahead) > 0 {
		c.buf = append([]byte(nil), ahead...)
		c.held = len(ahead)
	}
	return c
}

// SetReadDeadline bounds how long Next waits; the zero time is no bound.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline bounds a Write, also one that waits already.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// Close closes the connection without a word.
func (c *Conn) Close() error { return c.conn.Close() }

// release gives the buffer back.
func (c *Conn) release() {
	if len(c.buf) == bufferSize {
		buffers.Put((*[bufferSize]byte)(c.buf))
	}
	c.buf, c.used, c.held = nil, 0, 0
}

// room makes room for at least one more byte behind what is held. frame is how long
// the frame at the front is known to be.
func (c *Conn) room(frame int) []byte {
	switch {
	case c.buf == nil:
		c.buf = buffers.Get().(*[bufferSize]byte)[:]
	case c.used > 0 && (c.held == len(c.buf) || c.used+frame > len(c.buf)):
		copy(c.buf, c.buf[c.used:c.held])
		c.held -= c.used
		c.used = 0
	}
	if c.held == len(c.buf) {
		// Twice as long, whatever length the peer has announced: it pays for memory
		// with bytes.
		next := make([]byte, 2*len(c.buf))
		if len(c.buf) < bufferSize {
			next = buffers.Get().(*[bufferSize]byte)[:]
		}
		n := copy(next, c.buf[c.used:c.held])
		c.release()
		c.buf, c.held = next, n
	}
	return c.buf[c.held:]
}
