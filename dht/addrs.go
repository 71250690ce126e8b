package dht

import (
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"amesh/internal/reach"
)

// AddressRules decide which addresses learned from others may be dialled
// (session.md §7.5). Without them anybody who publishes a record could make
// every reader knock at services of the reader's own machine or network.
type AddressRules struct {
	// Loopback allows loopback addresses: our own listeners are on loopback.
	Loopback bool
	// Interfaces are the networks we are in; a private address must lie in one.
	Interfaces []netip.Prefix
}

// LocalRules are the rules for h at this moment. Interfaces come and go, so they
// are made anew for each dial.
func LocalRules(h host.Host) AddressRules {
	return AddressRules{Loopback: onLoopback(h.Network().ListenAddresses()), Interfaces: reach.Interfaces()}
}

// Allow reports whether a may be dialled: an IP address with TCP or QUIC, public,
// or loopback or private as far as the rules permit. Names are refused, since
// resolving one already tells its owner that we are here; so are relayed
// addresses.
func (r AddressRules) Allow(a ma.Multiaddr) bool {
	ip, ok := ipOf(a)
	return ok && transportOK(a) && reach.Rules(r).Allow(ip)
}

// Private reports whether a is an address of a network that is not the internet, this
// machine's own among them.
func Private(a ma.Multiaddr) bool {
	ip, ok := ipOf(a)
	return ok && reach.Private(ip)
}

// transportOK accepts /ip…/tcp/N and /ip…/udp/N/quic-v1, with or without /p2p.
func transportOK(a ma.Multiaddr) bool {
	var codes []int
	for _, p := range a.Protocols() {
		codes = append(codes, p.Code)
	}
	if n := len(codes); n > 0 && codes[n-1] == ma.P_P2P {
		codes = codes[:n-1]
	}
	if len(codes) == 0 || (codes[0] != ma.P_IP4 && codes[0] != ma.P_IP6) {
		return false
	}
	return slices.Equal(codes[1:], []int{ma.P_TCP}) || slices.Equal(codes[1:], []int{ma.P_UDP, ma.P_QUIC_V1})
}

func ipOf(a ma.Multiaddr) (netip.Addr, bool) {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}, false
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}

// onLoopback looks for a listener bound to loopback itself. One on all
// interfaces is there to be reached from outside and doesn't count.
func onLoopback(listen []ma.Multiaddr) bool {
	return slices.ContainsFunc(listen, func(a ma.Multiaddr) bool {
		ip, ok := ipOf(a)
		return ok && ip.IsLoopback()
	})
}

// onlyLoopback reports whether nothing listens but on loopback.
func onlyLoopback(listen []ma.Multiaddr) bool {
	return !slices.ContainsFunc(listen, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
}

// gater applies the rules to every dial of a host, also to those of Kademlia,
// whose addresses any server can make up. Addresses that the owner configured are
// exempt: he may well reach his relay through a routed private network.
type gater struct {
	loopback bool
	networks func() []netip.Prefix // private ones that may be dialled
	refuse   func(netip.Addr) bool // nil: nobody
	circuits *Circuits             // nil: none
	trusted  map[peer.ID][]ma.Multiaddr
}

func newGater(cfg HostConfig, listen []ma.Multiaddr) *gater {
	g := &gater{loopback: onLoopback(listen), networks: reach.Interfaces, refuse: cfg.Refuse, circuits: cfg.Circuits, trusted: make(map[peer.ID][]ma.Multiaddr)}
	if cfg.Relay {
		g.networks = func() []netip.Prefix { return ownNetworks(listen, reach.Interfaces()) }
	}
	for _, p := range cfg.Trusted {
		g.trusted[p.ID] = append(g.trusted[p.ID], p.Addrs...)
	}
	return g
}

func (g *gater) InterceptPeerDial(peer.ID) bool { return true }

func (g *gater) InterceptAddrDial(p peer.ID, a ma.Multiaddr) bool {
	if circuitAddr(a) {
		return g.circuits != nil && g.circuits.mayDial(p, a)
	}
	return g.named(p, a) || AddressRules{Loopback: g.loopback, Interfaces: g.networks()}.Allow(a)
}

// named reports whether the owner wrote where a peer is, and this is there. What others
// say of such a peer, or it says of itself, is judged like any address. Where the owner
// wrote a name, nobody knows what it stands for.
func (g *gater) named(p peer.ID, a ma.Multiaddr) bool {
	ip, ok := ipOf(a)
	return slices.ContainsFunc(g.trusted[p], func(own ma.Multiaddr) bool {
		at, plain := ipOf(own)
		return !plain || ok && at == ip
	})
}

func (g *gater) InterceptAccept(c network.ConnMultiaddrs) bool {
	if g.refuse == nil {
		return true
	}
	ip, ok := ipOf(c.RemoteMultiaddr())
	return !ok || !g.refuse(ip)
}

// InterceptSecured asks again, because somebody may be refused from now on who was
// accepted a moment ago.
func (g *gater) InterceptSecured(d network.Direction, p peer.ID, c network.ConnMultiaddrs) bool {
	if d == network.DirInbound && g.circuits != nil && circuitAddr(c.RemoteMultiaddr()) && !g.circuits.admits(p) {
		return false
	}
	return d != network.DirInbound || g.InterceptAccept(c)
}

func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
