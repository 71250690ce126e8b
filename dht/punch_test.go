package dht

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/internal/ice"
)

// puncher runs ICE on the sockets of a new host.
func puncher(t *testing.T, servers ...string) (host.Host, *ice.Puncher) {
	t.Helper()
	var sockets Sockets
	h, err := NewHost(HostConfig{Key: newKey(t), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}, Sockets: &sockets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	p, err := ice.New(ice.Config{Sockets: sockets.Share, Servers: func() []string { return servers }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return h, p
}

// The path that ICE finds on the hosts' own sockets carries QUIC, and QUIC goes on as if
// nothing had been there.
func TestPunchedPathCarriesQUIC(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ice.NewSTUN(conn, ice.STUNLimits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	t.Cleanup(func() { stop(); <-served; _ = conn.Close() })

	a, pa := puncher(t, conn.LocalAddr().String())
	b, pb := puncher(t, conn.LocalAddr().String())
	offer, err := pa.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer offer.Close()
	answer, err := pb.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if n := server.Counts().Answered; n != 2 {
		t.Errorf("the hosts' sockets asked the STUN server %d times", n)
	}
	other := make(chan error, 1)
	go func() {
		_, err := answer.Punch(t.Context(), offer.Local(), false)
		other <- err
	}()
	result, err := offer.Punch(t.Context(), answer.Local(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-other; err != nil {
		t.Fatal(err)
	}

	b.SetStreamHandler("/test/echo", func(s network.Stream) { _, _ = io.Copy(s, s); _ = s.Close() })
	at := peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{ma.StringCast(result.Remote)}}
	if err := a.Connect(network.WithForceDirectDial(t.Context(), "punched"), at); err != nil {
		t.Fatal(err)
	}
	offer.Close()
	answer.Close()
	s, err := a.NewStream(t.Context(), b.ID(), "/test/echo")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Conn().RemoteMultiaddr().String(); got != result.Remote || s.Conn().Stat().Limited {
		t.Errorf("connected to %s (limited %v), want %s", got, s.Conn().Stat().Limited, result.Remote)
	}
	sent := make([]byte, 1<<16)
	go func() { _, _ = s.Write(sent); _ = s.CloseWrite() }()
	got, err := io.ReadAll(s)
	if err != nil || len(got) != len(sent) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	// Both ends are the sockets on which the hosts listen.
	if local := s.Conn().LocalMultiaddr(); !slices.ContainsFunc(a.Network().ListenAddresses(), local.Equal) {
		t.Errorf("dialled from %s, which is not one of %v", local, a.Network().ListenAddresses())
	}
}

func TestSocketsBelongToAHost(t *testing.T) {
	if _, err := new(Sockets).Share(); err == nil {
		t.Error("sockets of no host")
	}
}
