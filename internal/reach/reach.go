// Package reach says which IP addresses that others name may be contacted. Without such
// rules anybody who publishes an address could make every reader knock at services of
// the reader's own machine or network (session.md §7.5).
package reach

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// Rules decide about addresses learned from others.
type Rules struct {
	// Loopback allows loopback addresses: our own listeners are on loopback.
	Loopback bool
	// Interfaces are the networks we are in; a private address must lie in one.
	Interfaces []netip.Prefix
}

// Allow reports whether ip may be contacted: it is public, or loopback or private as far
// as the rules permit. An IPv4 address in IPv6 clothes is judged as what it is.
func (r Rules) Allow(ip netip.Addr) bool {
	ip = ip.Unmap()
	switch {
	case !ip.IsValid() || ip.Zone() != "" || within(ip, never) || slices.ContainsFunc(r.Interfaces, func(p netip.Prefix) bool { return broadcast(p, ip) }):
		return false
	case ip.IsLoopback():
		return r.Loopback
	case !within(ip, local):
		return true
	case carrierNAT.Contains(ip):
		// Overlay networks give out single addresses of this range, so that no
		// prefix is shared although all of them are neighbours.
		return slices.ContainsFunc(r.Interfaces, func(p netip.Prefix) bool { return carrierNAT.Contains(p.Addr()) })
	}
	return within(ip, r.Interfaces)
}

// Private reports whether ip belongs to a network that is not the internet, this machine's
// own among them.
func Private(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsLoopback() || within(ip, local)
}

// Public reports whether ip is an address of the internet.
func Public(ip netip.Addr) bool { return Rules{}.Allow(ip) }

// Interfaces are the networks that this machine is in, without loopback.
func Interfaces() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then nothing private is contacted, which is safe
	}
	var list []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			list = append(list, p)
		}
	}
	return list
}

// broadcast reports whether ip means everybody in the network p: the last address, and
// the first one, which some systems take for the same.
func broadcast(p netip.Prefix, ip netip.Addr) bool {
	if !p.Addr().Is4() || p.Bits() > 30 || !p.Contains(ip) {
		return false
	}
	a := ip.As4()
	hosts := uint32(1)<<(32-p.Bits()) - 1
	number := binary.BigEndian.Uint32(a[:]) & hosts
	return number == 0 || number == hosts
}

var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// never are addresses that are no node's: unspecified, multicast, reserved, and those
// under which clouds tell a machine its secrets.
var never = prefixes("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8",
	"169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "fd00:ec2::/32")

// local are ranges that mean something else in every network, and the IPv6 ranges that
// lead to IPv4 addresses in disguise.
var local = prefixes(
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
	"192.0.0.0/24", "198.18.0.0/15", "fc00::/7", "fe80::/10", "fec0::/10",
	"::/96", "::ffff:0:0:0/96", "2001::/32", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48",
)

func prefixes(list ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(list))
	for i, s := range list {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

func within(ip netip.Addr, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}
