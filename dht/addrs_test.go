package dht

import (
	"net/netip"
	"testing"

	ma "github.com/multiformats/go-multiaddr"

	"amesh/internal/reach"
)

func prefixes(list ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(list))
	for i, s := range list {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

func TestAddressRules(t *testing.T) {
	home := AddressRules{Interfaces: prefixes("192.168.1.20/24", "fd00:1::5/64")}
	local := AddressRules{Loopback: true}
	overlay := AddressRules{Interfaces: prefixes("100.100.1.2/32")}
	cases := []struct {
		name  string
		rules AddressRules
		addr  string
		want  bool
	}{
		{"public over QUIC", home, "/ip4/8.9.10.11/udp/47777/quic-v1", true},
		{"public over TCP", home, "/ip4/8.9.10.11/tcp/47777", true},
		{"public IPv6", home, "/ip6/2606:4700::1/udp/47777/quic-v1", true},
		{"with a peer id", home, "/ip4/8.9.10.11/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF", true},
		{"neighbour on the LAN", home, "/ip4/192.168.1.77/tcp/47777", true},
		{"neighbour over IPv6", home, "/ip6/fd00:1::77/tcp/47777", true},
		{"T63 private elsewhere", home, "/ip4/192.168.2.77/tcp/47777", false},
		{"T63 private ten", home, "/ip4/10.0.0.1/tcp/22", false},
		{"T63 metadata service", home, "/ip4/169.254.169.254/tcp/80", false},
		{"T63 unique local elsewhere", home, "/ip6/fd00:2::1/tcp/47777", false},
		{"T63 link local", home, "/ip6/fe80::1/tcp/47777", false},
		{"T63 loopback while we listen outside", home, "/ip4/127.0.0.1/tcp/7777", false},
		{"T63 loopback in an IPv6 coat", home, "/ip6/::ffff:127.0.0.1/tcp/7777", false},
		{"T63 private in an IPv6 coat", home, "/ip6/::ffff:10.0.0.1/tcp/7777", false},
		{"T63 private behind NAT63", home, "/ip6/64:ff9b::a00:1/tcp/7777", false},
		{"T63 private behind 6to4", home, "/ip6/2002:a00:1::1/tcp/7777", false},
		{"loopback while we are there too", local, "/ip4/127.0.0.1/udp/5000/quic-v1", true},
		{"loopback IPv6 while we are there too", local, "/ip6/::1/tcp/5000", true},
		{"private with loopback only", local, "/ip4/192.168.1.77/tcp/5000", false},
		{"carrier range, no neighbour", home, "/ip4/100.64.0.9/tcp/5000", false},
		{"carrier range in an overlay", overlay, "/ip4/100.99.0.9/tcp/5000", true},
		{"unspecified", local, "/ip4/0.0.0.0/tcp/5000", false},
		{"unspecified IPv6", local, "/ip6/::/tcp/5000", false},
		{"multicast", home, "/ip4/224.0.0.1/udp/5000/quic-v1", false},
		{"broadcast", home, "/ip4/255.255.255.255/udp/5000/quic-v1", false},
		{"a name", home, "/dns4/example.com/tcp/443", false},
		{"bare UDP", home, "/ip4/8.9.10.11/udp/53", false},
		{"websocket", home, "/ip4/8.9.10.11/tcp/443/ws", false},
		{"relayed", home, "/ip4/8.9.10.11/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF/p2p-circuit", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, err := ma.NewMultiaddr(c.addr)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.rules.Allow(a); got != c.want {
				t.Errorf("Allow(%s) = %v, want %v", c.addr, got, c.want)
			}
		})
	}
}

func TestLoopbackIsWhatWeListenOn(t *testing.T) {
	for listen, want := range map[string]bool{
		"/ip4/127.0.0.1/tcp/0":  true,
		"/ip6/::1/tcp/0":        true,
		"/ip4/0.0.0.0/tcp/0":    false,
		"/ip4/192.0.2.10/tcp/1": false,
	} {
		if got := onLoopback([]ma.Multiaddr{ma.StringCast(listen)}); got != want {
			t.Errorf("listener %s: loopback %v, want %v", listen, got, want)
		}
	}
	for _, p := range reach.Interfaces() {
		if p.Addr() == netip.MustParseAddr("127.0.0.1") {
			t.Errorf("loopback %s listed as an interface", p)
		}
	}
}
