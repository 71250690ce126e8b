package dht

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// How many servers of one network the routing table takes: of one IPv4 /16 or one
// IPv6 operator. Addresses of many networks are dear, those of one are cheap.
const (
	perGroup  = 3 // in the whole table
	perBucket = 2 // at one distance
)

// inLab reports whether the mesh that we join is on one machine or in private
// networks, where all addresses are of one network: we listen on loopback, or all the
// servers that the owner named are there.
func inLab(listen []ma.Multiaddr, bootstrap []peer.AddrInfo) bool {
	public := func(p peer.AddrInfo) bool { return slices.ContainsFunc(p.Addrs, manet.IsPublicAddr) }
	return onLoopback(listen) || len(bootstrap) > 0 && !slices.ContainsFunc(bootstrap, public)
}
