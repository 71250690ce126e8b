package direct

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

func numbered(i, size int) Envelope {
	data := make([]byte, max(size, 4))
	binary.BigEndian.PutUint32(data, uint32(i))
	sum := sha256.Sum256(data)
	return Envelope{From: amid(1), To: amid(2), ID: [idSize]byte(sum[:idSize]), Data: data}
}

func TestEcho(t *testing.T) {
	for _, over := range []string{quicLoopback, tcpLoopback} {
		t.Run(strings.Split(over, "/")[3], func(t *testing.T) {
			a, b := newNode(t, listen(over)), newNode(t, listen(over))
			if a.Open(b.id()) {
				t.Error("open before Dial")
			}
			if err := a.Send(b.id(), letter('x'), nil); !errors.Is(err, ErrNotOpen) {
				t.Errorf("Send before Dial: %v, want ErrNotOpen", err)
			}
			got, err := a.Dial(budget(t), b.target())
			if err != nil {
				t.Fatal(err)
			}
			if got != b.id() || !a.Open(b.id()) {
				t.Errorf("Dial = %s, open %v; want %s", got, a.Open(b.id()), b.id())
			}
			a.expect(event{b.id(), true})
			b.expect(event{a.id(), true}) // by b's own ping

			if err := wait(t, a.post(b.id(), letter('x'))); err != nil {
				t.Errorf("a to b: %v", err)
			}
			d := b.receive()
			want := Delivery{PeerID: a.id(), From: amid(1), To: amid(2), ID: letter('x').ID, Data: []byte("x")}
			addr := d.Addr
			d.Addr, d.Ack = "", nil
			if diff := cmp.Diff(want, d); diff != "" {
				t.Errorf("delivered (-want +got):\n%s", diff)
			}
			if m, err := ma.NewMultiaddr(addr); err != nil || !manet.IsIPLoopback(m) {
				t.Errorf("address %q, want one on loopback", addr)
			}
			// The same stream in the other direction.
			if err := wait(t, b.post(a.id(), letter('y'))); err != nil {
				t.Errorf("b to a: %v", err)
			}
			a.receive()
			a.mu.Lock()
			defer a.mu.Unlock()
			if n := len(a.links[b.host.ID()].streams); n != 1 {
				t.Errorf("%d streams, want 1", n)
			}
			if a.texts[b.id()] != b.host.ID() || len(a.texts) != 1 {
				t.Errorf("texts %v, want that of b", a.texts)
			}
		})
	}
}

func TestThousandInOrder(t *testing.T) {
	const count = 1000
	a, b := newNode(t), newNode(t)
	a.dial(b.target())
	acks := make(chan error, count)
	for i := range count {
		for {
			err := a.Send(b.id(), numbered(i, 1024), func(err error) { acks <- err })
			if err == nil {
				break
			}
			if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
			if err := wait(t, acks); err != nil { // one back, room for one
				t.Fatal(err)
			}
			acks <- nil
			time.Sleep(time.Millisecond)
		}
	}
	for i := range count {
		if got := int(binary.BigEndian.Uint32(b.receive().Data)); got != i {
			t.Fatalf("delivery %d is number %d", i, got)
		}
	}
	for range count {
		if err := wait(t, acks); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-acks:
		t.Error("more acks than envelopes")
	default:
	}
}

func TestLargestEnvelope(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.dial(b.target())
	if err := wait(t, a.post(b.id(), numbered(1, maxEnvelope))); err != nil {
		t.Error(err)
	}
	if got := len(b.receive().Data); got != maxEnvelope {
		t.Errorf("%d bytes delivered, want %d", got, maxEnvelope)
	}
	for _, n := range []int{0, maxEnvelope + 1} {
		if err := a.Send(b.id(), Envelope{Data: make([]byte, n)}, nil); !errors.Is(err, ErrTooLong) {
			t.Errorf("%d bytes: %v, want ErrTooLong", n, err)
		}
	}
}

// A peer that answers pings but never commits.
func TestPeerNeverAcknowledges(t *testing.T) {
	a, b := newNode(t), newNode(t, manual(func(Delivery) {}))
	a.dial(b.target())
	a.expect(event{b.id(), true})
	sent := time.Now()
	one, two := a.post(b.id(), letter('1')), a.post(b.id(), letter('2'))
	for _, c := range []<-chan error{one, two} {
		if err := wait(t, c); !errors.Is(err, ErrNoAck) {
			t.Errorf("done(%v), want ErrNoAck", err)
		}
	}
	if took := time.Since(sent); took < time.Second {
		t.Errorf("given up after %v, want about 1 s", took)
	}
	if a.Open(b.id()) {
		t.Error("path still open")
	}
	a.expect(event{b.id(), false})
	if n := len(a.host.Network().ConnsToPeer(b.host.ID())); n != 0 {
		t.Errorf("%d connections left to a silent peer", n)
	}
}

