package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"amesh/identity"

	ma "github.com/multiformats/go-multiaddr"
)

// checkListen looks at addresses before anything is opened. Most often it is a
// plain HOST:PORT that stands where a multiaddr should.
func checkListen(flag string, addrs []string) error {
	kinds := []string{"ip4/tcp", "ip6/tcp", "ip4/udp/quic-v1", "ip6/udp/quic-v1"}
	for _, s := range addrs {
		addr, err := ma.NewMultiaddr(s)
		if err == nil && !slices.Contains(kinds, protocols(addr)) {
			err = errors.New("want TCP or QUIC on an IP address")
		}
		if err != nil {
			return usagef("%s %s: %v", flag, s, err).next("write it like /ip4/127.0.0.1/tcp/47777 or /ip4/0.0.0.0/udp/47777/quic-v1")
		}
	}
	return nil
}

func protocols(addr ma.Multiaddr) string {
	var names []string
	for _, p := range addr.Protocols() {
		names = append(names, p.Name)
	}
	return strings.Join(names, "/")
}

// checkHostPort looks at a HOST:PORT before anything is opened. The host may be
// empty, which is every interface.
func checkHostPort(flag, addr, example string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return usagef("%s %s: want HOST:PORT", flag, addr).next("write it like %s", example)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return usagef("%s %s: want a port of 0 to 65535", flag, addr).next("write it like %s", example)
	}
	return nil
}

// checkName looks at the name under which others reach a relay.
func checkName(name string) error {
	const example = "relay.example:443"
	if name == "" {
		return nil
	}
	if err := checkHostPort("--name", name, example); err != nil {
		return err
	}
	if host, port, _ := net.SplitHostPort(name); host == "" || port == "0" {
		return usagef("--name %s: want a host and the port that agents dial", name).next("write it like %s", example)
	}
	return nil
}

// writeAddresses writes what --print-addrs asks for, whole or not at all.
func writeAddresses(path string, addrs any) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(addrs)
	if err != nil {
		return fmt.Errorf("print addresses: %w", err)
	}
	if err := identity.ReplaceFile(path, append(b, '\n')); err != nil {
		return fmt.Errorf("print addresses: %w", err)
	}
	return nil
}

// listenTCP opens a listener. When the port is our default and taken, it takes a
// free one and tells; what somebody asked for is used or is an error.
func listenTCP(addr string, isDefault bool, tell func(line string)) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if isDefault && errors.Is(err, syscall.EADDRINUSE) {
		host, port, _ := net.SplitHostPort(addr)
		if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			tell(fmt.Sprintf("port %s is taken, listening on %s", port, l.Addr()))
		}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return nil, usagef("listen %s: %v", addr, dns).next("give an address of this machine, such as 127.0.0.1, or none for all")
	}
	if e, ok := errors.AsType[*net.AddrError](err); ok {
		return nil, usagef("listen %s: %s", addr, e.Err).next("give HOST:PORT, such as 127.0.0.1:8080 or :8443")
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// onLoopback reports whether a listener can be reached from this machine only.
func onLoopback(l net.Listener) bool {
	a, err := netip.ParseAddrPort(l.Addr().String())
	return err == nil && a.Addr().IsLoopback()
}

// reachable are the addresses of a listener as others write them: its own, or for
// one on all interfaces loopback first and then the first other IPv4 address.
func reachable(l net.Listener) []string {
	a, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil || !a.Addr().IsUnspecified() {
		return []string{l.Addr().String()}
	}
	at := func(ip netip.Addr) string { return netip.AddrPortFrom(ip, a.Port()).String() }
	found := []string{at(netip.AddrFrom4([4]byte{127, 0, 0, 1}))}
	if ip, ok := outerIP(); ok {
		found = append(found, at(ip))
	}
	return found
}

// outerIP is the first IPv4 address of this machine that another one could use.
func outerIP() (netip.Addr, bool) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := prefix.Addr(); ip.Is4() && ip.IsGlobalUnicast() {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// reachedBy is the multiaddr under which somebody who reaches the relay at host
// (HOST:PORT) reaches its DHT server: one with the same IP, or for a name any one
// with the name in the place of the IP.
func reachedBy(host string, libp2p []string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil || len(libp2p) == 0 {
		return ""
	}
	if _, err := netip.ParseAddr(name); err != nil {
		parts := strings.SplitN(libp2p[0], "/", 4) // "", ip4, 127.0.0.1, rest
		return "/dns/" + name + "/" + parts[len(parts)-1]
	}
	for _, m := range libp2p {
		if strings.HasPrefix(m, "/ip4/"+name+"/") || strings.HasPrefix(m, "/ip6/"+name+"/") {
			return m
		}
	}
	return libp2p[0]
}
