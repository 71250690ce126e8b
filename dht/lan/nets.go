package lan

import (
	"net"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// localNet is one of our networks in which others may be told that we are here.
type localNet struct {
	iface net.Interface
	addrs []netip.Prefix // ours in it, private ones only
}

// localNets are the interfaces that are up, speak multicast and have a private IPv4
// address and no public one: whoever has a public address there is not at home, but
// in the middle of the internet.
func localNets() []localNet {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var list []localNet
	for _, i := range ifaces {
		want, never := net.FlagUp|net.FlagMulticast, net.FlagLoopback|net.FlagPointToPoint
		if i.Flags&want != want || i.Flags&never != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		if own := privateOnly(addrs); len(own) > 0 {
			list = append(list, localNet{iface: i, addrs: own})
		}
	}
	return list
}

// privateOnly are the private addresses of an interface, none when it has no private
// IPv4 address or a public one.
func privateOnly(addrs []net.Addr) []netip.Prefix {
	var list []netip.Prefix
	four := false
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr()
		switch {
		case ip.Is4() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast():
			return nil
		case ip.IsPrivate(), ip.Is4():
			list = append(list, p)
			four = four || ip.Is4()
		}
	}
	if !four {
		return nil
	}
	return list
}

func (n localNet) holds(ip netip.Addr) bool {
	for _, p := range n.addrs {
		if p.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

func ipOf(a ma.Multiaddr) (netip.Addr, bool) {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}, false
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}
