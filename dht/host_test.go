package dht

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/identity"
	"amesh/internal/reach"
)

func TestHostIsNamedByItsKey(t *testing.T) {
	seed := make([]byte, 32)
	seed[0] = 1
	key, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, HostConfig{Key: key, Listen: anyPort})
	if got, want := h.ID().String(), "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"; got != want {
		t.Errorf("peer id %s, want %s", got, want)
	}
	pub, err := h.ID().ExtractPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := pub.Raw()
	if err != nil {
		t.Fatal(err)
	}
	if want := key.Public(); !slices.Equal(raw, want[:]) {
		t.Errorf("peer id holds key %x, want %x", raw, want)
	}
	addrs := Multiaddrs(h)
	if len(addrs) != 2 {
		t.Fatalf("Multiaddrs = %q, want QUIC and TCP", addrs)
	}
	infos, err := ParseBootstrap(addrs)
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != 1 || infos[0].ID != h.ID() || len(infos[0].Addrs) != 2 {
		t.Errorf("ParseBootstrap(%q) = %v, want one peer with two addresses", addrs, infos)
	}
}

func TestListenRefused(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	port := func(a net.Addr) string { _, p, _ := net.SplitHostPort(a.String()); return p }
	cases := []struct {
		name   string
		listen []string
		want   error // nil: any error
	}{
		{"TCP port taken", []string{"/ip4/127.0.0.1/tcp/" + port(tcp.Addr())}, syscall.EADDRINUSE},
		{"UDP port taken", []string{"/ip4/127.0.0.1/udp/" + port(udp.LocalAddr()) + "/quic-v1"}, syscall.EADDRINUSE},
		{"one of two taken", []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/" + port(udp.LocalAddr()) + "/quic-v1"}, syscall.EADDRINUSE},
		{"websocket", []string{"/ip4/127.0.0.1/tcp/0/ws"}, nil},
		{"webrtc", []string{"/ip4/127.0.0.1/udp/0/webrtc-direct"}, nil},
		{"not a multiaddr", []string{"127.0.0.1:4001"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, err := NewHost(HostConfig{Key: newKey(t), Listen: c.listen})
			if err == nil {
				h.Close()
				t.Fatal("NewHost listened")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("NewHost = %v, want %v", err, c.want)
			}
		})
	}
}

func TestParseBootstrapRefuses(t *testing.T) {
	for _, s := range []string{"", "127.0.0.1:47777", "/ip4/127.0.0.1/tcp/47777", "/ip4/127.0.0.1/tcp/1/p2p/nobody"} {
		if got, err := ParseBootstrap([]string{s}); err == nil {
			t.Errorf("ParseBootstrap(%q) = %v, want an error", s, got)
		}
	}
	if got, err := ParseBootstrap(nil); err != nil || len(got) != 0 {
		t.Errorf("ParseBootstrap(nil) = %v, %v, want nothing", got, err)
	}
}

func TestRelayServiceOnlyWhereAsked(t *testing.T) {
	ctx := budget(t)
	withRelay := plain(t)
	withRelay.Relay = true
	relay, without, node := newHost(t, withRelay), newHost(t, plain(t)), newHost(t, plain(t))
	for _, h := range []struct {
		name string
		info peer.AddrInfo
		want bool
	}{{"relay", info(relay), true}, {"plain", info(without), false}} {
		if err := node.Connect(ctx, h.info); err != nil {
			t.Fatal(err)
		}
		_, err := client.Reserve(ctx, node, h.info)
		if got := err == nil; got != h.want {
			t.Errorf("%s: reservation %v (%v), want %v", h.name, got, err, h.want)
		}
	}
	if slices.Contains(without.Mux().Protocols(), proto.ProtoIDv2Stop) {
		t.Error("a node without relay accepts relayed connections")
	}
}

// T63: the gate holds for every dial of the host, whoever asked for it.
func TestHostDialsOnlyWhereItMay(t *testing.T) {
	target := newHost(t, plain(t))
	other := ma.StringCast("/ip4/127.0.0.2/tcp/1")
	outside := &gater{networks: reach.Interfaces, trusted: map[peer.ID][]ma.Multiaddr{target.ID(): {ma.StringCast("/ip4/127.0.0.2/tcp/9")}}}
	byName := &gater{networks: reach.Interfaces, trusted: map[peer.ID][]ma.Multiaddr{target.ID(): {ma.StringCast("/dns4/relay.example/tcp/9")}}}
	stranger := newHost(t, plain(t)).ID()
	got := map[string]bool{
		"stranger on loopback":       outside.InterceptAddrDial(stranger, other),
		"bootstrap on loopback":      outside.InterceptAddrDial(target.ID(), other),
		"bootstrap, somewhere else":  outside.InterceptAddrDial(target.ID(), ma.StringCast("/ip4/127.0.0.1/tcp/9")),
		"bootstrap, by a name":       byName.InterceptAddrDial(target.ID(), other),
		"stranger, we on loopback":   (&gater{loopback: true, networks: reach.Interfaces}).InterceptAddrDial(stranger, other),
		"stranger, any, unspecified": (&gater{loopback: true, networks: reach.Interfaces}).InterceptAddrDial(stranger, ma.StringCast("/ip4/0.0.0.0/tcp/1")),
	}
	want := map[string]bool{
		"stranger on loopback":       false,
		"bootstrap on loopback":      true,
		"bootstrap, somewhere else":  false,
		"bootstrap, by a name":       true,
		"stranger, we on loopback":   true,
		"stranger, any, unspecified": false,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("may dial (-want +got):\n%s", d)
	}

	wild := newHost(t, HostConfig{Key: newKey(t), Listen: []string{"/ip4/0.0.0.0/tcp/0"}})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := wild.Connect(ctx, info(target)); err == nil {
		t.Error("a host that listens outside connected to loopback")
	}
}

// T62: the library's own limits leave loopback out; ours must hold there too.
func TestConnectionLimitHoldsOnLoopback(t *testing.T) {
	ctx := budget(t)
	limits := DefaultHostLimits()
	limits.Conns = 2
	small := newHost(t, HostConfig{Key: newKey(t), Limits: &limits, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	connected := 0
	for range 4 {
		h := newHost(t, HostConfig{Key: newKey(t), Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err := h.Connect(ctx, info(small)); err != nil {
			continue
		}
		connected++
	}
	if connected != 2 {
		t.Errorf("%d connections to a host that takes 2", connected)
	}
}
