//go:build !linux

package httpapi

import "net"

// isOwnUser trusts the file system here: the socket has mode 0600 and its folder
// is closed to others (ListenSocket), so only our user can have connected.
func isOwnUser(*net.UnixConn) (bool, error) { return true, nil }
