package httpapi

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// isOwnUser asks the kernel whether the process that connected runs as our user.
// Root is another user here: who has root's rights can become the owner.
func isOwnUser(c *net.UnixConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var peer *syscall.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, asked); err != nil {
		return false, err
	}
	return int(peer.Uid) == os.Geteuid(), nil
}
