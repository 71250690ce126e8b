package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

var (
	// ErrSocketInUse is returned when somebody already listens on the socket.
	ErrSocketInUse = errors.New("the socket is in use")
	// ErrSocketFolder is returned when others can enter the socket's folder.
	ErrSocketFolder = errors.New("others can enter the socket's folder")
)

type ownUserKey struct{}

// withUser notes on a connection whether its other end is a process of our own
// user. Not knowing counts as no.
func withUser(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	own, err := isOwnUser(u)
	return context.WithValue(ctx, ownUserKey{}, own && err == nil)
}

// ListenSocket opens the unix socket at path with mode 0600. Its folder must be
// closed to others, because the mode can only be set after the socket is there. A
// socket that nobody listens on any more is removed; for one in use it returns
// ErrSocketInUse. The caller holds the lock of the home, so no two nodes come here
// at once.
func ListenSocket(path string) (net.Listener, error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && dir.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o, want 0700", ErrSocketFolder, filepath.Dir(path), dir.Mode().Perm())
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func removeDead(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: it is not a socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		return errors.Join(fmt.Errorf("%w: %s", ErrSocketInUse, path), c.Close())
	}
	return os.Remove(path)
}
