package dht

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

// guest is a host with a place at a relay.
type guest struct {
	host.Host
	circuits *Circuits
	accepts  atomic.Bool
	told     atomic.Int32 // how often its addresses were asked for
	silent   atomic.Bool  // it has none to tell
	end      func()
}

func newGuest(t *testing.T, relay host.Host, accepts bool) *guest {
	t.Helper()
	g := new(guest)
	g.accepts.Store(accepts)
	limits := DefaultCircuitLimits()
	limits.Retry = 50 * time.Millisecond
	c, err := NewCircuits(CircuitConfig{
		Relays:   []peer.AddrInfo{info(relay)},
		Accepted: func(peer.ID) bool { return g.accepts.Load() },
		Addrs: func(context.Context) []string {
			g.told.Add(1)
			if g.silent.Load() {
				return nil
			}
			return []string{g.quic()}
		},
		Limits: limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := plain(t)
	cfg.Announce, cfg.Circuits, cfg.Trusted = AnnounceNothing, c, []peer.AddrInfo{info(relay)}
	g.Host, g.circuits = newHost(t, cfg), c
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	g.end = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(g.end)
	eventually(t, "placed", func() bool { return len(c.Places()) == 1 })
	return g
}

func (g *guest) quic() string {
	for _, a := range g.Network().ListenAddresses() {
		if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err == nil {
			return a.String()
		}
	}
	return ""
}

// The relay's circuits are limited, so a stream shows that the connection is direct; the
// address says so too.
func TestPunchThroughARelay(t *testing.T) {
	t.Parallel()
	relay := relayWith(t, func(*HostConfig, *HostLimits) {})
	a, b := newGuest(t, relay, true), newGuest(t, relay, true)
	conn, err := a.circuits.Punch(budget(t), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if at := conn.RemoteMultiaddr().String(); conn.Stat().Limited || at != b.quic() {
		t.Errorf("limited %v, at %s, want %s", conn.Stat().Limited, at, b.quic())
	}
	b.SetStreamHandler("/test/direct", func(s network.Stream) { _ = s.Close() })
	s, err := a.NewStream(budget(t), b.ID(), "/test/direct")
	if err != nil {
		t.Fatal(err)
	}
	if s.Conn().Stat().Limited || s.Conn().RemoteMultiaddr().String() != b.quic() {
		t.Errorf("a stream at %s", s.Conn().RemoteMultiaddr())
	}
	eventually(t, "circuits closed", func() bool { return len(a.Network().ConnsToPeer(b.ID())) == 1 })
	// It is there already.
	if again, err := a.circuits.Punch(budget(t), b.ID()); err != nil || again.ID() != conn.ID() {
		t.Errorf("again: %v, %v", again, err)
	}
}

// Where no STUN server answers, a relay that was dialled over QUIC says where it sees us.
func TestRelaysSayWhereTheySeeUs(t *testing.T) {
	t.Parallel()
	relay := relayWith(t, func(cfg *HostConfig, _ *HostLimits) { cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"} })
	a, b := newGuest(t, relay, true), newGuest(t, relay, true)
	a.silent.Store(true)
	b.silent.Store(true)
	conn, err := a.circuits.Punch(budget(t), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if at := conn.RemoteMultiaddr().String(); conn.Stat().Limited || at != b.quic() {
		t.Errorf("limited %v, at %s, want %s", conn.Stat().Limited, at, b.quic())
	}
	if seen := a.circuits.seen(budget(t), time.Now()); len(seen) != 1 || seen[0].String() != a.quic() {
		t.Errorf("seen at %v, want %s", seen, a.quic())
	}
}

// T66: a stranger opens no circuit to us, and learns nothing.
func TestStrangersOpenNoCircuit(t *testing.T) {
	t.Parallel()
	relay := relayWith(t, func(*HostConfig, *HostLimits) {})
	b := newGuest(t, relay, false)
	stranger := newHost(t, HostConfig{Key: newKey(t), Listen: anyPort, Relay: true, Trusted: []peer.AddrInfo{info(relay)}})
	if err := stranger.Connect(budget(t), info(relay)); err != nil {
		t.Fatal(err)
	}
	// The stranger's end is up when its handshake is; ours never is.
	visitor := circuitUser(t)
	came := make(chan struct{}, 8)
	b.Network().Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) {
		if c.RemotePeer() == visitor.ID() {
			came <- struct{}{}
		}
	}})
	_ = circuit(budget(t), visitor, relay, b)
	eventually(t, "ended", func() bool { return len(visitor.Network().ConnsToPeer(b.ID())) == 0 })
	if len(came) != 0 {
		t.Error("a stranger has a circuit")
	}
	if n := b.told.Load(); n != 0 {
		t.Errorf("addresses asked for %d times", n)
	}
	// Nor do we go to strangers.
	before := b.told.Load()
	if _, err := b.circuits.Punch(budget(t), stranger.ID()); !errors.Is(err, ErrNoDirect) {
		t.Error(err)
	}
	if _, err := client.Reserve(budget(t), stranger, info(relay)); err != nil {
		t.Fatal(err)
	}
	if err := circuit(budget(t), b, relay, stranger); err == nil {
		t.Error("a circuit that nobody wanted")
	}
	if n := b.told.Load(); n != before {
		t.Error("addresses told")
	}
}

// A circuit that leads to no direct connection carries nothing of ours, and ends.
func TestACircuitCarriesNoEnvelopes(t *testing.T) {
	t.Parallel()
	relay := relayWith(t, func(*HostConfig, *HostLimits) {})
	a, b := newGuest(t, relay, true), newGuest(t, relay, true)
	b.silent.Store(true)
	b.SetStreamHandler("/amesh/session/1", func(s network.Stream) { _ = s.Close() })
	ctx, cancel := context.WithCancel(budget(t))
	failed := make(chan error, 1)
	go func() {
		_, err := a.circuits.Punch(ctx, b.ID())
		failed <- err
	}()
	eventually(t, "met", func() bool { return a.Network().Connectedness(b.ID()) == network.Limited })
	short, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if _, err := a.NewStream(short, b.ID(), "/amesh/session/1"); err == nil {
		t.Error("a stream over the circuit")
	}
	cancel()
	if err := <-failed; !errors.Is(err, ErrNoDirect) {
		t.Errorf("Punch = %v", err)
	}
	eventually(t, "circuit closed", func() bool { return len(a.Network().ConnsToPeer(b.ID())) == 0 })
}

// A place is lost with the connection, and asked for again.
func TestPlaceIsTakenAgain(t *testing.T) {
	t.Parallel()
	relay := relayWith(t, func(*HostConfig, *HostLimits) {})
	a, b := newGuest(t, relay, true), newGuest(t, relay, true)
	if err := relay.Network().ClosePeer(b.ID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "reached again", func() bool {
		_, err := a.circuits.Punch(budget(t), b.ID())
		return err == nil
	})
}

func TestAPeerMayHaveUsPunchOnceInAWhile(t *testing.T) {
	c, err := NewCircuits(CircuitConfig{Accepted: func(peer.ID) bool { return true }, Addrs: func(context.Context) []string { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	for _, s := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {5 * time.Second, true}, {15 * time.Second, true}, {16 * time.Second, false}, {19 * time.Second, false}, {20 * time.Second, true}} {
		if got := c.turn("peer", now.Add(s.after)); got != s.want {
			t.Errorf("after %v: %v", s.after, got)
		}
	}
	if _, err := NewCircuits(CircuitConfig{}); err == nil {
		t.Error("nobody says who is accepted")
	}
}

// A peer that says nothing over a circuit does not keep us from ending.
func TestASilentPeerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	relay := relayWith(t, func(*HostConfig, *HostLimits) {})
	b := newGuest(t, relay, true)
	silent := circuitUser(t)
	asked := make(chan struct{}, 8)
	silent.SetStreamHandler(holepunch.Protocol, func(network.Stream) { asked <- struct{}{} })
	if err := circuit(budget(t), silent, relay, b); err != nil {
		t.Fatal(err)
	}
	<-asked
	ended := make(chan struct{})
	go func() { b.end(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second): // libp2p's own patience is a minute
		t.Error("still waiting for the peer")
	}
}