// T65: the wire is cut, as when the peer's machine loses power. libp2p notices
// after 30 s; we after one, and once it is mended the first dial succeeds.
func TestWireCut(t *testing.T) {
	a, b := newNode(t), newNode(t, listen(quicLoopback))
	wire, target := wired(t, b)
	a.dial(target)
	a.expect(event{b.id(), true})
	if err := wait(t, a.post(b.id(), letter('1'))); err != nil {
		t.Fatal(err)
	}

	wire.cut.Store(true)
	if err := wait(t, a.post(b.id(), letter('2'))); !errors.Is(err, ErrNoAck) {
		t.Errorf("done(%v), want ErrNoAck", err)
	}
	a.expect(event{b.id(), false})

	wire.cut.Store(false)
	a.dial(target)
	if err := wait(t, a.post(b.id(), letter('3'))); err != nil {
		t.Errorf("after mending: %v", err)
	}
}

// The connection is dead but looks alive, and nothing is sent before the dial.
func TestDialProvesAnOpenPath(t *testing.T) {
	a, b := newNode(t), newNode(t, listen(quicLoopback))
	wire, target := wired(t, b)
	a.dial(target)
	a.dial(target) // open already: one more echo
	a.expect(event{b.id(), true})
	wire.cut.Store(true)
	if !a.Open(b.id()) {
		t.Fatal("noticed without a sign")
	}
	direct := b.target() // another way to the same peer
	a.dial(direct)
	if err := wait(t, a.post(b.id(), letter('1'))); err != nil {
		t.Error(err)
	}
}

// A restarted peer is there again on the same port with the same key.
func TestPeerRestarts(t *testing.T) {
	a, b := newNode(t, listen(quicLoopback)), newNode(t, listen(quicLoopback))
	target := b.target()
	a.dial(target)
	a.expect(event{b.id(), true})
	b.stop()
	a.expect(event{b.id(), false})
	for range 2 { // leaves dial back-off behind
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if _, err := a.Dial(short, target); err == nil {
			t.Error("dialled a stopped peer")
		}
		cancel()
	}
	again := newNode(t, withKey(b.cfg.Key), listen(target.Addresses...))
	a.dial(target)
	a.expect(event{b.id(), true})
	if err := wait(t, a.post(again.id(), letter('1'))); err != nil {
		t.Error(err)
	}
}

// A peer that was killed is back with a new connection while the old one still
// looks alive: what is sent next goes by the new one, and the old one's end does
// not take it along.
func TestPeerIsBackBeforeItWasMissed(t *testing.T) {
	a, b := newNode(t), newNode(t, listen(quicLoopback))
	wire, target := wired(t, b)
	a.dial(target)
	a.expect(event{b.id(), true})
	wire.cut.Store(true) // killed, as far as a can tell
	lost := a.post(b.id(), letter('1'))
	again := newNode(t, withKey(b.cfg.Key))
	again.dial(a.target())
	// Its envelope comes behind its pong: now the connection is proven to a as well.
	if err := wait(t, again.post(a.id(), letter('0'))); err != nil {
		t.Fatal(err)
	}
	a.receive()
	if err := wait(t, a.post(b.id(), letter('2'))); err != nil {
		t.Errorf("by the new connection: %v", err)
	}
	if err := wait(t, lost); !errors.Is(err, ErrNoAck) {
		t.Errorf("by the old connection: done(%v), want ErrNoAck", err)
	}
	if err := wait(t, a.post(b.id(), letter('3'))); err != nil {
		t.Errorf("after the old one died: %v", err)
	}
	if got := again.receive(); string(got.Data) != string(letter('2').Data) {
		t.Errorf("received %q", got.Data)
	}
}

