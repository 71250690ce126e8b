package dht

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/identity"
)

// HostConfig says what a host is.
type HostConfig struct {
	// Key is the node's own key; its only use is the peer id.
	Key identity.PrivateKey
	// Listen are multiaddrs of TCP and QUIC, for example
	// /ip4/127.0.0.1/udp/0/quic-v1. Each of them must succeed.
	Listen []string
	// Trusted are peers whose addresses the owner wrote himself; the address rules
	// don't apply to these addresses.
	Trusted []peer.AddrInfo
	// Relay offers a circuit relay to others, as amesh relay does. Such a host dials
	// private addresses only in networks in which it listens by its address.
	Relay bool
	// Refuse says whose connections are not accepted, by address; nil is nobody's.
	Refuse func(netip.Addr) bool
	// Limits are the host's resources, nil for the defaults.
	Limits *HostLimits
	// Announce says which of its addresses the host tells to everybody.
	Announce Announce
	// MapPorts asks the router in front of us for ports (UPnP, NAT-PMP), if a listener is
	// there to be reached from outside.
	MapPorts bool
	// Circuits, unless nil, let the host be met at relays by those it accepts.
	Circuits *Circuits
	// Sockets, unless nil, shares the host's UDP sockets; it must be new.
	Sockets *Sockets
}

// NewHost opens a libp2p host with QUIC and TCP and nothing else. A taken port
// satisfies errors.Is(err, syscall.EADDRINUSE). The caller closes the host.
func NewHost(cfg HostConfig) (host.Host, error) {
	listen, err := parseListen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if cfg.Sockets == nil {
		cfg.Sockets = new(Sockets)
	}
	opts, err := hostOptions(cfg, listen)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	h, err := libp2p.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	cfg.Sockets.of(h.Network())
	if cfg.Circuits != nil {
		cfg.Circuits.of(h)
	}
	// The library is content when one address of many can be listened on, and
	// only logs the others; an owner who asked for a port wants that port.
	for _, a := range listen {
		if err := listenOn(h.Network(), a); err != nil {
			return nil, errors.Join(fmt.Errorf("host: listen on %s: %w", a, err), h.Close())
		}
	}
	return h, nil
}

// listenOn avoids Network.Listen where it can, because that loses the error's type.
func listenOn(n network.Network, a ma.Multiaddr) error {
	if s, ok := n.(interface{ AddListenAddr(ma.Multiaddr) error }); ok {
		return s.AddListenAddr(a)
	}
	return n.Listen(a)
}

func parseListen(list []string) ([]ma.Multiaddr, error) {
	var addrs []ma.Multiaddr
	for _, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %w", s, err)
		}
		if !transportOK(a) {
			return nil, fmt.Errorf("listen address %q: want /ip4/…/tcp/PORT or /ip4/…/udp/PORT/quic-v1", s)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

func hostOptions(cfg HostConfig, listen []ma.Multiaddr) ([]libp2p.Option, error) {
	limits := DefaultHostLimits()
	if cfg.Limits != nil {
		limits = *cfg.Limits
	}
	if cfg.Relay && !limits.positive() {
		return nil, fmt.Errorf("circuit relay: limits %+v: want all above 0", limits)
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(cfg.Key.Seed()))
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	resources, err := resourceManager(limits)
	if err != nil {
		return nil, fmt.Errorf("resource limits: %w", err)
	}
	conns, err := connmgr.NewConnManager(limits.KeepLow, limits.KeepHigh, connmgr.WithGracePeriod(limits.Grace))
	if err != nil {
		return nil, fmt.Errorf("connection limits: %w", err)
	}
	opts := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.NoListenAddrs, // NewHost listens itself
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(cfg.Sockets.transport),
		libp2p.ConnectionGater(newGater(cfg, listen)),
		libp2p.ConnectionManager(conns),
		libp2p.ResourceManager(resources),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(), // what we announce is never what strangers say they saw
		// A hundred dead addresses of others say nothing of UDP here, and must not keep us
		// from dialling through a hole that was just punched.
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.Ping(false), // the direct protocol has an echo of its own
		libp2p.UserAgent("amesh"),
	}
	opts = append(opts, cfg.Announce.options()...)
	if cfg.MapPorts && !onlyLoopback(listen) {
		opts = append(opts, libp2p.NATPortMap())
	}
	switch {
	case cfg.Circuits != nil:
		opts = append(opts, libp2p.EnableRelay())
	case !cfg.Relay:
		opts = append(opts, libp2p.DisableRelay())
	}
	if !cfg.Relay {
		return opts, nil
	}
	// The service waits for a proof of being reachable from outside, which nobody
	// gives on loopback or in a closed network; whoever runs a relay says so.
	// Nodes ask it whether they can be reached from outside (AutoNAT): those that can
	// serve the table too.
	return append(opts, libp2p.ForceReachabilityPublic(), libp2p.EnableNATService(), libp2p.EnableRelayService(relay.WithResources(limits.circuits()))), nil
}

