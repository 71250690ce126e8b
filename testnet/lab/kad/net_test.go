// Package kad_test runs the directory of many servers in one process: how many steps
// and messages a lookup takes, what it costs, and what churn and Sybils do to it. The
// figures of docs/scale.md come from here.
//
// The servers are nodes of package dht on a network of the mind, in a bubble of test
// time: a message needs 25 ms each way, and the machine's own slowness no time at all.
package kad_test

import (
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/dht"
	"amesh/identity"
)

const (
	// oneWay is the time of a message from one node to another.
	oneWay = 25 * time.Millisecond
	// settle is how long a table is given to fill.
	settle = time.Minute
	// trail is how long an operation may leave messages behind it.
	trail = 5 * time.Second
	// bootstraps is how many servers a node is told of.
	bootstraps = 3
)

// world is the servers and the nodes that use them.
type world struct {
	t       *testing.T
	mn      mocknet.Mocknet
	servers []*node
	users   []*node
	made    int
}

// node is one member of the directory.
type node struct {
	*dht.Node
	host host.Host
	stop func()
}

// inWorld runs a test in a bubble with a number of servers and users.
func inWorld(t *testing.T, servers, users int, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, mn: mocknet.New()}
		w.mn.SetLinkDefaults(mocknet.LinkOptions{Latency: oneWay})
		for range servers {
			w.servers = append(w.servers, w.join(dht.ModeServer))
		}
		time.Sleep(settle)
		for range users {
			w.users = append(w.users, w.join(dht.ModeClient))
		}
		time.Sleep(settle)
		test(w)
		for _, n := range slices.Concat(w.users, w.servers) {
			n.stop()
		}
		_ = w.mn.Close()
		time.Sleep(time.Minute) // what the library started ends by itself
	})
}

// address is a public one; no two nodes share a network.
func (w *world) address() ma.Multiaddr {
	w.made++
	return ma.StringCast(fmt.Sprintf("/ip4/%d.%d.0.1/tcp/4001", 60+w.made/250, w.made%250))
}

// member is a host that has a link to everybody.
func (w *world) member(key crypto.PrivKey, at ma.Multiaddr) host.Host {
	w.t.Helper()
	h, err := w.mn.AddPeer(key, at)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, other := range w.mn.Peers() {
		if _, err := w.mn.LinkPeers(h.ID(), other); err != nil {
			w.t.Fatal(err)
		}
	}
	return h
}

// limits are those of the product, but without what repeats itself: every message
// counted belongs to the operation under test.
func limits() dht.Limits {
	l := dht.DefaultLimits()
	l.Seen = 1
	l.ProbeEvery, l.ChooseEvery, l.RepublishEvery = 24*time.Hour, 24*time.Hour, 24*time.Hour
	return l
}

// join adds a node that knows three servers.
func (w *world) join(mode dht.Mode) *node {
	w.t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	h := w.member(key, w.address())
	var boot []peer.AddrInfo
	for i := range min(bootstraps, len(w.servers)) {
		s := w.servers[(w.made*7+i*13)%len(w.servers)]
		boot = append(boot, peer.AddrInfo{ID: s.host.ID(), Addrs: s.host.Addrs()})
	}
	return w.run(h, mode, boot)
}

func (w *world) run(h host.Host, mode dht.Mode, boot []peer.AddrInfo) *node {
	w.t.Helper()
	n, err := dht.New(h, dht.Config{Mode: mode, Bootstrap: boot, Limits: limits()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		_ = h.Close()
	})
	return &node{Node: n, host: h, stop: stop}
}

// requests are all that servers have answered so far.
func (w *world) requests() (sum uint64) {
	for _, s := range w.servers {
		sum += s.Status().Requests
	}
	return sum
}

// cost is what an operation took.
type cost struct {
	messages uint64 // requests that servers answered
	hops     int    // longest chain of servers of which each named the next
	took     time.Duration
	err      error
}

// measure runs an operation of a node, and lets everything that it left behind end.
func (w *world) measure(do func(ctx context.Context) error) cost {
	ctx, cancel := context.WithCancel(context.Background())
	ctx, events := routing.RegisterForQueryEvents(ctx)
	hops := make(chan int, 1)
	go func() { hops <- deepest(events) }()
	before, began := w.requests(), time.Now()
	err := do(ctx)
	c := cost{took: time.Since(began), err: err}
	cancel()
	c.hops = <-hops
	time.Sleep(trail)
	c.messages = w.requests() - before
	return c
}

// deepest is how many servers followed one another on the longest way.
func deepest(events <-chan *routing.QueryEvent) int {
	depth := make(map[peer.ID]int)
	most := 0
	for e := range events {
		switch e.Type {
		case routing.SendingQuery:
			if depth[e.ID] == 0 {
				depth[e.ID] = 1 // known at the start
			}
		case routing.PeerResponse:
			most = max(most, depth[e.ID])
			for _, p := range e.Responses {
				if depth[p.ID] == 0 {
					depth[p.ID] = depth[e.ID] + 1
				}
			}
		}
	}
	return most
}

// agent is one whose record is published.
type agent struct {
	key identity.PrivateKey
	raw []byte
}

func (w *world) agent(sequence uint64) agent {
	w.t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return agent{key, w.sign(key, sequence)}
}

func (w *world) sign(key identity.PrivateKey, sequence uint64) []byte {
	w.t.Helper()
	kem, err := mlkem.GenerateKey768()
	if err != nil {
		w.t.Fatal(err)
	}
	exchange := func() [32]byte {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		return [32]byte(k.PublicKey().Bytes())
	}
	from := time.Now().Truncate(time.Second)
	until := from.Add(24 * time.Hour)
	bundle, err := identity.SignBundle(key, identity.Bundle{
		Epoch: 1, Sequence: 1, Created: from, Expires: until,
		Certificate:    identity.KeyCertificate{Exchange: exchange(), Created: from, Expires: until},
		SignedPrekeyID: 1, SignedPrekey: exchange(), KEMKeyID: 1, KEMKey: kem.EncapsulationKey().Bytes(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := identity.SignRecord(key, identity.AgentRecord{
		Sequence: sequence, Created: from, Expires: until, Relays: []string{"wss://relay.example/v1/connect"},
	}, bundle)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// memory is what the process holds in use, in bytes.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// summary is a line of a table.
func summary(name string, costs []cost) string {
	var messages, hops, took []int
	for _, c := range costs {
		messages, hops, took = append(messages, int(c.messages)), append(hops, c.hops), append(took, int(c.took/oneWay/2))
	}
	pick := func(list []int, percent int) int {
		slices.Sort(list)
		return list[min(len(list)*percent/100, len(list)-1)]
	}
	return fmt.Sprintf("%-9s messages p50 %d p95 %d, hops p50 %d max %d, round trips p50 %d p95 %d",
		name, pick(messages, 50), pick(messages, 95), pick(hops, 50), pick(hops, 100), pick(took, 50), pick(took, 95))
}
