//go:build !unix

package socket

import (
	"net"
	"syscall"
)

func rawOf(net.Conn) syscall.RawConn { return nil }

func (c *Conn) tryRead(uintptr) bool { return true }

func (c *Conn) tryWrite(uintptr) bool { return true }
