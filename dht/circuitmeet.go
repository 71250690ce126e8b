package dht

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Punch makes a direct connection to a node, by way of circuits through our relays. The
// node must be accepted here and accept us, and have a place at one of the relays.
// ErrNoDirect is in what it returns when there is no connection in the end.
func (c *Circuits) Punch(ctx context.Context, p peer.ID) (network.Conn, error) {
	h := c.owner()
	if h == nil || !c.cfg.Accepted(p) {
		return nil, fmt.Errorf("%w: not to a stranger", ErrNoDirect)
	}
	ctx, cancel := context.WithTimeout(ctx, c.limits.Timeout)
	defer cancel()
	came, err := h.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDirect, err)
	}
	defer came.Close()
	c.whereabouts(ctx) // so that the answer is at hand when libp2p measures how far the peer is
	defer c.want(p)()
	defer closeCircuits(h, p)
	if err := c.meet(ctx, h, p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDirect, err)
	}
	for {
		if conn := directTo(h, p); conn != nil {
			return conn, nil
		}
		select {
		case <-came.Out():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the other side did not come: %w", ErrNoDirect, ctx.Err())
		}
	}
}

// meet opens a circuit through the first relay that has one.
func (c *Circuits) meet(ctx context.Context, h host.Host, p peer.ID) error {
	if directTo(h, p) != nil {
		return nil
	}
	var through []ma.Multiaddr
	for _, r := range c.cfg.Relays {
		if conn := directTo(h, r.ID); conn != nil {
			part, err := ma.NewMultiaddr("/p2p/" + r.ID.String() + "/p2p-circuit")
			if err != nil {
				return err
			}
			through = append(through, conn.RemoteMultiaddr().Encapsulate(part))
		}
	}
	if len(through) == 0 {
		return errors.New("no relay is connected")
	}
	ClearDialBackoff(h, p)
	return h.Connect(network.WithAllowLimitedConn(ctx, "punching"), peer.AddrInfo{ID: p, Addrs: through})
}

// want has circuits to p allowed until the function it returns is called.
func (c *Circuits) want(p peer.ID) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted[p]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.wanted[p]--; c.wanted[p] == 0 {
			delete(c.wanted, p)
		}
	}
}

// closeCircuits ends the circuits to p, which have done what they were for, and forgets
// the way: only Punch may go it.
func closeCircuits(h host.Host, p peer.ID) {
	for _, conn := range h.Network().ConnsToPeer(p) {
		if circuitAddr(conn.RemoteMultiaddr()) {
			_ = conn.Close()
		}
	}
	for _, a := range h.Peerstore().Addrs(p) {
		if circuitAddr(a) {
			h.Peerstore().SetAddr(p, a, 0)
		}
	}
}

func directTo(h host.Host, p peer.ID) network.Conn {
	for _, conn := range h.Network().ConnsToPeer(p) {
		if !circuitAddr(conn.RemoteMultiaddr()) && !conn.IsClosed() {
			return conn
		}
	}
	return nil
}

func circuitAddr(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// mayDial is the gater's question about a circuit.
func (c *Circuits) mayDial(p peer.ID, a ma.Multiaddr) bool {
	relay, _ := ma.SplitFunc(a, func(part ma.Component) bool { return part.Protocol().Code == ma.P_CIRCUIT })
	id, err := relay.ValueForProtocol(ma.P_P2P)
	if err != nil {
		return false
	}
	at, err := peer.Decode(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	return err == nil && !c.ended && c.relays[at] && c.wanted[p] > 0
}

// anyAddress stands for our addresses where it is not known yet to whom they are told;
// without one libp2p would not punch at all. It is told to nobody: filter gives others.
func anyAddress() []ma.Multiaddr { return []ma.Multiaddr{unspecified} }

var unspecified = ma.StringCast("/ip4/0.0.0.0/udp/1/quic-v1")

// filter is asked by libp2p which addresses are told to a peer, and which of its
// addresses are tried.
type filter struct {
	ctx      context.Context
	circuits *Circuits
}

// FilterLocal implements holepunch.AddrFilter.
func (f filter) FilterLocal(p peer.ID, _ []ma.Multiaddr) []ma.Multiaddr {
	c := f.circuits
	if !c.cfg.Accepted(p) || !c.turn(p, time.Now()) {
		return nil
	}
	return c.whereabouts(f.ctx)
}

// whereabouts are the addresses that an accepted peer is told: where our relays see us,
// and those of the configuration.
func (c *Circuits) whereabouts(ctx context.Context) []ma.Multiaddr {
	ctx, cancel := context.WithTimeout(ctx, c.limits.Gather)
	defer cancel()
	list := c.seen(ctx, time.Now())
	for _, text := range c.cfg.Addrs(ctx) {
		if a, err := ma.NewMultiaddr(text); err == nil && !slices.ContainsFunc(list, a.Equal) {
			list = append(list, a)
		}
	}
	return list[:min(len(list), c.limits.Addresses)]
}

// turn reports whether a peer may have us punch now. Libp2p tries three times in a row,
// and asks each time.
func (c *Circuits) turn(p peer.ID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, at := range c.punched {
		if now.Sub(at) >= c.limits.Again {
			delete(c.punched, other)
		}
	}
	if at, ok := c.punched[p]; ok && now.Sub(at) > c.limits.Timeout {
		return false
	} else if !ok {
		c.punched[p] = now
	}
	return true
}

// Met reports whether a peer was told our addresses over a circuit, so recently that a
// connection with it may come from there.
func (c *Circuits) Met(p peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.punched[p]
	return ok && time.Since(at) < c.limits.Again
}

// FilterRemote implements holepunch.AddrFilter.
func (f filter) FilterRemote(p peer.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	c := f.circuits
	if !c.cfg.Accepted(p) {
		return nil
	}
	rules := LocalRules(c.owner())
	var list []ma.Multiaddr
	for _, a := range addrs {
		if rules.Allow(a) && len(list) < c.limits.Addresses {
			list = append(list, a)
		}
	}
	return list
}
