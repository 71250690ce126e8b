package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/node/api"
	"amesh/node/direct"
	"amesh/node/path"
)

// yard is a node whose direct connections a test switches.
type yard struct {
	*running
	nearby // of the node that runs

	mu    sync.Mutex
	mesh  *mesh
	shut  bool                     // no dial succeeds
	black bool                     // what is sent direct is lost, and nobody says so
	mute  bool                     // it arrives, and nobody hears so
	only  func(direct.Target) bool // the targets that can be dialled; nil: all
}

// quick are limits with which a path is climbed many times in a second.
func quick() path.Limits {
	l := path.DefaultLimits()
	l.Dial = path.Backoff{First: 10 * time.Millisecond, Factor: 2, Most: 50 * time.Millisecond}
	l.Hold, l.HoldMost = 10*time.Millisecond, 20*time.Millisecond
	return l
}

func newYard(t *testing.T, cfg Config) *yard {
	t.Helper()
	y := &yard{}
	cfg.climb = quick()
	cfg.built = func(m *mesh) {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.mesh, y.nearby = m, m.transport
		m.rooms[0].paths.direct = y
	}
	y.running = startNode(t, cfg)
	return y
}

func (y *yard) Dial(ctx context.Context, target direct.Target) (string, error) {
	y.mu.Lock()
	shut := y.shut || y.only != nil && !y.only(target)
	y.mu.Unlock()
	if shut {
		return "", errors.New("the road is closed")
	}
	return y.nearby.Dial(ctx, target)
}

// Send loses what it is given while the road is black, or its acknowledgement while it is
// mute: who sent it hears of that when the connection is given up, a second later.
func (y *yard) Send(peerID string, e direct.Envelope, done func(error)) error {
	y.mu.Lock()
	black, mute := y.black, y.mute
	y.mu.Unlock()
	switch {
	case mute:
		if err := y.nearby.Send(peerID, e, func(error) {}); err != nil {
			return err
		}
	case !black:
		return y.nearby.Send(peerID, e, done)
	}
	time.AfterFunc(direct.DefaultLimits().AckTimeout, func() {
		y.cut(peerID)
		done(direct.ErrNoAck)
	})
	return nil
}

func (y *yard) set(shut, black bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.shut, y.black = shut, black
}

// silence has acknowledgements lost.
func (y *yard) silence(on bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.mute = on
}

// holesOnly lets no dial succeed but that of one address, as a hole is.
func (y *yard) holesOnly() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.only = func(target direct.Target) bool { return len(target.Addresses) == 1 }
}

// cut ends all connections with a peer.
func (y *yard) cut(peerID string) {
	if id, err := peer.Decode(peerID); err == nil {
		_ = y.mesh.host.Network().ClosePeer(id)
	}
}

func (y *yard) id() string { return y.mesh.host.ID().String() }

// by is the path to another yard.
func (y *yard) by(to *yard) api.PathKind { return y.mesh.rooms[0].paths.by(to.amid) }

func directly(k api.PathKind) bool { return k == api.PathDirect || k == api.PathPunched }

// everything reads the whole inbox.
func (y *yard) everything() []string {
	y.t.Helper()
	var list []string
	q := api.InboxQuery{All: true, Limit: 500}
	for {
		page, err := y.api.Inbox(y.t.Context(), "", q)
		if err != nil {
			y.t.Fatal(err)
		}
		for _, item := range page.Items {
			m, err := y.api.Read(y.t.Context(), "", item.ID, 0)
			if err != nil {
				y.t.Fatal(err)
			}
			list = append(list, string(m.Body))
		}
		if page.Next == "" {
			return list
		}
		q.Cursor = page.Next
	}
}

// talk sends numbered messages until stop, and returns how many; every one was accepted.
func (y *yard) talk(ctx context.Context, to *yard, pause time.Duration) (sent int) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return sent
		case <-tick.C:
		}
		req := api.SendRequest{To: to.amid.String(), Body: fmt.Appendf(nil, "%d", sent), Wait: api.StateAccepted}
		if _, err := y.api.Send(y.t.Context(), "", req, ""); err != nil {
			y.t.Errorf("send: %v", err)
			return sent
		}
		sent++
	}
}