func TestBothDialAtOnce(t *testing.T) {
	const count = 100
	a, b := newNode(t), newNode(t)
	var wg sync.WaitGroup
	for _, pair := range [][2]*node{{a, b}, {b, a}, {a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		wg.Go(func() {
			if _, err := from.Dial(budget(t), to.target()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	a.expect(event{b.id(), true})
	b.expect(event{a.id(), true})
	acks := make(chan error, 2*count)
	for i := range count {
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			if err := pair[0].Send(pair[1].id(), numbered(i, 64), func(err error) { acks <- err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 * count {
		if err := wait(t, acks); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*node{a, b} {
		for i := range count {
			if got := int(binary.BigEndian.Uint32(n.receive().Data)); got != i {
				t.Fatalf("delivery %d is number %d", i, got)
			}
		}
	}
	a.mu.Lock()
	n := len(a.links[b.host.ID()].streams)
	a.mu.Unlock()
	if n > 2 {
		t.Errorf("%d streams after two dials from each side, want at most 2", n)
	}
	select {
	case e := <-a.events:
		t.Errorf("OnPeer(%+v) without a cause", e)
	default:
	}
}

// raw opens a stream by hand.
func raw(t *testing.T, from, to *node) network.Stream {
	t.Helper()
	ctx := budget(t)
	m := to.host.Network().ListenAddresses()
	from.host.Peerstore().AddAddrs(to.host.ID(), m, time.Hour)
	s, err := from.host.NewStream(ctx, to.host.ID(), Protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Reset() })
	return s
}

// resetBy reads until the other side resets, and says whether it did.
func resetBy(s network.Stream) bool {
	_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.Copy(io.Discard, s)
	return errors.Is(err, network.ErrReset)
}

func TestStrangersAreReset(t *testing.T) {
	b := newNode(t)
	cases := []struct {
		name string
		say  []byte
	}{
		{"no hello", appendEcho(nil, typePing, [nonceSize]byte{})},
		{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"unknown frame type", append(appendHello(nil), 2, 0, 77)},
		{"oversized frame", append(appendHello(nil), 0xff, 0xff, 0x7f)},
		{"says nothing", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := newNode(t)
			s := raw(t, a, b)
			if c.say == nil { // a lazily opened stream appears at the other side with its first bytes
				c.say = appendHello(nil)[:3]
			}
			if _, err := s.Write(c.say); err != nil {
				t.Fatal(err)
			}
			if !resetBy(s) {
				t.Error("not reset")
			}
			if b.Open(a.id()) {
				t.Error("path open")
			}
		})
	}
}

// T62.
func TestStreamsPerPeer(t *testing.T) {
	a, b := newNode(t), newNode(t, limited(func(l *Limits) { l.StreamsPerPeer = 2 }))
	var kept []network.Stream
	for range 2 {
		s := raw(t, a, b)
		if _, err := s.Write(appendHello(nil)); err != nil {
			t.Fatal(err)
		}
		if f, err := readFrame(bufio.NewReader(s), maxFrame); err != nil || f.kind != typeHello {
			t.Fatalf("%+v, %v, want hello", f, err)
		}
		kept = append(kept, s)
	}
	third := raw(t, a, b)
	if _, err := third.Write(appendHello(nil)); err != nil {
		t.Fatal(err)
	}
	if !resetBy(third) {
		t.Error("third stream of two not reset")
	}
	if len(kept) != 2 {
		t.Errorf("kept %d", len(kept))
	}
}

// T62: strangers leave room for those we dial.
func TestStrangersCannotTakeAllPlaces(t *testing.T) {
	b := newNode(t, limited(func(l *Limits) { l.Peers, l.Reserved = 3, 2 }))
	one, two, three := newNode(t), newNode(t), newNode(t)
	one.dial(b.target())
	if _, err := two.Dial(budget(t), b.target()); err == nil {
		t.Error("a second stranger found a place of one")
	}
	b.dial(two.target())
	b.dial(three.target())
	four := newNode(t)
	if _, err := b.Dial(budget(t), four.target()); !errors.Is(err, ErrBusy) {
		t.Errorf("fourth of three: %v, want ErrBusy", err)
	}
}

func TestDialRefuses(t *testing.T) {
	a, b := newNode(t), newNode(t)
	outside := newNode(t, listen("/ip4/0.0.0.0/udp/0/quic-v1"))
	stranger := newNode(t)
	port := b.target().Addresses[0]
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("/ip4/10.255.255.%d/tcp/1", i))
	}
	cases := []struct {
		name   string
		from   *node
		target Target
		want   error // nil: any
	}{
		{"nobody", a, Target{Addresses: []string{port}}, ErrNoAddress},
		{"no such peer id", a, Target{PeerIDs: []string{"nobody"}, Addresses: []string{port}}, ErrNoAddress},
		{"ourselves", a, a.target(), ErrNoAddress},
		{"no address", a, Target{PeerIDs: []string{stranger.id()}}, ErrNoAddress},
		{"not a multiaddr", a, Target{PeerIDs: []string{stranger.id()}, Addresses: []string{"127.0.0.1:80"}}, ErrNoAddress},
		{"T63 loopback while we listen outside", outside, b.target(), ErrNoAddress},
		{"T63 private networks we are not in", a, Target{PeerIDs: []string{stranger.id()}, Addresses: many}, ErrNoAddress},
		{"address of another peer id", a, Target{PeerIDs: []string{stranger.id()}, Addresses: []string{port + "/p2p/" + b.id()}}, ErrNoAddress},
		{"somebody else answers", a, Target{PeerIDs: []string{stranger.id()}, Addresses: b.target().Addresses}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.from.Dial(budget(t), c.target)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("Dial = %q, %v, want %v", got, err, c.want)
			}
		})
	}
}

// One record may name several nodes of which some are gone.
func TestDialFindsTheOneThatLives(t *testing.T) {
	a, b, gone := newNode(t), newNode(t), newNode(t)
	goneID := gone.id()
	addrs := slices.Concat(gone.target().Addresses, b.target().Addresses)
	gone.stop()
	got, err := a.Dial(budget(t), Target{PeerIDs: []string{goneID, b.id()}, Addresses: addrs})
	if err != nil || got != b.id() {
		t.Errorf("Dial = %s, %v, want %s", got, err, b.id())
	}
}

func TestRunEnds(t *testing.T) {
	a, b := newNode(t), newNode(t, manual(func(Delivery) {}))
	a.dial(b.target())
	a.expect(event{b.id(), true})
	lost := a.post(b.id(), letter('1'))
	a.stop()
	if err := wait(t, lost); !errors.Is(err, ErrNoAck) {
		t.Errorf("done(%v), want ErrNoAck", err)
	}
	a.expect(event{b.id(), false})
	if _, err := a.Dial(budget(t), b.target()); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial: %v, want ErrClosed", err)
	}
	if err := a.Send(b.id(), letter('2'), nil); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Send: %v, want ErrNotOpen", err)
	}
	if len(a.links)+len(a.texts) > 0 {
		t.Errorf("links %v and texts %v are left", a.links, a.texts)
	}
	if err := a.Run(budget(t)); err == nil {
		t.Error("Run twice succeeded")
	}
}

func TestNewRefuses(t *testing.T) {
	a := newNode(t)
	bad := DefaultLimits()
	bad.Reserved = bad.Peers
	deliver := func(Delivery) {}
	if _, err := New(nil, Config{Deliver: deliver}); err == nil {
		t.Error("New without host")
	}
	if _, err := New(a.host, Config{}); err == nil {
		t.Error("New without Deliver")
	}
	if _, err := New(a.host, Config{Deliver: deliver, Limits: bad}); err == nil {
		t.Error("New with all places reserved")
	}
	if _, err := New(a.host, Config{Deliver: deliver, Limits: Limits{Pongs: 1}}); err == nil {
		t.Error("New with most limits zero")
	}
}

func TestEventsAreNewsOnly(t *testing.T) {
	var told []event
	e := newEvents(func(p string, up bool) { told = append(told, event{p, up}) })
	for _, ev := range []event{{"a", true}, {"b", true}, {"a", false}, {"c", false}, {"b", false}, {"b", true}} {
		e.add(ev.peer, ev.up)
	}
	e.flush()
	e.add("b", false)
	e.close()
	e.run()
	want := []event{{"b", true}, {"b", false}}
	if d := cmp.Diff(want, told, cmp.AllowUnexported(event{})); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	if len(e.state)+len(e.told) != 0 {
		t.Errorf("remembers %v and %v of nobody", e.state, e.told)
	}
}

// The owner is shown where a path leads, how it came about, and how far it is.
func TestConnUnderAPath(t *testing.T) {
	a, b := newNode(t), newNode(t)
	if _, ok := a.Conn(b.id()); ok || a.ThroughHole(b.id()) {
		t.Error("a connection before any was made")
	}
	a.dial(b.target())
	at, ok := a.Conn(b.id())
	if !ok || at.Limited || at.Punched || at.Opened.IsZero() {
		t.Fatalf("%+v, %v", at, ok)
	}
	if !slices.Contains(b.target().Addresses, at.Remote) {
		t.Errorf("it leads to %s", at.Remote)
	}
	a.dial(b.target()) // an echo
	if at, _ := a.Conn(b.id()); at.RTT <= 0 || at.RTT > 20*time.Second {
		t.Errorf("the echo took %v", at.RTT)
	}
	a.Punched(b.id(), "/ip4/8.8.8.8/udp/1/quic-v1")
	if at, _ := a.Conn(b.id()); at.Punched || a.ThroughHole(b.id()) {
		t.Error("a hole elsewhere counts for it")
	}
	a.Punched(b.id(), at.Remote)
	if at, _ := a.Conn(b.id()); !at.Punched || !a.ThroughHole(b.id()) {
		t.Error("its hole does not count")
	}
	// Each envelope asks, on both sides.
	id := b.id()
	if n := testing.AllocsPerRun(1000, func() { a.ThroughHole(id) }); n > 0 {
		t.Errorf("%v allocations for the question", n)
	}
	for i := range 2 * a.limits.Peers {
		a.Punched(b.id(), fmt.Sprintf("/ip4/8.8.8.8/udp/%d/quic-v1", i+1))
	}
	if n := len(a.holes); n != a.limits.Peers {
		t.Errorf("%d holes are remembered", n)
	}
}
