package dht

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"amesh/identity"
)

func TestFoundThroughOneServer(t *testing.T) {
	ctx := budget(t)
	server, a, b := newHost(t, plain(t)), newHost(t, plain(t)), newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	publisher, _ := start(t, a, ModeClient, quick(), info(server))
	finder, _ := start(t, b, ModeClient, quick(), info(server))
	key := newKey(t)

	if _, err := finder.Find(ctx, key.AMID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find before publication = %v, want ErrNotFound", err)
	}
	if err := publisher.Publish(ctx, signRecord(t, key, 1, fresh())); err != nil {
		t.Fatal(err)
	}
	rec, err := finder.Find(ctx, key.AMID())
	if err != nil {
		t.Fatal(err)
	}
	if rec.AMID != key.AMID() || rec.Sequence != 1 {
		t.Errorf("found %s sequence %d", rec.AMID, rec.Sequence)
	}

	newer := signRecord(t, key, 2, fresh())
	if err := publisher.Publish(ctx, newer); err != nil {
		t.Fatal(err)
	}
	if rec, err = finder.Find(ctx, key.AMID()); err != nil || rec.Sequence != 2 {
		t.Errorf("Find after update = %v, %v, want sequence 2", rec, err)
	}
	at, ok := publisher.Confirmed(key.AMID())
	if !ok || time.Since(at) > time.Minute {
		t.Errorf("Confirmed = %v, %v", at, ok)
	}
	want := Status{
		Mode: ModeClient, Peers: 1, Servers: 1, LastConfirmed: at,
		Published: []Published{{AMID: key.AMID(), Sequence: 2, Expires: rec.Expires, Confirmed: at}},
	}
	if d := cmp.Diff(want, publisher.Status()); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
}

func TestProtocolIsOurs(t *testing.T) {
	server, a := newHost(t, plain(t)), newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	node, _ := start(t, a, ModeClient, quick(), info(server))
	eventually(t, "connected", func() bool { return node.Status().Peers == 1 })
	got, err := a.Peerstore().SupportsProtocols(server.ID(), "/amesh/kad/1.0.0", "/ipfs/kad/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]protocol.ID{"/amesh/kad/1.0.0"}, got); d != "" {
		t.Errorf("server speaks (-want +got):\n%s", d)
	}
}

func TestPublishRefuses(t *testing.T) {
	ctx := budget(t)
	server, a := newHost(t, plain(t)), newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	node, _ := start(t, a, ModeClient, quick(), info(server))
	key := newKey(t)
	if err := node.Publish(ctx, signRecord(t, key, 5, fresh())); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * time.Hour)
	forged := signRecord(t, key, 6, fresh())
	forged[60] ^= 1
	cases := []struct {
		name string
		raw  []byte
		want error
	}{
		{"older than our last", signRecord(t, key, 4, fresh()), ErrOlder},
		{"expired", signRecord(t, newKey(t), 1, life{past, past.Add(time.Hour)}), identity.ErrRecordExpired},
		{"forged", forged, identity.ErrSignature},
		{"oversized", make([]byte, identity.MaxRecordSize+1), ErrRecord},
	}
	for _, c := range cases {
		if err := node.Publish(ctx, c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: Publish = %v, want %v", c.name, err, c.want)
		}
	}
	if got := node.Status().Published; len(got) != 1 || got[0].Sequence != 5 {
		t.Errorf("published %v, want sequence 5 only", got)
	}
}