// counted waits for so many messages behind the first ones, and checks that each came
// once and in order.
func (y *yard) counted(first, sent int) {
	y.t.Helper()
	eventually(y.t, "every message", func() bool {
		n, err := y.mesh.rooms[0].agent.Counts()
		return err == nil && n.Unread >= first+sent
	})
	got := y.everything()
	for i, body := range got[first:] {
		if body != fmt.Sprint(i) {
			y.t.Fatalf("message %d says %q", i, body)
		}
	}
	if len(got) != first+sent {
		y.t.Errorf("%d messages came, %d were sent", len(got), first+sent)
	}
}

// yards are two nodes with a direct path, after one message from a to b.
func yards(t *testing.T) (s *station, a, b *yard) {
	t.Helper()
	s = newStation(t)
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}}
	a, b = newYard(t, cfg), newYard(t, cfg)
	b.running.set("strangers", "accept")
	eventually(t, "bob's record", func() bool { _, err := s.find(b.amid); return err == nil })
	a.send(b.running, "hello", api.SendRequest{})
	eventually(t, "a direct path", func() bool { return directly(a.by(b)) && directly(b.by(a)) })
	return s, a, b
}

// T65, CP 36: a hundred times the path between two nodes that talk is cut, closed, swallows
// what it is given or what comes back, some times while the relay is away, too; nothing is
// lost and nothing comes twice.
func TestT65HundredForcedSwitches(t *testing.T) {
	s, a, b := yards(t)
	straight := func() bool { return directly(a.by(b)) && directly(b.by(a)) }
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var fromA, fromB int
	wg.Go(func() { fromA = a.talk(ctx, b, 15*time.Millisecond) })
	wg.Go(func() { fromB = b.talk(ctx, a, 15*time.Millisecond) })
	for i := range 100 {
		cutter, other := a, b
		if i%2 == 1 {
			cutter, other = b, a
		}
		switch {
		case i%25 == 10: // swallowed
			cutter.set(false, true)
			eventually(t, "the relay after a second", func() bool { return !directly(cutter.by(other)) })
			cutter.set(false, false)
		case i%25 == 15: // all of it comes, and then once more by relay
			cutter.silence(true)
			eventually(t, "the relay after a second", func() bool { return !directly(cutter.by(other)) })
			cutter.silence(false)
		case i%25 == 20: // and the relay is away
			a.set(true, false)
			b.set(true, false)
			s.end()
			cutter.cut(other.id())
			eventually(t, "no path", func() bool { return !straight() })
			a.set(false, false)
			b.set(false, false)
			eventually(t, "a direct path without the relay", straight)
			s.start()
		case i%5 == 4: // closed for a while
			a.set(true, false)
			b.set(true, false)
			cutter.cut(other.id())
			eventually(t, "the relay", func() bool { return !directly(a.by(b)) && !directly(b.by(a)) })
			a.set(false, false)
			b.set(false, false)
		default:
			cutter.cut(other.id())
		}
		eventually(t, fmt.Sprintf("the climb after switch %d", i), straight)
	}
	stop()
	wg.Wait()
	if min(fromA, fromB) < 100 {
		t.Errorf("%d and %d messages are no traffic", fromA, fromB)
	}
	t.Logf("%d messages one way, %d the other", fromA, fromB)
	b.counted(1, fromA)
	a.counted(0, fromB)
}

// A conversation of a thousand messages, and in the middle both directions of the
// connection go dead without a word, as when a cable is pulled.
func TestT65ThousandMessagesAndACutInTheMiddle(t *testing.T) {
	_, a, b := yards(t)
	const all = 1000
	for i := range all {
		if i == all/2 {
			a.set(false, true)
			b.set(false, true)
		}
		req := api.SendRequest{To: b.amid.String(), Body: fmt.Append(nil, i), Wait: api.StateAccepted}
		if _, err := a.api.Send(t.Context(), "", req, ""); err != nil {
			t.Fatal(err)
		}
	}
	b.counted(1, all)
	a.set(false, false)
	b.set(false, false)
	eventually(t, "the climb", func() bool { return directly(a.by(b)) })
	if m := a.send(b.running, "over", api.SendRequest{Via: "direct"}); !directly(m.Path) {
		t.Errorf("by %s", m.Path)
	}
}

