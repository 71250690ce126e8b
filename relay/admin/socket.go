package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// ErrPath reports a data folder whose path is too long for a socket in it.
var ErrPath = errors.New("path too long for a socket")

// Listen opens the socket in a relay's data folder, for its user alone. A socket that
// an earlier process left is replaced: the caller holds the lock of the folder.
func Listen(data string) (net.Listener, error) {
	path := filepath.Join(data, SocketFile)
	// The mode can be set only once the socket is there, so it is made in a folder of
	// our own and moved to its place when nobody else can open it.
	private, err := os.MkdirTemp(data, ".door-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	if len(made) > longestPath {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrPath, made, len(made), longestPath)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(made, 0o600)
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &listener{UnixListener: l, path: path}, nil
}

// listener takes its socket away when it is closed.
type listener struct {
	*net.UnixListener
	path string
}

func (l *listener) Close() error {
	if err := l.UnixListener.Close(); err != nil {
		return err
	}
	return os.Remove(l.path)
}