func resourceManager(l HostLimits) (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(l.Conns), ConnsInbound: rcmgr.LimitVal(l.Conns), ConnsOutbound: rcmgr.LimitVal(l.Conns),
			Streams: rcmgr.LimitVal(l.Streams), StreamsInbound: rcmgr.LimitVal(l.Streams), StreamsOutbound: rcmgr.LimitVal(l.Streams),
			Memory: rcmgr.LimitVal64(l.Memory), FD: rcmgr.LimitVal(l.Files),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(l.ConnsPerPeer), ConnsInbound: rcmgr.LimitVal(l.ConnsPerPeer), ConnsOutbound: rcmgr.LimitVal(l.ConnsPerPeer),
			Streams: rcmgr.LimitVal(l.StreamsPerPeer), StreamsInbound: rcmgr.LimitVal(l.StreamsPerPeer), StreamsOutbound: rcmgr.LimitVal(l.StreamsPerPeer),
			Memory: rcmgr.LimitVal64(l.MemoryPerPeer),
		},
	}.Build(scaling.Scale(l.Memory, l.Files))
	v4, v6 := rcmgr.DefaultNetworkPrefixLimitV4, rcmgr.DefaultNetworkPrefixLimitV6
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit(bounded(v4, l.Conns), bounded(v6, l.Conns)),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: l.ConnsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: l.ConnsPerIP}},
		))
}

// bounded copies the library's exceptions for loopback with a number instead of
// infinity.
func bounded(list []rcmgr.NetworkPrefixLimit, conns int) []rcmgr.NetworkPrefixLimit {
	out := make([]rcmgr.NetworkPrefixLimit, len(list))
	for i, l := range list {
		out[i] = l
		if l.ConnCount == math.MaxInt {
			out[i].ConnCount = conns
		}
	}
	return out
}

// Multiaddrs are the addresses under which h listens, wildcards resolved to the
// interfaces, each ending in /p2p/ and the peer id. Those of QUIC come first, and the
// order is the same every time.
func Multiaddrs(h host.Host) []string {
	addrs, err := h.Network().InterfaceListenAddresses()
	if err != nil {
		addrs = h.Network().ListenAddresses()
	}
	var list []string
	for _, a := range addrs {
		if !circuitAddr(a) { // stands for any relay
			list = append(list, a.String()+"/p2p/"+h.ID().String())
		}
	}
	slices.SortFunc(list, func(x, y string) int {
		if qx, qy := strings.Contains(x, "/quic"), strings.Contains(y, "/quic"); qx != qy {
			if qx {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	return list
}

// ParseBootstrap reads multiaddrs that end in /p2p/ and a peer id, and joins
// those of one peer.
func ParseBootstrap(list []string) ([]peer.AddrInfo, error) {
	var addrs []ma.Multiaddr
	for _, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("bootstrap %q: %w", s, err)
		}
		if _, err := peer.AddrInfoFromP2pAddr(a); err != nil {
			return nil, fmt.Errorf("bootstrap %q: want a multiaddr that ends in /p2p/PEERID: %w", s, err)
		}
		addrs = append(addrs, a)
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return infos, nil
}
