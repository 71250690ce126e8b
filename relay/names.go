package relay

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

// RelayID is the name under which a client knows the relay at a URL: the host and
// the port that are dialled, in the one right spelling (relay.md §2.1). Clients sign
// it, so that what they say to one relay is worth nothing at another.
func RelayID(relayURL string) (string, error) {
	u, err := parseURL(relayURL)
	if err != nil {
		return "", err
	}
	return dialledID(u)
}

func dialledID(u *url.URL) (string, error) {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "wss" {
			port = "443"
		}
	}
	return relayID(u.Hostname(), port)
}

// relayID writes host and port as a relay id.
func relayID(host, port string) (string, error) {
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
	if len(id) > maxRelayID {
		return "", fmt.Errorf("host %.60q…: want at most %d bytes with the port", host, maxRelayID)
	}
	return id, nil
}

// maxRelayID is how long a relay id may be, in bytes.
const maxRelayID = 255

// names are the relay ids by which a relay goes.
type names []string

// newNames reads what the operator gave as HOST:PORT.
func newNames(list []string) (names, error) {
	var n names
	for _, s := range list {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return nil, fmt.Errorf("relay name %q: want HOST:PORT", s)
		}
		id, err := relayID(host, port)
		if err != nil {
			return nil, fmt.Errorf("relay name %q: %w", s, err)
		}
		n = append(n, id)
	}
	return n, nil
}

// has reports whether the relay goes by id on a connection with this local address
// (relay.md §2.2). A relay without a name believes no name that only its client or a
// Host header knows: whoever passes a challenge on could choose it.
func (n names) has(id string, local net.Addr) bool {
	if len(n) > 0 {
		return slices.Contains(n, id)
	}
	host, port, err := net.SplitHostPort(id)
	if err != nil {
		return false
	}
	if norm, err := relayID(host, port); err != nil || norm != id {
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

// localID is the relay id of a socket's own address.
func localID(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()).String()
}

// localAddr is the relay's end of a request's connection, nil if that is unknown.
func localAddr(r *http.Request) net.Addr {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return a
}
