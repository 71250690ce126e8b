package dht

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/identity"
)

// drawer is a Memory that outlives nodes.
type drawer struct {
	mu  sync.Mutex
	raw []byte
	err error
}

func (d *drawer) Load() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.raw, d.err
}

func (d *drawer) Save(raw []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.raw = bytes.Clone(raw)
	}
	return d.err
}

// choosy are limits of a node that looks after its table all the time.
func choosy() Limits {
	l := quick()
	l.ChooseEvery = 20 * time.Millisecond
	return l
}

// mesh starts servers that know one another; the first one is everybody's bootstrap.
func mesh(t *testing.T, n int) (hosts []host.Host, stops []func()) {
	t.Helper()
	var boot []peer.AddrInfo
	for range n {
		h := newHost(t, plain(t))
		_, stop := start(t, h, ModeServer, choosy(), boot...)
		hosts, stops = append(hosts, h), append(stops, stop)
		if boot == nil {
			boot = []peer.AddrInfo{info(h)}
		}
	}
	return hosts, stops
}

// published waits until a record is confirmed; what is not at once, Run tries again.
func published(t *testing.T, n *Node, key identity.PrivateKey) {
	t.Helper()
	if err := n.Publish(budget(t), signRecord(t, key, 1, fresh())); err != nil && !errors.Is(err, ErrUnconfirmed) {
		t.Fatal(err)
	}
	eventually(t, "confirmed", func() bool { _, ok := n.Confirmed(key.AMID()); return ok })
}

// The server that the owner named is gone; the ones learned from it lead back.
func TestTableSurvivesARestart(t *testing.T) {
	t.Parallel()
	hosts, stops := mesh(t, 4)
	memory, key := &drawer{}, newKey(t)
	cfg := Config{Limits: choosy(), Bootstrap: []peer.AddrInfo{info(hosts[0])}, Memory: memory}
	n, stop := startWith(t, newHost(t, plain(t)), cfg)
	published(t, n, key)
	eventually(t, "three servers chosen", func() bool { return n.Status().Chosen == 3 })
	stop()
	stops[0]()
	_ = hosts[0].Close()

	again, _ := startWith(t, newHost(t, plain(t)), cfg)
	eventually(t, "found without the bootstrap server", func() bool {
		rec, err := again.Find(budget(t), key.AMID())
		return err == nil && rec.Sequence == 1
	})
	forgetful, _ := start(t, newHost(t, plain(t)), ModeClient, shortFind(), info(hosts[0]))
	if _, err := forgetful.Find(budget(t), key.AMID()); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a memory: got %v, want ErrNoServer", err)
	}
}

func shortFind() Limits {
	l := quick()
	l.FindTimeout = time.Second
	return l
}

// T60: whoever fills the table by coming to us does not choose whom we ask.
func TestT60FourServersAreOurOwnChoice(t *testing.T) {
	t.Parallel()
	hosts, _ := mesh(t, 7)
	n, _ := start(t, newHost(t, plain(t)), ModeClient, choosy(), info(hosts[0]))
	eventually(t, "it has met the others", func() bool {
		_, err := n.Find(budget(t), newKey(t).AMID())
		return errors.Is(err, ErrNotFound)
	})
	eventually(t, "four chosen", func() bool { return n.Status().Chosen == 4 })
	out := 0
	for _, c := range n.host.Network().Conns() {
		if c.RemotePeer() != hosts[0].ID() && c.Stat().Direction == network.DirOutbound && n.host.ConnManager().IsProtected(c.RemotePeer(), chosenTag) {
			out++
		}
	}
	if out < 4 {
		t.Errorf("%d protected connections that we made, want 4", out)
	}
}

func TestBrokenMemoryIsNoObstacle(t *testing.T) {
	t.Parallel()
	hosts, _ := mesh(t, 2)
	for name, raw := range map[string]string{
		"not JSON":      "{",
		"other version": `{"version":2,"servers":[]}`,
		"bad address":   `{"version":1,"servers":["/ip4/127.0.0.1/tcp/1"]}`,
		"too long":      fmt.Sprintf(`{"version":1,"servers":[%70000q]}`, "x"),
	} {
		if _, err := parseServers([]byte(raw)); err == nil {
			t.Errorf("%s: read", name)
		}
		memory := &drawer{raw: []byte(raw)}
		n, stop := startWith(t, newHost(t, plain(t)), Config{Limits: choosy(), Bootstrap: []peer.AddrInfo{info(hosts[0])}, Memory: memory})
		eventually(t, name+": a server chosen", func() bool { return n.Status().Chosen == 1 })
		stop()
		if list, err := parseServers(memory.raw); err != nil || len(list) != 2 {
			t.Errorf("%s: saved %s, %v", name, memory.raw, err)
		}
	}
	deaf := &drawer{err: errors.New("disk on fire")}
	_, stop := startWith(t, newHost(t, plain(t)), Config{Limits: choosy(), Memory: deaf})
	stop()
}

