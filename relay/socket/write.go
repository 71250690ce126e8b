package socket

import (
	"net"
	"time"
)

// TryWrite writes what the kernel takes now, and waits for nothing. It writes nothing
// where that cannot be tried.
func (c *Conn) TryWrite(b []byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	c.writing.out = b
	err = c.raw.Write(c.writing.do)
	c.writing.out = nil
	if err != nil {
		return 0, err
	}
	return c.writing.n, c.writing.err
}

// Write writes frames that AppendFrame made, of which the first bytes may have been
// written by TryWrite. It is an error when a frame does not leave within wait.
func (c *Conn) Write(frames []byte, written int, wait time.Duration) error {
	defer func() { _ = c.conn.SetWriteDeadline(time.Time{}) }()
	if c.torn {
		return net.ErrClosed
	}
	for {
		for len(frames) > 0 && written >= FrameSize(frames) {
			n := FrameSize(frames)
			frames, written = frames[n:], written-n
		}
		if len(frames) == 0 {
			return nil
		}
		if err := c.conn.SetWriteDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		n, err := c.conn.Write(frames[written:])
		// Slow is not too slow while frames leave.
		if written += n; err != nil && written < FrameSize(frames) {
			c.torn = written > 0
			return err
		}
	}
}
