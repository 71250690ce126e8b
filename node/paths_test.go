package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/direct"
	"amesh/node/path"
	"amesh/ratchet"
)

var alice, bob = identity.AMID{1}, identity.AMID{2}

// roadside is both ways out of a node, written down: the direct connections and the
// relays of a test. It is a nearby and, by its relay field, a post.
type roadside struct {
	paths *paths
	relay relayside

	mu     sync.Mutex
	up     map[string]bool
	holes  map[string]string        // peer ids by remote address
	dialed chan error               // what dials return
	onSend func(id ratchet.ID)      // before an envelope leaves direct
	done   map[string][]func(error) // not acknowledged yet; nil: all are, at once
	log    []string
	kicked []identity.AMID
	keys   func(ctx context.Context, peerID string, of identity.AMID) (direct.OneTimeKeys, error)
}

type relayside struct {
	*roadside
	down bool
	late bool // comes within reach after carry found nothing
}

func newRoadside() *roadside {
	s := &roadside{up: make(map[string]bool), holes: make(map[string]string), dialed: make(chan error)}
	s.relay.roadside = s
	s.paths = newPaths(pathsConfig{
		own: alice, direct: s, relays: &s.relay, limits: path.DefaultLimits(), log: quiet,
		nearby: func(identity.AMID) agent.Places { return agent.Places{} },
		places: func() agent.Places { return agent.Places{PeerIDs: []string{"alice's node"}} },
		kick: func(p identity.AMID) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.kicked = append(s.kicked, p)
		},
	})
	return s
}

// start runs the paths inside a bubble.
func (s *roadside) start(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.paths.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

func (s *roadside) Open(peerID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up[peerID]
}

func (s *roadside) open(peerID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up[peerID] = true
}

// shut ends a connection, and says so as the transport does.
func (s *roadside) shut(peerID string) {
	s.mu.Lock()
	delete(s.up, peerID)
	s.mu.Unlock()
	s.paths.connected(peerID)
}

func (s *roadside) Conn(peerID string) (direct.Conn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := "/ip4/8.8.8.8/udp/1/quic-v1"
	return direct.Conn{Remote: at, Punched: s.holes[at] == peerID}, s.up[peerID]
}

func (s *roadside) ThroughHole(peerID string) bool {
	c, open := s.Conn(peerID)
	return open && c.Punched
}

func (s *roadside) Punched(peerID, remote string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holes[remote] = peerID
}

func (s *roadside) Dial(ctx context.Context, target direct.Target) (string, error) {
	select {
	case err := <-s.dialed:
		return target.PeerIDs[0], err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *roadside) Keys(ctx context.Context, peerID string, of identity.AMID) (direct.OneTimeKeys, error) {
	return s.keys(ctx, peerID, of)
}

func (s *roadside) Send(_ string, e direct.Envelope, done func(error)) error {
	s.mu.Lock()
	hook := s.onSend
	s.log = append(s.log, "direct "+number(e.ID))
	if s.done != nil {
		s.done[number(e.ID)] = append(s.done[number(e.ID)], done)
	}
	now := s.done == nil
	s.mu.Unlock()
	if hook != nil {
		hook(e.ID)
	}
	if now {
		done(nil)
	}
	return nil
}

func (s *relayside) carry(e agent.Envelope, _ []string, report func(agent.Outcome)) bool {
	if s.down || s.late {
		report(agent.Outcome{Err: agent.ErrNoPath})
		return false
	}
	s.mu.Lock()
	s.log = append(s.log, "relay "+number(e.ID))
	s.mu.Unlock()
	report(agent.Outcome{Path: api.PathRelayed})
	return true
}

func (s *relayside) reach([]string) bool { return !s.down }

func (s *relayside) uses(url string, theirs []string) bool { return url == theirs[0] }

// send carries envelopes to bob, and adds what is reported to the log.
func (s *roadside) send(numbers ...int) {
	for _, n := range numbers {
		var id ratchet.ID
		binary.BigEndian.PutUint64(id[:], uint64(n))
		s.paths.Carry(agent.Envelope{From: alice, To: bob, ID: id}, func(o agent.Outcome) {
			if o.Err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.log = append(s.log, fmt.Sprintf("%d: %v", n, o.Err))
			}
		})
	}
}

func number(id ratchet.ID) string { return fmt.Sprint(binary.BigEndian.Uint64(id[:])) }

// left returns what has left since it was last asked.
func (s *roadside) left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *roadside) kicks() []identity.AMID {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.kicked
	s.kicked = nil
	return list
}

var bobsPlaces = agent.Places{PeerIDs: []string{"bob's node"}, Addresses: []string{"there"}, Relays: []string{"ws://bob"}}

// Nothing overtakes what waits for a dial: neither when the connection is open before
// the dial says so, nor while the waiting ones are leaving.
func TestOrderAcrossADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.start(t)
		s.paths.Learn(bob, bobsPlaces, true)
		s.send(1, 2)
		s.open("bob's node")
		s.send(3)
		if diff := cmp.Diff([]string(nil), s.left()); diff != "" {
			t.Fatalf("before the dial ended (-want +got)\n%s", diff)
		}
		s.onSend = func(id ratchet.ID) {
			if number(id) == "1" {
				s.send(4)
			}
		}
		s.dialed <- nil
		synctest.Wait()
		if diff := cmp.Diff([]string{"direct 1", "direct 2", "direct 3", "direct 4"}, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if diff := cmp.Diff([]identity.AMID{bob}, s.kicks()); diff != "" {
			t.Errorf("kicked (-want +got)\n%s", diff)
		}
	})
}

