// Package dialled names servers the way their clients dial them. A client signs that
// name, so that what it says to one server is worth nothing at another; a server knows
// which names are its own, and never learns one from what a client sends.
package dialled

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaxID is how long an id may be, in bytes.
const MaxID = 255

// OfURL is the id of the server behind a URL: the port that is dialled is the usual one
// of its scheme where the URL has none.
func OfURL(u *url.URL) (string, error) {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "wss" || u.Scheme == "https" {
			port = "443"
		}
	}
	return ID(u.Hostname(), port)
}

// ID is the one right spelling of a host and a port: lower case, the port explicit, an
// address in its shortest form.
func ID(host, port string) (string, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", fmt.Errorf("port %.10q: want 1 to 65535", port)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().WithZone("").String()
	}
	if host == "" {
		return "", errors.New("want a host in front of the port")
	}
	for _, r := range host {
		if r <= ' ' || r >= 0x7F {
			return "", fmt.Errorf("host %.60q: want it in ASCII, as xn--…", host)
		}
	}
	id := net.JoinHostPort(host, strconv.FormatUint(number, 10))
	if len(id) > MaxID {
		return "", fmt.Errorf("host %.60q…: want at most %d bytes with the port", host, MaxID)
	}
	return id, nil
}

// Names are the ids by which a server goes.
type Names []string

// ParseNames reads what the operator gave as HOST:PORT.
func ParseNames(list []string) (Names, error) {
	var n Names
	for _, s := range list {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return nil, fmt.Errorf("name %q: want HOST:PORT", s)
		}
		id, err := ID(host, port)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", s, err)
		}
		n = append(n, id)
	}
	return n, nil
}

// Has reports whether the server goes by id on a connection with this local address. A
// server without a name goes by loopback, private and its own socket's addresses. It
// believes no name that only its client or a Host header knows: whoever passes a
// signature on could choose it.
func (n Names) Has(id string, local net.Addr) bool {
	if len(n) > 0 {
		return slices.Contains(n, id)
	}
	host, port, err := net.SplitHostPort(id)
	if err != nil {
		return false
	}
	if norm, err := ID(host, port); err != nil || norm != id {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	return ip.IsLoopback() || ip.IsPrivate() || id == localID(local)
}

// localID is the id of a socket's own address.
func localID(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()).String()
}

// LocalAddr is the server's end of a request's connection, nil if that is unknown.
func LocalAddr(r *http.Request) net.Addr {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return a
}
