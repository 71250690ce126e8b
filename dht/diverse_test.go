package dht

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	ma "github.com/multiformats/go-multiaddr"
)

// T60: a node's table has the servers that it went to, and none that came.
func TestT60WhoComesIsNotInTheTable(t *testing.T) {
	t.Parallel()
	caller, named := newHost(t, plain(t)), newHost(t, plain(t))
	start(t, caller, ModeServer, quick())
	start(t, named, ModeServer, quick())
	h := newHost(t, plain(t))
	n, _ := start(t, h, ModeClient, quick(), info(named))
	if err := caller.Connect(context.Background(), info(h)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the named one is in", func() bool { return n.Status().Peers > 0 })
	if got := n.running.table.RoutingTable().ListPeers(); len(got) != 1 || got[0] != named.ID() {
		t.Errorf("table %v, want only %s", got, named.ID())
	}
}

// T60: sixteen servers of one network come to a node, and four of others. The table
// takes three of the sixteen and all of the others.
func TestT60OneNetworkDoesNotFillTheTable(t *testing.T) {
	t.Parallel()
	mn := mocknet.New()
	t.Cleanup(func() { _ = mn.Close() })
	member := func(at string) host.Host {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		h, err := mn.AddPeer(key, ma.StringCast(at))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := member("/ip4/60.1.0.1/tcp/1")
	n, _ := start(t, h, ModeServer, quick())
	eventually(t, "running", func() bool { return n.Status().Serving })
	crowd, others := make(map[peer.ID]bool), make(map[peer.ID]bool)
	for i := range 20 {
		at, set := fmt.Sprintf("/ip4/61.9.0.%d/tcp/1", i), crowd
		if i >= 16 {
			at, set = fmt.Sprintf("/ip4/62.%d.0.1/tcp/1", i), others
		}
		s := member(at)
		set[s.ID()] = true
		if _, err := mn.LinkPeers(h.ID(), s.ID()); err != nil {
			t.Fatal(err)
		}
		server, _ := start(t, s, ModeServer, quick())
		eventually(t, "running", func() bool { return server.Status().Serving })
		if err := s.Connect(context.Background(), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(set map[peer.ID]bool) (in int) {
		for _, id := range n.running.table.RoutingTable().ListPeers() {
			if set[id] {
				in++
			}
		}
		return in
	}
	eventually(t, "all of the others are in", func() bool { return count(others) == len(others) })
	if in := count(crowd); in == 0 || in > perGroup {
		t.Errorf("%d of one network are in the table, want 1 to %d", in, perGroup)
	}
}