// The relay, which is the DHT server too, is gone for good: two nodes that know each
// other go on, and find each other again after one of them was away.
func TestNeighboursGoOnWithoutServers(t *testing.T) {
	s, a, b := yards(t)
	s.end()
	if m := a.send(b.running, "0", api.SendRequest{}); !directly(m.Path) {
		t.Errorf("by %s", m.Path)
	}
	b.end()
	eventually(t, "no path", func() bool { return !directly(a.by(b)) })
	waiting := a.send(b.running, "1", api.SendRequest{Wait: api.StateAccepted})
	b.start()
	b.send(a.running, "0", api.SendRequest{}) // it knows where alice is
	if m, err := a.api.Message(t.Context(), "", waiting.ID, api.StateDelivered, 20*time.Second); err != nil || m.State != api.StateDelivered {
		t.Errorf("%s, %v", m.State, err)
	}
	b.counted(1, 2)
	a.counted(0, 1)
}

// Where no address that the peer told answers, the two punch: a hole is found by ICE, and
// proven by an echo before messages go through it. On loopback it leads to an address that
// the peer told, so it is not called punched; that it was, the attempts say.
func TestPunchedWhereAddressesDoNotAnswer(t *testing.T) {
	s := newStation(t)
	listen := []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Listen: listen}
	a, b := newYard(t, cfg), newYard(t, cfg)
	a.holesOnly()
	b.holesOnly()
	b.running.set("strangers", "accept")
	eventually(t, "bob's record", func() bool { _, err := s.find(b.amid); return err == nil })
	a.send(b.running, "hello", api.SendRequest{})
	eventually(t, "a hole", func() bool { return directly(a.by(b)) && directly(b.by(a)) })
	m := a.send(b.running, "0", api.SendRequest{})
	if !directly(m.Path) {
		t.Errorf("by %s", m.Path)
	}
	w, err := a.api.Why(t.Context(), "", b.amid.String())
	if err != nil || !directly(w.Path) || w.Limited || w.Remote == "" || w.Reason != api.WhyConnected {
		t.Errorf("%+v, %v", w, err)
	}
	if i := slices.IndexFunc(w.Attempts, func(t api.Attempt) bool { return t.Kind == api.AttemptICE }); i < 0 || w.Attempts[i].Outcome != api.OutcomeOK {
		t.Errorf("remembered: %+v", w.Attempts)
	}
	a.cut(b.id())
	eventually(t, "the hole again", func() bool { return directly(a.by(b)) && directly(b.by(a)) })
	b.counted(1, 1)
}

// Where neither addresses nor ICE lead anywhere, the two meet over a circuit of their
// relay and dial each other from there; the circuit itself carries nothing.
func TestPunchedByWayOfACircuit(t *testing.T) {
	s := newStation(t)
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}}
	a, b := newYard(t, cfg), newYard(t, cfg)
	for _, y := range []*yard{a, b} {
		y.mu.Lock()
		y.only = func(target direct.Target) bool { return len(target.Addresses) == 0 } // an echo
		y.mu.Unlock()
	}
	b.running.set("strangers", "accept")
	eventually(t, "places at the relay", func() bool { return len(a.mesh.circuits.Places())+len(b.mesh.circuits.Places()) == 2 })
	eventually(t, "bob's record", func() bool { _, err := s.find(b.amid); return err == nil })
	a.send(b.running, "hello", api.SendRequest{})
	eventually(t, "a connection", func() bool { return directly(a.by(b)) && directly(b.by(a)) })
	var tried []api.Attempt
	for _, end := range []struct{ from, to *yard }{{a, b}, {b, a}} {
		w, err := end.from.api.Why(t.Context(), "", end.to.amid.String())
		if err != nil || w.Limited || w.Remote == "" || strings.Contains(w.Remote, "circuit") {
			t.Errorf("%+v, %v", w, err)
		}
		tried = append(tried, w.Attempts...)
	}
	// One of the two is enough.
	if !slices.ContainsFunc(tried, func(t api.Attempt) bool { return t.Kind == api.AttemptCircuit && t.Outcome == api.OutcomeOK }) {
		t.Errorf("remembered: %+v", tried)
	}
	if m := a.send(b.running, "0", api.SendRequest{}); !directly(m.Path) {
		t.Errorf("by %s", m.Path)
	}
}
