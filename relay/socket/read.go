package socket

import (
	"io"
)

// Next waits for the next message or control frame. The payload is valid until the
// next call. An error that is no *PeerError is the connection's end.
func (c *Conn) Next() (Op, []byte, error) {
	for {
		h, ok, err := c.head()
		if err != nil {
			return 0, nil, err
		}
		if !ok {
			if err := c.fill(h.size + h.n); err != nil {
				return 0, nil, err
			}
			continue
		}
		start := c.used + h.size
		payload := c.buf[start : start+h.n : start+h.n]
		c.used = start + h.n
		unmask(payload, h.key)
		if h.op >= Close {
			return h.op, payload, nil
		}
		op, whole, err := c.join(h, payload)
		if err != nil || op != more {
			return op, whole, err
		}
	}
}

// Ready reports that Next will not wait. It may be wrong about a message in pieces,
// but only in saying that Next may wait.
func (c *Conn) Ready() bool {
	h, ok, err := c.head()
	return ok && h.fin || err != nil
}

// head is the head of the frame at the front; ok says that all of the frame is there.
func (c *Conn) head() (h head, ok bool, err error) {
	limit := c.limit - len(c.message)
	h, ok, err = parseHead(c.buf[c.used:c.held], limit)
	return h, ok && c.held-c.used >= h.size+h.n, err
}

// join adds a data frame to the message that it belongs to. The message is more as
// long as it is not complete.
func (c *Conn) join(h head, payload []byte) (Op, []byte, error) {
	begun := c.kind != more
	if begun == (h.op != more) {
		return 0, nil, wrong("pieces of messages out of order")
	}
	if !begun && h.fin {
		return h.op, payload, nil
	}
	if !begun {
		c.kind = h.op
	}
	c.message = append(c.message, payload...)
	if !h.fin {
		return more, nil, nil
	}
	op, whole := c.kind, c.message
	c.kind, c.message = more, nil
	return op, whole, nil
}

// fill waits for more bytes.
func (c *Conn) fill(frame int) error {
	if c.used == c.held {
		// What Next returned last is not valid any more.
		c.release()
	}
	if c.raw == nil {
		return c.fillWaiting(frame)
	}
	c.reading.n = frame
	if err := c.raw.Read(c.reading.do); err != nil {
		return err
	}
	return c.reading.err
}

// fillWaiting reads where reading cannot be tried: a connection waits with little,
// and is given a buffer when something has come.
func (c *Conn) fillWaiting(frame int) error {
	if c.buf == nil {
		c.buf = make([]byte, restSize)
	}
	n, err := c.conn.Read(c.room(frame))
	c.held += n
	if n > 0 {
		return nil
	}
	return err
}

// Discard reads and forgets what comes until the connection ends, so that closing it
// does not take a close frame back that is still on its way.
func (c *Conn) Discard() {
	c.release()
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.conn})
}
