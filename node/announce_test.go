package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestAnnounceable(t *testing.T) {
	addrs := func(list ...string) []ma.Multiaddr {
		var out []ma.Multiaddr
		for _, s := range list {
			out = append(out, ma.StringCast(s))
		}
		return out
	}
	boot := func(s string) []peer.AddrInfo { return []peer.AddrInfo{{Addrs: addrs(s)}} }
	const loop, private, public = "/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/8.8.4.4/udp/1/quic-v1"
	for _, c := range []struct {
		name string
		own  []ma.Multiaddr
		boot []peer.AddrInfo
		want []string
	}{
		{"a public address", addrs(public, private, loop), boot(public), []string{public}},
		{"behind a router", addrs(private, loop), boot(public), nil},
		{"all on this machine", addrs(loop), boot("/ip4/127.0.0.1/udp/9/quic-v1"), []string{loop}},
		{"own on loopback, bootstrap not", addrs(loop), boot(public), nil},
		{"bootstrap on loopback, own not", addrs(private, loop), boot(loop), nil},
		{"no bootstrap", addrs(loop), nil, []string{loop}},
		{"nothing", nil, boot(loop), nil},
	} {
		if diff := cmp.Diff(c.want, announceable(c.own, c.boot)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}
