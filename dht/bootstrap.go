package dht

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// bootstrapTag protects connections to bootstrap servers from being trimmed.
const bootstrapTag = "amesh-bootstrap"

// keep holds the connection to one bootstrap server. The library would not: its
// table loses a restarted server and doesn't find it again by itself.
func (n *Node) keep(ctx context.Context, p peer.AddrInfo, kick <-chan struct{}) {
	n.host.ConnManager().Protect(p.ID, bootstrapTag)
	defer n.host.ConnManager().Unprotect(p.ID, bootstrapTag)

	wait := n.newBackoff()
	up := false
	for ctx.Err() == nil {
		pause := n.limits.ProbeEvery
		before := connIDs(n.host, p.ID)
		var now map[string]bool
		if n.reach(ctx, p) {
			now = connIDs(n.host, p.ID)
			// A connection that was lost and made again in one breath may lead to a new process.
			if !up || !kept(before, now) {
				n.log.Info("dht server connected", "peer", p.ID.String())
				n.serverBack(p.ID)
			}
			up = true
			wait.Reset()
		} else {
			if up {
				n.log.Info("dht server lost", "peer", p.ID.String())
			}
			up = false
			pause = wait.NextBackOff()
		}
		n.pause(ctx, pause, kick)
		up = up && kept(now, connIDs(n.host, p.ID)) // also one that is back already
	}
}

// reach makes sure that p answers. A dead QUIC connection looks alive for 30 s
// and would be used for dialling too, so one without an answer is closed.
func (n *Node) reach(ctx context.Context, p peer.AddrInfo) bool {
	if n.host.Network().Connectedness(p.ID) == network.Connected {
		if n.probe(ctx, p.ID) {
			return true
		}
		if ctx.Err() == nil {
			_ = n.host.Network().ClosePeer(p.ID)
		}
	}
	ClearDialBackoff(n.host, p.ID)
	dial, cancel := context.WithTimeout(ctx, n.limits.DialTimeout)
	defer cancel()
	if err := n.host.Connect(dial, p); err != nil {
		n.log.Debug("dht server not reached", "peer", p.ID.String(), "err", err)
		return false
	}
	return n.probe(ctx, p.ID)
}

// probe asks for a sign of life in the table's own protocol and puts p back into
// the table, from which one failed query removes it for good.
func (n *Node) probe(ctx context.Context, p peer.ID) bool {
	ctx, run, leave, err := n.enter(ctx, n.limits.ProbeTimeout)
	if err != nil {
		return false
	}
	defer leave()
	if err := run.table.Ping(ctx, p); err != nil {
		n.log.Debug("dht server silent", "peer", p.String(), "err", err)
		return false
	}
	if _, err := run.table.RoutingTable().TryAddPeer(p, true, true); err != nil {
		n.log.Debug("dht server not in the table", "peer", p.String(), "err", err)
	}
	return true
}

// serverBack is told when a server was connected: it may have restarted and lost
// every record, and if it is back, the network may be back for the others too.
func (n *Node) serverBack(back peer.ID) {
	signal(n.again)
	signal(n.allTopics)
	for id, kick := range n.kicks {
		if id != back && n.host.Network().Connectedness(id) != network.Connected {
			signal(kick)
		}
	}
}

// pause waits for d or for a change of the connection.
func (n *Node) pause(ctx context.Context, d time.Duration, kick <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-kick:
	}
}

// kept reports whether one of the connections is still there.
func kept(before, after map[string]bool) bool {
	for id := range before {
		if after[id] {
			return true
		}
	}
	return false
}

func connIDs(h host.Host, p peer.ID) map[string]bool {
	ids := make(map[string]bool)
	for _, c := range h.Network().ConnsToPeer(p) {
		ids[c.ID()] = true
	}
	return ids
}

// kick is called by the network for every connection that comes or goes.
func (n *Node) kick(p peer.ID) {
	if c, ok := n.kicks[p]; ok {
		signal(c)
	}
}

// ClearDialBackoff forgets failed dials to p. The library refuses to dial for
// seconds after a failure, although the peer may be back; whoever has a reason
// to believe so calls this first.
func ClearDialBackoff(h host.Host, p peer.ID) {
	if s, ok := h.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p)
	}
}