func TestHeadStart(t *testing.T) {
	for _, c := range []struct {
		name string
		dial error
		want []string // after the dial came back late
	}{
		{"a dial that comes late", nil, []string{"direct 3"}},
		{"a dial that fails", errors.New("nobody there"), []string{"relay 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRoadside()
				s.start(t)
				s.paths.Learn(bob, bobsPlaces, false)
				s.send(1)
				time.Sleep(headStart)
				synctest.Wait()
				s.send(2)
				if diff := cmp.Diff([]string{"relay 1", "relay 2"}, s.left()); diff != "" {
					t.Errorf("after the head start (-want +got)\n%s", diff)
				}
				if c.dial == nil {
					s.open("bob's node")
				}
				s.dialed <- c.dial
				synctest.Wait()
				s.send(3) // after a failure not even a new dial
				if diff := cmp.Diff(c.want, s.left()); diff != "" {
					t.Errorf("after the dial (-want +got)\n%s", diff)
				}
			})
		})
	}
}

// The end comes while a dial is under way: what waits is reported, and run returns.
func TestEndDuringADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.relay.down = true
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.paths.run(ctx) }()
		synctest.Wait()
		s.paths.Learn(bob, bobsPlaces, true)
		s.send(1)
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.send(2) // no dial any more
		if diff := cmp.Diff([]string{"1: no path", "2: no path"}, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// Somebody at the other end acknowledges and no receipt ever comes: the same envelope
// comes again and takes turns between the paths.
func TestRepeatAfterAnAckGoesByRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.start(t)
		s.paths.Learn(bob, bobsPlaces, true)
		s.open("bob's node")
		s.send(1, 2, 1, 1, 1)
		want := []string{"direct 1", "direct 2", "relay 1", "direct 1", "relay 1"}
		if diff := cmp.Diff(want, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		s.relay.down = true
		s.send(2, 2)
		if diff := cmp.Diff([]string{"direct 2", "direct 2"}, s.left()); diff != "" {
			t.Errorf("without a relay (-want +got)\n%s", diff)
		}
	})
}

func TestNoAckGoesByRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.done = make(map[string][]func(error))
		s.start(t)
		s.paths.Learn(bob, bobsPlaces, true)
		s.open("bob's node")
		s.send(1)
		s.done["1"][0](direct.ErrNoAck)
		s.send(1) // it was not acknowledged, so direct is tried first again
		if diff := cmp.Diff([]string{"direct 1", "relay 1", "direct 1"}, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

func TestAcksRememberedAreBounded(t *testing.T) {
	r := &road{}
	id := func(n int) (id ratchet.ID) {
		binary.BigEndian.PutUint64(id[:], uint64(n))
		return id
	}
	for n := range 10 * ackedMost {
		r.remember(id(n))
		if len(r.acked) > ackedMost {
			t.Fatalf("%d are remembered", len(r.acked))
		}
	}
	if !r.forget(id(10*ackedMost-1)) || r.forget(id(10*ackedMost-1)) || r.forget(id(0)) {
		t.Error("the last one is remembered once, the first no longer")
	}
}

// Strangers come and go; those whose places are known stay.
func TestRoadsOfStrangersAreBounded(t *testing.T) {
	s := newRoadside()
	s.paths.Learn(bob, bobsPlaces, true)
	for n := range 4 * strangerRoads {
		var peer identity.AMID
		binary.BigEndian.PutUint64(peer[8:], uint64(n+1))
		s.paths.Seen(peer, fmt.Sprintf("node %d", n))
	}
	if got := len(s.paths.roads.strangers); got != strangerRoads {
		t.Errorf("%d strangers are remembered", got)
	}
	last := fmt.Sprintf("node %d", 4*strangerRoads-1)
	s.open("node 0")
	s.open(last)
	s.paths.connected("node 0")
	if got := s.kicks(); len(got) != 0 {
		t.Errorf("the first one is remembered: %v", got)
	}
	s.paths.connected(last)
	if got := s.kicks(); len(got) != 1 {
		t.Errorf("the last one is forgotten: %v", got)
	}
	if !cmp.Equal(s.paths.roads.find(bob).sealed, bobsPlaces) {
		t.Error("a peer is forgotten")
	}
}

func TestWhoIsKicked(t *testing.T) {
	carol := identity.AMID{3}
	for _, c := range []struct {
		name string
		do   func(*roadside)
		want []identity.AMID
	}{
		{"a stranger's connection", func(s *roadside) { s.open("somebody"); s.paths.connected("somebody") }, nil},
		{"bob's connection", func(s *roadside) { s.open("bob's node"); s.paths.connected("bob's node") }, []identity.AMID{bob}},
		{"carol was seen there", func(s *roadside) { s.open("carol's node"); s.paths.connected("carol's node") }, []identity.AMID{carol}},
		{"bob's relay", func(s *roadside) { s.paths.atRelay("ws://bob") }, []identity.AMID{bob}},
		{"another relay", func(s *roadside) { s.paths.atRelay("ws://carol") }, nil},
		{"seen on an open connection", func(s *roadside) { s.open("new node"); s.paths.Seen(bob, "new node") }, []identity.AMID{bob}},
		{"seen there again", func(s *roadside) { s.open("carol's node"); s.paths.Seen(carol, "carol's node") }, nil},
		{"seen on one that closed", func(s *roadside) { s.paths.Seen(bob, "new node") }, nil},
		{"a relay that came a moment too late", func(s *roadside) { s.relay.late = true; s.send(1) }, []identity.AMID{bob}},
		{"no relay", func(s *roadside) { s.relay.down = true; s.send(1) }, nil},
	} {
		s := newRoadside()
		s.paths.Learn(bob, bobsPlaces, false)
		s.paths.Seen(carol, "carol's node")
		c.do(s)
		if diff := cmp.Diff(c.want, s.kicks()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}
