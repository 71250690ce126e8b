package direct

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"amesh/dht"
	"amesh/identity"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(
			goleak.IgnoreTopFunction("github.com/ipfs/go-log/v2/writer.(*MirrorWriter).logRoutine"), // started on import
		); err != nil {
			os.Stderr.WriteString(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// node is a host with a running Transport and a memory of what happened.
type node struct {
	*Transport
	t      testing.TB
	host   host.Host
	cfg    dht.HostConfig
	events chan event
	got    chan Delivery
	stop   func()
}

type event struct {
	peer string
	up   bool
}

type option func(*dht.HostConfig, *Config)

func listen(addrs ...string) option {
	return func(h *dht.HostConfig, _ *Config) { h.Listen = addrs }
}

func withKey(k identity.PrivateKey) option {
	return func(h *dht.HostConfig, _ *Config) { h.Key = k }
}

func limited(change func(*Limits)) option {
	return func(_ *dht.HostConfig, c *Config) { change(&c.Limits) }
}

// manual leaves the acknowledging to the test.
func manual(deliver func(Delivery)) option {
	return func(_ *dht.HostConfig, c *Config) { c.Deliver = deliver }
}

const (
	quicLoopback = "/ip4/127.0.0.1/udp/0/quic-v1"
	tcpLoopback  = "/ip4/127.0.0.1/tcp/0"
)

func newNode(t testing.TB, opts ...option) *node {
	t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, cfg: dht.HostConfig{Key: key, Listen: []string{quicLoopback, tcpLoopback}},
		events: make(chan event, 64), got: make(chan Delivery, 4096),
	}
	cfg := Config{Limits: DefaultLimits()}
	cfg.OnPeer = func(peerID string, up bool) { n.events <- event{peerID, up} }
	cfg.Deliver = func(d Delivery) {
		n.got <- d
		d.Ack()
	}
	for _, o := range opts {
		o(&n.cfg, &cfg)
	}
	if n.host, err = dht.NewHost(n.cfg); err != nil {
		t.Fatal(err)
	}
	if n.Transport, err = New(n.host, cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := n.host.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	t.Cleanup(n.stop)
	for !slices.Contains(n.host.Mux().Protocols(), Protocol) {
		time.Sleep(time.Millisecond) // Run has no event for "accepting"
	}
	return n
}

func (n *node) id() string { return n.host.ID().String() }

func (n *node) target() Target {
	tg := Target{PeerIDs: []string{n.id()}}
	for _, a := range n.host.Network().ListenAddresses() {
		tg.Addresses = append(tg.Addresses, a.String())
	}
	return tg
}

func (n *node) dial(to Target) {
	n.t.Helper()
	if _, err := n.Dial(budget(n.t), to); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) expect(want event) {
	n.t.Helper()
	select {
	case got := <-n.events:
		if got != want {
			n.t.Fatalf("OnPeer(%+v), want %+v", got, want)
		}
	case <-time.After(20 * time.Second):
		n.t.Fatalf("no OnPeer(%+v)", want)
	}
}

func (n *node) receive() Delivery {
	n.t.Helper()
	select {
	case d := <-n.got:
		return d
	case <-time.After(20 * time.Second):
		n.t.Fatal("nothing delivered")
		return Delivery{}
	}
}

// post sends and returns where done's word arrives.
func (n *node) post(to string, e Envelope) <-chan error {
	n.t.Helper()
	c := make(chan error, 2)
	if err := n.Send(to, e, func(err error) { c <- err }); err != nil {
		n.t.Fatal(err)
	}
	return c
}

func wait(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("done was not called")
		return nil
	}
}

func budget(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// proxy is a UDP wire that can be cut, which is what a killed process or a pulled
// cable looks like from the other side.
type proxy struct {
	addr string
	cut  atomic.Bool
}

// wired puts a proxy before a node that listens with QUIC, and returns the target
// that leads through it.
func wired(t *testing.T, n *node) (*proxy, Target) {
	t.Helper()
	port, err := n.host.Network().ListenAddresses()[0].ValueForProtocol(ma.P_UDP)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, "127.0.0.1:"+port)
	_, front, err := net.SplitHostPort(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	return p, Target{PeerIDs: []string{n.id()}, Addresses: []string{"/ip4/127.0.0.1/udp/" + front + "/quic-v1"}}
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	front, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: front.LocalAddr().String()}
	var wg sync.WaitGroup
	backs := make(map[string]*net.UDPConn)
	wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				for _, b := range backs {
					b.Close()
				}
				return
			}
			back := backs[from.String()]
			if back == nil {
				if back, err = net.DialUDP("udp4", nil, target); err != nil {
					continue
				}
				backs[from.String()] = back
				wg.Go(func() { p.carry(back, front, from) })
			}
			if !p.cut.Load() {
				_, _ = back.Write(buf[:n])
			}
		}
	})
	t.Cleanup(func() {
		front.Close()
		wg.Wait()
	})
	return p
}

func (p *proxy) carry(back *net.UDPConn, front net.PacketConn, to net.Addr) {
	buf := make([]byte, 64<<10)
	for {
		n, err := back.Read(buf)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) { // the target is away for now
				continue
			}
			return
		}
		if !p.cut.Load() {
			_, _ = front.WriteTo(buf[:n], to)
		}
	}
}