// A node restored from a backup signs sequences that the mesh has seen.
func TestOlderThanTheMeshKnows(t *testing.T) {
	ctx := budget(t)
	server, a, b := newHost(t, plain(t)), newHost(t, plain(t)), newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	before, _ := start(t, a, ModeClient, quick(), info(server))
	restored, _ := start(t, b, ModeClient, quick(), info(server))
	key := newKey(t)
	if err := before.Publish(ctx, signRecord(t, key, 9, fresh())); err != nil {
		t.Fatal(err)
	}
	if err := restored.Publish(ctx, signRecord(t, key, 3, fresh())); !errors.Is(err, ErrOlder) {
		t.Errorf("Publish = %v, want ErrOlder", err)
	}
	if got := restored.Status().Published; len(got) != 0 {
		t.Errorf("still publishes %v", got)
	}
	if rec, err := restored.Find(ctx, key.AMID()); err != nil || rec.Sequence != 9 {
		t.Errorf("Find = %v, %v, want sequence 9", rec, err)
	}
}

// A put to a dead server succeeds in the library; here it must not.
func TestDeadServerConfirmsNothing(t *testing.T) {
	ctx := budget(t)
	server, a := newHost(t, plain(t)), newHost(t, plain(t))
	_, stop := start(t, server, ModeServer, quick())
	limits := quick()
	limits.PutTimeout, limits.FindTimeout = time.Second, time.Second
	node, _ := start(t, a, ModeClient, limits, info(server))
	eventually(t, "connected", func() bool { return node.Status().Peers == 1 })
	stop()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	if err := node.Publish(ctx, signRecord(t, key, 1, fresh())); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("Publish = %v, want ErrUnconfirmed", err)
	}
	if at, ok := node.Confirmed(key.AMID()); ok {
		t.Errorf("confirmed at %v by nobody", at)
	}
	if got := node.Status(); len(got.Published) != 1 || got.Servers != 0 {
		t.Errorf("status %+v, want the record remembered and no server", got)
	}
	if _, err := node.Find(ctx, newKey(t).AMID()); !errors.Is(err, ErrNoServer) {
		t.Errorf("Find = %v, want ErrNoServer", err)
	}
}

// A relay comes back with the same key and port and without its records.
func TestServerRestarts(t *testing.T) {
	ctx := budget(t)
	cfg := plain(t)
	first := newHost(t, cfg)
	a, b := newHost(t, plain(t)), newHost(t, plain(t))
	bootstrap := info(first)
	_, stop := start(t, first, ModeServer, quick())
	publisher, _ := start(t, a, ModeClient, quick(), bootstrap)
	finder, _ := start(t, b, ModeClient, quick(), bootstrap)
	key := newKey(t)
	if err := publisher.Publish(ctx, signRecord(t, key, 1, fresh())); err != nil {
		t.Fatal(err)
	}

	stop()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "loss noticed", func() bool { return publisher.Status().Servers == 0 })
	cfg.Listen = nil
	for _, m := range bootstrap.Addrs {
		cfg.Listen = append(cfg.Listen, m.String())
	}
	second := newHost(t, cfg)
	start(t, second, ModeServer, quick())

	eventually(t, "found again", func() bool {
		rec, err := finder.Find(ctx, key.AMID())
		return err == nil && rec.Sequence == 1
	})
}

// The server was never there; everything works once it comes.
func TestServerComesLate(t *testing.T) {
	ctx := budget(t)
	cfg := plain(t)
	probe := newHost(t, cfg) // only to learn free ports
	bootstrap := info(probe)
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	limits := quick()
	limits.PutTimeout = 100 * time.Millisecond
	node, _ := start(t, newHost(t, plain(t)), ModeClient, limits, bootstrap)
	key := newKey(t)
	if err := node.Publish(ctx, signRecord(t, key, 1, fresh())); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("Publish = %v, want ErrUnconfirmed", err)
	}
	cfg.Listen = nil
	for _, m := range bootstrap.Addrs {
		cfg.Listen = append(cfg.Listen, m.String())
	}
	start(t, newHost(t, cfg), ModeServer, quick())
	eventually(t, "confirmed by itself", func() bool { _, ok := node.Confirmed(key.AMID()); return ok })
}

