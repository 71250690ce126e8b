package node

import (
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"amesh/identity"
)

// announceable picks the addresses that a public record may carry (session.md §2.6):
// routable ones; and loopback ones when everything is on loopback, our listeners and
// the bootstrap alike, as in a demo on one machine. A private address in a public
// record would tell everybody about the owner's network and help nobody.
func announceable(own []ma.Multiaddr, bootstrap []peer.AddrInfo) []string {
	local := allLoopback(own)
	for _, b := range bootstrap {
		local = local && allLoopback(b.Addrs)
	}
	var list []string
	for _, a := range own {
		s := a.String()
		if len(list) == identity.MaxAddresses || len(s) > maxAddressText {
			continue
		}
		if manet.IsPublicAddr(a) || (local && manet.IsIPLoopback(a)) {
			list = append(list, s)
		}
	}
	return list
}

// maxAddressText is the longest address that a record or a paths content may carry
// (session.md §2.6).
const maxAddressText = 100

func allLoopback(list []ma.Multiaddr) bool {
	for _, a := range list {
		if !manet.IsIPLoopback(a) {
			return false
		}
	}
	return len(list) > 0
}
