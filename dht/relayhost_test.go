package dht

import (
	"context"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

// circuitUser is a host of the library's own making, which may use circuits.
func circuitUser(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.Ping(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func relayWith(t *testing.T, change func(*HostConfig, *HostLimits)) host.Host {
	t.Helper()
	l := DefaultRelayLimits()
	cfg := HostConfig{Key: newKey(t), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Relay: true, Limits: &l}
	change(&cfg, &l)
	return newHost(t, cfg)
}

func reserve(t *testing.T, ctx context.Context, h, relay host.Host) error {
	t.Helper()
	if err := h.Connect(ctx, info(relay)); err != nil {
		t.Fatal(err)
	}
	_, err := client.Reserve(ctx, h, info(relay))
	return err
}

// circuit reaches a host through a relay that it has a reservation at.
func circuit(ctx context.Context, from, relay, to host.Host) error {
	through := ma.StringCast(Multiaddrs(relay)[0] + "/p2p-circuit")
	return from.Connect(network.WithAllowLimitedConn(ctx, "test"), peer.AddrInfo{ID: to.ID(), Addrs: []ma.Multiaddr{through}})
}

func TestReservationsOfOneAddressAreBounded(t *testing.T) {
	ctx := budget(t)
	r := relayWith(t, func(_ *HostConfig, l *HostLimits) { l.ReservationsPerIP = 2 })
	granted := 0
	for range 4 {
		if reserve(t, ctx, circuitUser(t), r) == nil {
			granted++
		}
	}
	if granted != 2 {
		t.Errorf("%d reservations, want 2", granted)
	}
}

func TestCircuitsToOnePeerAreBounded(t *testing.T) {
	ctx := budget(t)
	r := relayWith(t, func(_ *HostConfig, l *HostLimits) { l.CircuitsPerPeer = 1 })
	target := circuitUser(t)
	if err := reserve(t, ctx, target, r); err != nil {
		t.Fatal(err)
	}
	if err := circuit(ctx, circuitUser(t), r, target); err != nil {
		t.Fatalf("the first circuit: %v", err)
	}
	if err := circuit(ctx, circuitUser(t), r, target); err == nil {
		t.Error("a second circuit to the same peer")
	}
}

// A circuit ends when so much was said or so much time is over.
func TestACircuitEnds(t *testing.T) {
	const limit = 64 << 10
	for _, c := range []struct {
		name   string
		change func(*HostLimits)
		talks  bool
	}{
		{"with its bytes", func(l *HostLimits) { l.CircuitBytes = limit }, true},
		{"with its time", func(l *HostLimits) { l.CircuitTime = time.Second }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := budget(t)
			r := relayWith(t, func(_ *HostConfig, l *HostLimits) { c.change(l) })
			target, user := circuitUser(t), circuitUser(t)
			target.SetStreamHandler("/test", func(s network.Stream) { _, _ = io.Copy(s, s) })
			if err := reserve(t, ctx, target, r); err != nil {
				t.Fatal(err)
			}
			if err := circuit(ctx, user, r, target); err != nil {
				t.Fatal(err)
			}
			s, err := user.NewStream(network.WithAllowLimitedConn(ctx, "test"), target.ID(), "/test")
			if err != nil {
				t.Fatal(err)
			}
			if !s.Conn().Stat().Limited {
				t.Fatal("not a circuit")
			}
			if err := s.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			echoed, chunk := 0, make([]byte, 1<<10)
			for err == nil && echoed < 2*limit {
				if c.talks {
					_, err = s.Write(chunk)
				}
				if err == nil {
					_, err = io.ReadFull(s, chunk)
					echoed += len(chunk)
				}
			}
			if err == nil || os.IsTimeout(err) || echoed > limit || c.talks && echoed < limit/2 {
				t.Errorf("the circuit ended with %v after %d bytes", err, echoed)
			}
		})
	}
}

func TestRelayLimitsAreChecked(t *testing.T) {
	l := DefaultRelayLimits()
	l.CircuitBytes = 0 // the library would take it for no limit
	if h, err := NewHost(HostConfig{Key: newKey(t), Relay: true, Limits: &l}); err == nil {
		h.Close()
		t.Error("circuits without end")
	}
}

// T63: a relay on all interfaces dials into no private network, also not into one that
// it is in; one whose listener was put into such a network does.
func TestWhereARelayMayDial(t *testing.T) {
	home := []netip.Prefix{
		netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("192.168.7.8/24"), netip.MustParsePrefix("100.64.0.9/32"),
		netip.MustParsePrefix("203.0.113.5/24"), netip.MustParsePrefix("fd00::5/64"),
	}
	for _, c := range []struct {
		listen string
		may    []string
	}{
		{"/ip4/0.0.0.0/tcp/1", nil},
		{"/ip6/::/tcp/1", nil},
		{"/ip4/203.0.113.5/tcp/1", nil},
		{"/ip4/127.0.0.1/tcp/1", []string{"127.0.0.1"}},
		{"/ip4/10.1.2.3/udp/1/quic-v1", []string{"10.1.9.9"}},
		{"/ip4/192.168.7.8/tcp/1", []string{"192.168.7.1"}},
		{"/ip4/100.64.0.9/tcp/1", []string{"100.99.0.1"}},
		{"/ip6/fd00::5/tcp/1", []string{"fd00::6"}},
	} {
		listen := []ma.Multiaddr{ma.StringCast(c.listen)}
		g := &gater{loopback: onLoopback(listen), networks: func() []netip.Prefix { return ownNetworks(listen, home) }}
		for _, ip := range []string{"127.0.0.1", "10.1.9.9", "10.9.9.9", "192.168.7.1", "100.99.0.1", "169.254.169.254", "fd00::6", "198.51.100.1"} {
			addr := netip.MustParseAddr(ip)
			proto := "/ip4/"
			if addr.Is6() {
				proto = "/ip6/"
			}
			want := slices.Contains(c.may, ip) || ip == "198.51.100.1"
			if got := g.InterceptAddrDial("", ma.StringCast(proto+ip+"/tcp/1")); got != want {
				t.Errorf("on %s, dial %s: %v, want %v", c.listen, ip, got, want)
			}
		}
	}
}

func TestWhoIsRefusedIsNotAcceptedAndGoes(t *testing.T) {
	ctx := budget(t)
	var banned atomic.Bool
	r := relayWith(t, func(cfg *HostConfig, _ *HostLimits) {
		cfg.Refuse = func(ip netip.Addr) bool { return banned.Load() && ip.IsLoopback() }
	})
	here, later := circuitUser(t), circuitUser(t)
	if err := here.Connect(ctx, info(r)); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	here.Network().Notify(&network.NotifyBundle{DisconnectedF: func(network.Network, network.Conn) { close(gone) }})
	banned.Store(true)
	CloseFrom(r, func(ip netip.Addr) bool { return ip.IsLoopback() })
	select {
	case <-gone:
	case <-ctx.Done():
		t.Fatal("the connection stays")
	}
	// The dialler may think itself connected for a moment; the relay never does.
	_ = later.Connect(ctx, info(r))
	if r.Network().Connectedness(later.ID()) == network.Connected {
		t.Error("accepted")
	}
}
