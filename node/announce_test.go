package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/dht"
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

// A peer is told no address that leads it to itself, or to any relay.
func TestAddressesToldToPeers(t *testing.T) {
	list := func(all ...string) (out []ma.Multiaddr) {
		for _, s := range all {
			out = append(out, ma.StringCast(s))
		}
		return out
	}
	const loop, other, circuit = "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/10.0.0.1/udp/1/quic-v1", "/p2p-circuit"
	if diff := cmp.Diff(list(other), useful(list(loop, other, circuit))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(list(loop), useful(list(loop, circuit))); diff != "" {
		t.Errorf("on this machine only (-want +got)\n%s", diff)
	}
}

// T66: who connects to a node learns where it listens only if its owner said so, and
// its accepted peers do anyway.
func TestWhoConnectsLearnsNoAddresses(t *testing.T) {
	for announce, told := range map[string]bool{AnnounceNone: false, AnnouncePublic: true} {
		n := startNode(t, Config{Announce: announce})
		at, err := dht.ParseBootstrap(n.node.Addrs().Libp2p)
		if err != nil {
			t.Fatal(err)
		}
		stranger, err := dht.NewHost(dht.HostConfig{Key: freshKey(t), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stranger.Close() })
		sub, err := stranger.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		if err := stranger.Connect(t.Context(), at[0]); err != nil {
			t.Fatal(err)
		}
		if got := (<-sub.Out()).(event.EvtPeerIdentificationCompleted).ListenAddrs; (len(got) > 0) != told {
			t.Errorf("announce %s: told %v", announce, got)
		}
	}
}

func TestServerOfTheTableAnnounces(t *testing.T) {
	if _, err := New(Config{Home: t.TempDir(), DHT: dht.ModeServer}); err == nil {
		t.Error("a server whose addresses nobody learns")
	}
	if _, err := New(Config{Home: t.TempDir(), DHT: dht.ModeServer, Announce: AnnouncePublic}); err != nil {
		t.Error(err)
	}
}
