package dht

import (
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

// DefaultRelayLimits are those of a host that serves many: more connections, within
// about 256 MiB.
func DefaultRelayLimits() HostLimits {
	l := DefaultHostLimits()
	l.Conns, l.Files, l.Streams = 2048, 1024, 8192
	l.KeepLow, l.KeepHigh = 768, 1024
	l.Memory = 256 << 20
	l.Reservations = 1024 // every node that uses the relay takes one
	return l
}

// circuits are the limits of the circuit relay.
func (l HostLimits) circuits() relay.Resources {
	r := relay.DefaultResources()
	r.MaxReservations, r.MaxReservationsPerIP, r.ReservationTTL = l.Reservations, l.ReservationsPerIP, l.ReservationTime
	r.MaxCircuits = l.CircuitsPerPeer
	r.Limit = &relay.RelayLimit{Duration: l.CircuitTime, Data: l.CircuitBytes}
	return r
}

// ownNetworks are the private networks that a relay may dial into: those in which a
// listener of its own was put by its address. A relay is told addresses by
// everybody, and a machine on the open internet mostly has a private network behind
// it. A listener on all interfaces is there for the world, and says nothing of it.
func ownNetworks(listen []ma.Multiaddr, interfaces []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(interfaces), func(p netip.Prefix) bool {
		return !slices.ContainsFunc(listen, func(a ma.Multiaddr) bool {
			ip, ok := ipOf(a)
			return ok && ip == p.Addr()
		})
	})
}

// CloseFrom ends the connections of h with addresses that it is told of.
func CloseFrom(h host.Host, from func(netip.Addr) bool) {
	for _, c := range h.Network().Conns() {
		if ip, ok := ipOf(c.RemoteMultiaddr()); ok && from(ip) {
			_ = c.Close()
		}
	}
}

// positive are the circuit relay's numbers, for a check.
func (l HostLimits) positive() bool {
	return l.Reservations > 0 && l.ReservationsPerIP > 0 && l.ReservationTime > 0 &&
		l.CircuitsPerPeer > 0 && l.CircuitTime >= time.Second && l.CircuitBytes > 0
}