// T59: a server that kept an old record, and shows that one, is not believed.
func TestT59OlderRecordIsNotBelieved(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	older, newer := signRecord(t, key, 1, fresh()), signRecord(t, key, 2, fresh())
	liar := newHost(t, plain(t))
	lie(t, liar, older)
	var ahead atomic.Int64
	n, _ := startWith(t, newHost(t, plain(t)), Config{Limits: quick(), Bootstrap: []peer.AddrInfo{info(liar)},
		Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	eventually(t, "the only record there is", func() bool {
		rec, err := n.Find(budget(t), key.AMID())
		return err == nil && rec.Sequence == 1
	})
	if _, err := n.newest(newer, key.AMID()); err != nil {
		t.Fatal(err)
	}
	if rec, err := n.Find(budget(t), key.AMID()); err != nil || rec.Sequence != 2 {
		t.Errorf("got %v, %v; want the newer one", rec, err)
	}
	ahead.Store(int64(2 * time.Hour))
	if _, err := n.Find(budget(t), key.AMID()); err == nil {
		t.Error("what was found before is believed after its time")
	}
}

func TestLookupFallsBackToTheRecordFoundBefore(t *testing.T) {
	t.Parallel()
	hosts, stops := mesh(t, 1)
	key := newKey(t)
	n, _ := start(t, newHost(t, plain(t)), ModeClient, shortFind(), info(hosts[0]))
	published(t, n, key)
	eventually(t, "found", func() bool { _, err := n.Find(budget(t), key.AMID()); return err == nil })
	stops[0]()
	_ = hosts[0].Close()
	if rec, err := n.Find(budget(t), key.AMID()); err != nil || rec.Sequence != 1 {
		t.Errorf("got %v, %v", rec, err)
	}
	if _, err := n.Find(budget(t), newKey(t).AMID()); !errors.Is(err, ErrNoServer) {
		t.Errorf("somebody else: got %v, want ErrNoServer", err)
	}
}

func TestSeenIsBounded(t *testing.T) {
	s := newSeen(2)
	for range 5 {
		key := newKey(t)
		rec, err := checkRecord(signRecord(t, key, 1, fresh()), key.AMID(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.see(rec)
		s.see(rec)
	}
	if len(s.records) != 2 || len(s.order) != 2 {
		t.Errorf("%d records, %d in order, want 2", len(s.records), len(s.order))
	}
}

// A node serves the table while it is reachable from outside, and not before.
func TestNodeServesWhenItIsReachable(t *testing.T) {
	t.Parallel()
	h := newHost(t, plain(t))
	n, _ := start(t, h, ModeAuto, quick())
	eventually(t, "started", func() bool { _, _, leave, err := n.enter(budget(t), time.Second); leave(); return err == nil })
	if n.Status().Serving {
		t.Error("serves before anybody said that it can be reached")
	}
	said, err := h.EventBus().Emitter(new(event.EvtLocalReachabilityChanged))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	for _, step := range []struct {
		r    network.Reachability
		want bool
	}{{network.ReachabilityPublic, true}, {network.ReachabilityPrivate, false}} {
		if err := said.Emit(event.EvtLocalReachabilityChanged{Reachability: step.r}); err != nil {
			t.Fatal(err)
		}
		eventually(t, step.r.String(), func() bool { return n.Status().Serving == step.want })
	}
}

func TestModes(t *testing.T) {
	for _, m := range []Mode{ModeClient, ModeServer, ModeAuto} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%s is read as %s, %v", m, got, err)
		}
	}
	if _, err := ParseMode("Server"); err == nil {
		t.Error("a mode that does not exist was read")
	}
}

// T60: the diversity of networks is asked for wherever it can be had.
func TestT60LabIsNotTheWorld(t *testing.T) {
	addr := func(s string) ma.Multiaddr {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	all, loopback := addr("/ip4/0.0.0.0/tcp/1"), addr("/ip4/127.0.0.1/tcp/1")
	at := func(s string) peer.AddrInfo { return peer.AddrInfo{ID: "x", Addrs: []ma.Multiaddr{addr(s)}} }
	for name, c := range map[string]struct {
		listen ma.Multiaddr
		boot   []peer.AddrInfo
		want   bool
	}{
		"on loopback":           {loopback, nil, true},
		"a relay for the world": {all, nil, false},
		"private servers":       {all, []peer.AddrInfo{at("/ip4/10.0.0.1/tcp/1")}, true},
		"one public server":     {all, []peer.AddrInfo{at("/ip4/10.0.0.1/tcp/1"), at("/ip4/8.8.8.8/tcp/1")}, false},
	} {
		if got := inLab([]ma.Multiaddr{c.listen}, c.boot); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
