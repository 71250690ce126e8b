package prefix

import (
	"net/netip"
	"slices"
	"strings"
)

// ForwardedFor is the address for which a trusted proxy speaks: the last entry of
// X-Forwarded-For that is no trusted proxy itself. What stands before it was written
// by somebody we do not know. An entry that is no address ends the search at the
// proxy that passed it on.
func ForwardedFor(peer netip.Addr, headers []string, trusted []netip.Prefix) netip.Addr {
	entries := strings.Split(strings.Join(headers, ","), ",")
	from := peer
	for _, entry := range slices.Backward(entries) {
		ip, ok := parseForwarded(strings.TrimSpace(entry))
		if !ok {
			return from
		}
		if from = ip; !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			return from
		}
	}
	return from
}

// parseForwarded reads an address with or without a port.
func parseForwarded(s string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ip.Unmap().WithZone(""), true
	}
	at, err := netip.ParseAddrPort(s)
	return at.Addr().Unmap().WithZone(""), err == nil
}