func TestRepublishedAtThePeriod(t *testing.T) {
	ctx := budget(t)
	server := newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	limits := quick()
	limits.RepublishEvery = 50 * time.Millisecond
	node, _ := start(t, newHost(t, plain(t)), ModeClient, limits, info(server))
	key := newKey(t)
	if err := node.Publish(ctx, signRecord(t, key, 1, fresh())); err != nil {
		t.Fatal(err)
	}
	was, _ := node.Confirmed(key.AMID())
	eventually(t, "published again", func() bool { at, _ := node.Confirmed(key.AMID()); return at.After(was) })
	node.Withdraw(key.AMID())
	if got := node.Status().Published; len(got) != 0 {
		t.Errorf("published after Withdraw: %v", got)
	}
}

func TestExpiredIsDropped(t *testing.T) {
	ctx := budget(t)
	server := newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	var later atomic.Int64 // hours
	limits := quick()
	limits.RepublishEvery = 20 * time.Millisecond
	node, _ := startWith(t, newHost(t, plain(t)), Config{
		Bootstrap: []peer.AddrInfo{info(server)}, Limits: limits,
		Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load()) * time.Hour) },
	})
	if err := node.Publish(ctx, signRecord(t, newKey(t), 1, fresh())); err != nil {
		t.Fatal(err)
	}
	if got := node.Status().Published; len(got) != 1 {
		t.Fatalf("published %v, want one", got)
	}
	later.Store(2)
	eventually(t, "dropped", func() bool { return len(node.Status().Published) == 0 })
}

// The first thing a program does is to look somebody up: the table is empty then.
func TestFindAtOnce(t *testing.T) {
	ctx := budget(t)
	server := newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	publisher, _ := start(t, newHost(t, plain(t)), ModeClient, quick(), info(server))
	key := newKey(t)
	if err := publisher.Publish(ctx, signRecord(t, key, 1, fresh())); err != nil {
		t.Fatal(err)
	}
	finder, err := New(newHost(t, plain(t)), Config{Bootstrap: nil, Limits: quick()})
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan error, 1)
	late, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := finder.host.Connect(ctx, info(server)); err != nil {
		t.Fatal(err)
	}
	go func() { // before Run
		_, err := finder.Find(ctx, key.AMID())
		found <- err
	}()
	done := make(chan error, 1)
	go func() { done <- finder.Run(late) }()
	if err := <-found; err != nil {
		t.Errorf("Find = %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestNobodyToAsk(t *testing.T) {
	ctx := budget(t)
	node, stop := start(t, newHost(t, plain(t)), ModeClient, quick())
	began := time.Now()
	if _, err := node.Find(ctx, newKey(t).AMID()); !errors.Is(err, ErrNoServer) {
		t.Errorf("Find = %v, want ErrNoServer", err)
	}
	if err := node.Publish(ctx, signRecord(t, newKey(t), 1, fresh())); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("Publish = %v, want ErrUnconfirmed", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v although there is nobody to wait for", took)
	}
	stop()
	if _, err := node.Find(ctx, newKey(t).AMID()); !errors.Is(err, ErrClosed) {
		t.Errorf("Find after Run = %v, want ErrClosed", err)
	}
	if err := node.Publish(ctx, signRecord(t, newKey(t), 1, fresh())); !errors.Is(err, ErrClosed) {
		t.Errorf("Publish after Run = %v, want ErrClosed", err)
	}
	if err := node.Run(ctx); err == nil {
		t.Error("Run twice succeeded")
	}
}

// A server that is alone has nobody to confirm what it keeps.
func TestLoneServer(t *testing.T) {
	ctx := budget(t)
	server, _ := start(t, newHost(t, plain(t)), ModeServer, quick())
	key := newKey(t)
	if _, err := server.Find(ctx, key.AMID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find = %v, want ErrNotFound", err)
	}
	if err := server.Publish(ctx, signRecord(t, key, 1, fresh())); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("Publish = %v, want ErrUnconfirmed", err)
	}
	if rec, err := server.Find(ctx, key.AMID()); err != nil || rec.Sequence != 1 {
		t.Errorf("Find = %v, %v, want its own", rec, err)
	}
	client, _ := start(t, newHost(t, plain(t)), ModeClient, quick(), info(server.host))
	if rec, err := client.Find(ctx, key.AMID()); err != nil || rec.Sequence != 1 {
		t.Errorf("Find by a client = %v, %v, want it too", rec, err)
	}
}

