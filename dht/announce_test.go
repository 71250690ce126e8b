package dht

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
)

// curious is a host that keeps what is said to it, in whatever protocol.
type curious struct {
	host.Host
	mu    sync.Mutex
	heard map[protocol.ID]*bytes.Buffer
}

func (c *curious) keep(p protocol.ID, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard == nil {
		c.heard = make(map[protocol.ID]*bytes.Buffer)
	}
	if c.heard[p] == nil {
		c.heard[p] = new(bytes.Buffer)
	}
	c.heard[p].Write(b)
}

func (c *curious) SetStreamHandler(p protocol.ID, handle network.StreamHandler) {
	c.Host.SetStreamHandler(p, func(s network.Stream) { handle(&wiretap{s, c}) })
}

type wiretap struct {
	network.Stream
	by *curious
}

func (s *wiretap) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.by.keep(s.Protocol(), b[:n])
	return n, err
}

// readAll has everything read that a stream says.
func readAll(s network.Stream) {
	b := make([]byte, 4096)
	for {
		if _, err := s.Read(b); err != nil {
			_ = s.Close()
			return
		}
	}
}

// T66: a node that announces nothing tells its addresses to no server of the table, no
// relay and nobody who connects, in no protocol.
func TestStrangersLearnNoAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIP only Linux has all of 127.0.0.0/8")
	}
	for _, c := range []struct {
		name     string
		announce Announce
		told     bool
	}{{"nothing", AnnounceNothing, false}, {"public", AnnouncePublic, true}} {
		t.Run(c.name, func(t *testing.T) {
			// The server is a relay, as amesh relay runs it: AutoNAT, circuits and the table.
			relay := plain(t)
			relay.Relay = true
			server := &curious{Host: newHost(t, relay)}
			shelf, err := NewCardShelf(CardLimits{})
			if err != nil {
				t.Fatal(err)
			}
			startWith(t, server, Config{Mode: ModeServer, Limits: quick(), Cards: shelf})
			server.SetStreamHandler(identify.IDPush, readAll)
			server.SetStreamHandler("/libp2p/autonat/1.0.0", readAll)
			eventually(t, "a relay", func() bool { return slices.Contains(server.Mux().Protocols(), proto.ProtoIDv2Hop) })
			server.SetStreamHandler(proto.ProtoIDv2Hop, readAll)

			circuits, err := NewCircuits(CircuitConfig{
				Relays: []peer.AddrInfo{info(server)}, Accepted: func(peer.ID) bool { return false },
				Addrs: func(context.Context) []string { return []string{"/ip4/127.66.7.8/udp/1/quic-v1"} },
			})
			if err != nil {
				t.Fatal(err)
			}
			h := newHost(t, HostConfig{
				Key: newKey(t), Announce: c.announce, Circuits: circuits, Trusted: []peer.AddrInfo{info(server)},
				Listen: []string{"/ip4/127.66.7.8/udp/0/quic-v1", "/ip4/127.66.7.8/tcp/0"},
			})
			ctx, end := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- circuits.Run(ctx) }()
			t.Cleanup(func() { end(); <-done })
			n, stop := startWith(t, h, Config{Mode: ModeAuto, Limits: quick(), Bootstrap: []peer.AddrInfo{info(server)}})
			key := newKey(t)
			eventually(t, "published", func() bool { return n.Publish(budget(t), signRecord(t, key, 1, fresh())) == nil })
			eventually(t, "left", func() bool { return n.LeaveCard(budget(t), offer(t, key, 1, "travel/flights")) == nil })
			if _, err := n.Find(budget(t), newKey(t).AMID()); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			if found, err := n.Search(budget(t), Query{ID: "travel"}); err != nil || len(found) != 1 {
				t.Errorf("%d found, %v", len(found), err)
			}
			_ = n.provide(budget(t), topicKey("travel")) // even if it kept cards for others
			// Whatever changes is pushed to all.
			h.SetStreamHandler("/test/new", func(s network.Stream) { _ = s.Close() })
			eventually(t, "pushed", func() bool { return len(server.said(identify.IDPush)) > 0 })

			eventually(t, "asked for a place", func() bool { return len(server.said(proto.ProtoIDv2Hop)) > 0 })
			asked := identifyOf(t, server, h.ID())
			if len(server.said(protocolPrefix+kadProtocol)) == 0 {
				t.Error("nothing was heard in the table's protocol")
			}
			said := append(asked, server.all()...)
			stop()
			if got := mentions(said, h); got != c.told {
				t.Errorf("addresses told: %v, want %v", got, c.told)
			}
			if got := len(server.Peerstore().Addrs(h.ID())) > 0; got != c.told {
				t.Errorf("the server knows %v", server.Peerstore().Addrs(h.ID()))
			}
			if len(OwnAddrs(h)) != 2 {
				t.Errorf("own addresses %v", OwnAddrs(h))
			}
		})
	}
}

func (c *curious) said(p protocol.ID) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard[p] == nil {
		return nil
	}
	return bytes.Clone(c.heard[p].Bytes())
}

func (c *curious) all() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b []byte
	for _, heard := range c.heard {
		b = append(b, heard.Bytes()...)
	}
	return b
}

// mentions looks for the host's IP address, as bytes and as text.
func mentions(said []byte, h host.Host) bool {
	ip, _ := ipOf(OwnAddrs(h)[0])
	return bytes.Contains(said, ip.AsSlice()) || bytes.Contains(said, []byte(ip.String()))
}

// identifyOf asks a peer who it is and returns its bytes.
func identifyOf(t *testing.T, h host.Host, p peer.ID) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := h.NewStream(ctx, p, identify.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(s); err != nil || b.Len() == 0 {
		t.Fatalf("identify: %d bytes, %v", b.Len(), err)
	}
	return b.Bytes()
}

func TestAnnouncePublicTellsNoPrivateAddress(t *testing.T) {
	own := []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/tcp/1"), ma.StringCast("/ip4/192.168.1.20/tcp/1"),
		ma.StringCast("/ip4/8.9.10.11/tcp/1"), ma.StringCast("/ip6/2606:4700::1/udp/1/quic-v1"),
	}
	if got := public(own); len(got) != 2 || !got[0].Equal(own[2]) || !got[1].Equal(own[3]) {
		t.Errorf("%v", got)
	}
	if got := public(own[:1]); len(got) != 1 {
		t.Errorf("all on loopback: %v", got)
	}
}

func TestNewAddressesAreNoticed(t *testing.T) {
	cfg := plain(t)
	cfg.Announce = AnnounceNothing
	h := newHost(t, cfg)
	var l lookout
	if !l.look(h) || len(l.host) != 2 {
		t.Errorf("at first: %v", l)
	}
	if l.look(h) {
		t.Error("nothing changed")
	}
	if err := h.Network().Listen(ma.StringCast("/ip4/127.0.0.1/tcp/0")); err != nil {
		t.Fatal(err)
	}
	if !l.look(h) || len(l.host) != 3 {
		t.Errorf("after a listener came: %v", l)
	}
}
