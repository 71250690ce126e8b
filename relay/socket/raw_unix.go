//go:build unix

package socket

import (
	"io"
	"net"
	"syscall"
)

// rawOf is how the kernel's own connections are read and written without waiting;
// nil for others, such as those of TLS.
func rawOf(conn net.Conn) syscall.RawConn {
	under, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := under.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// tryRead reads into a buffer that it takes only when there is something to read,
// which is why it does not leave the reading to package net.
func (c *Conn) tryRead(fd uintptr) bool {
	a := &c.reading
	for {
		n, err := syscall.Read(int(fd), c.room(a.n))
		switch {
		case err == syscall.EINTR:
			continue
		case n > 0:
			c.held += n
		case err == nil:
			err = io.EOF
		}
		if c.used == c.held {
			c.release()
		}
		a.err = err
		return err != syscall.EAGAIN
	}
}

func (c *Conn) tryWrite(fd uintptr) bool {
	a := &c.writing
	a.n, a.err = 0, nil
	for a.n < len(a.out) {
		n, err := syscall.Write(int(fd), a.out[a.n:])
		if n > 0 {
			a.n += n
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil && err != syscall.EINTR {
			a.err = err
			break
		}
	}
	return true
}