// T58, T59: what a dishonest client writes past our own checks is refused by the
// server, and what a dishonest server hands out is refused by the reader.
func TestDishonestOthers(t *testing.T) {
	ctx := budget(t)
	server, a := newHost(t, plain(t)), newHost(t, plain(t))
	start(t, server, ModeServer, quick())
	node, _ := start(t, a, ModeClient, quick(), info(server))
	key, stranger := newKey(t), newKey(t)
	if err := node.Publish(ctx, signRecord(t, key, 5, fresh())); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	forged := bytes.Clone(signRecord(t, key, 6, fresh()))
	forged[60] ^= 1
	attempts := []struct {
		name string
		key  string
		raw  []byte
	}{
		{"foreign", recordKey(stranger.AMID()), signRecord(t, key, 7, fresh())},
		{"forged", recordKey(key.AMID()), forged},
		{"expired", recordKey(stranger.AMID()), signRecord(t, stranger, 1, life{past, past.Add(time.Hour)})},
		{"oversized", recordKey(key.AMID()), make([]byte, identity.MaxRecordSize+1)},
		{"older", recordKey(key.AMID()), signRecord(t, key, 4, fresh())},
		{"another namespace", "/pk/abc", []byte("x")},
	}
	eventually(t, "in the table", func() bool { return node.Status().Peers == 1 })
	ask := node.running.ask
	for _, c := range attempts {
		if err := ask.PutValue(ctx, server.ID(), putRecord(c.key, c.raw)); err == nil {
			t.Errorf("%s: the server took it", c.name)
		}
	}
	if rec, err := node.Find(ctx, key.AMID()); err != nil || rec.Sequence != 5 {
		t.Errorf("Find = %v, %v, want sequence 5", rec, err)
	}

	liar := newHost(t, plain(t))
	lie(t, liar, forged)
	reader, _ := start(t, newHost(t, plain(t)), ModeClient, quick(), info(liar))
	if rec, err := reader.Find(ctx, key.AMID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find at a liar = %v, %v, want ErrNotFound", rec, err)
	}
	if err := reader.Publish(ctx, signRecord(t, key, 8, fresh())); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("Publish at a liar = %v, want ErrUnconfirmed", err)
	}
}

func TestTwoServers(t *testing.T) {
	ctx := budget(t)
	one, two := newHost(t, plain(t)), newHost(t, plain(t))
	first, _ := start(t, one, ModeServer, quick())
	second, _ := start(t, two, ModeServer, quick(), info(one), info(two)) // its own name is skipped
	eventually(t, "servers know each other", func() bool { return first.Status().Peers == 1 && second.Status().Peers == 1 })
	publisher, _ := start(t, newHost(t, plain(t)), ModeClient, quick(), info(one))
	finder, _ := start(t, newHost(t, plain(t)), ModeClient, quick(), info(two))
	key := newKey(t)
	if err := publisher.Publish(ctx, signRecord(t, key, 1, fresh())); err != nil {
		t.Fatal(err)
	}
	if _, err := finder.Find(ctx, key.AMID()); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	h := newHost(t, plain(t))
	bad := DefaultLimits()
	bad.FindTimeout = 0
	cases := []struct {
		name string
		host host.Host
		cfg  Config
	}{
		{"no host", nil, Config{}},
		{"unknown mode", h, Config{Mode: 7}},
		{"limit of zero", h, Config{Limits: bad}},
	}
	for _, c := range cases {
		if _, err := New(c.host, c.cfg); err == nil {
			t.Errorf("%s: New succeeded", c.name)
		}
	}
}
