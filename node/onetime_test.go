package node

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/direct"
	"amesh/node/path"
	"amesh/ratchet"
)

// Who is asked for one-time keys, and how long that takes at most.
func TestWhereOneTimeKeysComeFrom(t *testing.T) {
	announced := &identity.AgentRecord{PeerIDs: []string{"bob's node"}, Addresses: []string{"there"}}
	for _, c := range []struct {
		name string
		rec  *identity.AgentRecord
		road func(*roadside)
		want string // who is asked; empty: nobody
		took time.Duration
	}{
		{"nothing announced", &identity.AgentRecord{Relays: []string{"ws://bob"}}, func(*roadside) {}, "", 0},
		{"nothing announced, but seen", &identity.AgentRecord{}, func(s *roadside) {
			s.open("bob's other node")
			s.paths.Seen(bob, "bob's other node")
		}, "bob's other node", 0},
		{"an open connection", announced, func(s *roadside) { s.open("bob's node") }, "bob's node", 0},
		{"a dial", announced, func(s *roadside) {
			go func() {
				time.Sleep(100 * time.Millisecond)
				s.open("bob's node")
				s.dialed <- nil
			}()
		}, "bob's node", 100 * time.Millisecond},
		{"a dial that fails", announced, func(s *roadside) { go func() { s.dialed <- errors.New("nobody there") }() }, "", 0},
		{"a dial that takes too long", announced, func(*roadside) {}, "", 500 * time.Millisecond},
		{"an answer that does not come", announced, func(s *roadside) {
			s.open("bob's node")
			s.keys = func(ctx context.Context, _ string, _ identity.AMID) (direct.OneTimeKeys, error) {
				<-ctx.Done()
				return direct.OneTimeKeys{}, ctx.Err()
			}
		}, "", 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRoadside()
				s.keys = func(_ context.Context, peerID string, of identity.AMID) (direct.OneTimeKeys, error) {
					return direct.OneTimeKeys{X25519: []byte(peerID), KEM: of[:]}, nil
				}
				s.start(t)
				c.road(s)
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), oneTimeNear)
				defer cancel()
				x25519, kem := s.paths.OneTimeKeys(ctx, bob, c.rec)
				if took := time.Since(began); string(x25519) != c.want || took != c.took {
					t.Errorf("%q after %v, want %q after %v", x25519, took, c.want, c.took)
				}
				if c.want != "" && string(kem) != string(bob[:]) {
					t.Errorf("asked for the keys of %x", kem)
				}
			})
		})
	}
}

// The dial that a question for keys began is the one that the knock goes by: there is no
// second head start.
func TestKnockAfterADialForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		s.paths.OneTimeKeys(ctx, bob, &identity.AgentRecord{
			PeerIDs: bobsPlaces.PeerIDs, Addresses: bobsPlaces.Addresses, Relays: bobsPlaces.Relays,
		})
		s.send(1)
		if diff := cmp.Diff([]string{"relay 1"}, s.left()); diff != "" {
			t.Errorf("while the dial goes on (-want +got)\n%s", diff)
		}
		s.open("bob's node")
		s.dialed <- nil
		synctest.Wait()
		s.send(2)
		if diff := cmp.Diff([]string{"direct 2"}, s.left()); diff != "" {
			t.Errorf("after the dial (-want +got)\n%s", diff)
		}
	})
}

// side is a node made of the parts that Run makes it of, without relays and DHT.
type side struct {
	*mesh
	agent *agent.Agent

	mu  sync.Mutex
	got [][]byte // envelopes that came in
}

// library is where the sides find each other's records.
type library struct {
	mu   sync.Mutex
	recs map[identity.AMID][]byte
}

func (l *library) Find(_ context.Context, peer identity.AMID) (*identity.AgentRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return identity.ParseAgentRecord(l.recs[peer])
}

func newSide(t *testing.T, l *library, name string) *side {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	h, err := dht.NewHost(dht.HostConfig{Key: freshKey(t), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	policy, err := openPolicy(filepath.Join(t.TempDir(), policyName), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := policy.set("strangers", "accept"); err != nil {
		t.Fatal(err)
	}
	s := &side{mesh: &mesh{
		node: &Node{cfg: Config{Logger: quiet, Clock: time.Now, climb: path.DefaultLimits()}}, host: h, policy: policy, changed: make(chan struct{}, 1),
	}}
	s.transport, err = direct.New(h, direct.Config{OnPeer: s.onPeer, Keys: s.handOut, Deliver: func(d direct.Delivery) {
		s.mu.Lock()
		s.got = append(s.got, d.Data)
		s.mu.Unlock()
		s.fromDirect(d)
	}})
	if err != nil {
		t.Fatal(err)
	}
	state, err := store.LoadStateKey(filepath.Join(t.TempDir(), "state.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.add(t.Context(), name, &identity.Identity{Key: freshKey(t)}, store.NewMemory(), state, filepath.Join(t.TempDir(), "mark")); err != nil {
		t.Fatal(err)
	}
	s.agent = s.rooms[0].agent
	s.agent.Directory = l
	s.agent.Limits.OneTimeTimeout = time.Minute // this machine may be slow
	raw, err := s.agent.Record(t.Context(), s.places(s.rooms[0]))
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.recs[s.agent.AMID()] = raw
	l.mu.Unlock()
	s.run(t)
	return s
}

func (s *side) run(t *testing.T) {
	t.Helper()
	failed := func(err error) { t.Error(err) }
	rooms, inner := newLayer(context.Background(), failed), newLayer(context.Background(), failed)
	rooms.run("mailroom", s.agent.Run)
	<-s.agent.Running()
	inner.run("direct", s.transport.Run)
	inner.run("paths", s.rooms[0].paths.run)
	for !slices.Contains(s.host.Mux().Protocols(), direct.Protocol) {
		time.Sleep(time.Millisecond) // its Run has no event for "accepting"
	}
	t.Cleanup(func() {
		inner.end()
		rooms.end()
	})
}

func freshKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// knocks are the knocks that came in.
func (s *side) knocks(t *testing.T) (list []*knock.Knock) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, raw := range s.got {
		if typ, _ := ratchet.ParsePrefix(raw); typ != ratchet.TypeKnock {
			continue
		}
		k, err := knock.ParseKnock(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, k)
	}
	return list
}

// The first knock between two nodes uses a one-time key of each kind, fetched over the
// connection that it then goes by.
func TestOneTimeKeysBetweenTwoNodes(t *testing.T) {
	l := &library{recs: make(map[identity.AMID][]byte)}
	ann, bob := newSide(t, l, "ann"), newSide(t, l, "bob")
	for x25519, _ := bob.agent.OneTimeLeft(); x25519 == 0; x25519, _ = bob.agent.OneTimeLeft() {
		time.Sleep(time.Millisecond) // the pool has no event for "filled"
	}
	m, err := ann.agent.Send(t.Context(), api.SendRequest{
		To: bob.agent.AMID().String(), Body: []byte("hello"), Wait: api.StateDelivered, TimeoutMS: 20_000,
	}, "")
	if err != nil || m.State != api.StateDelivered {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
	knocks := bob.knocks(t)
	if len(knocks) == 0 {
		t.Fatal("no knock came")
	}
	for _, k := range knocks { // one, and perhaps its repetition
		if k.NoOneTimeKey() || k.OneTime.Kind != identity.KindOneTime {
			t.Errorf("the knock names %v and %v, want one-time keys", k.KEM, k.OneTime)
		}
		if k.Hash() != knocks[0].Hash() {
			t.Error("a second knock was made")
		}
		d := knock.DefaultPolicy().Evaluate(knock.Facts{Peer: k.From, NoOneTimeKey: k.NoOneTimeKey()})
		if len(d.Remarks) != 0 {
			t.Errorf("remarks %v", d.Remarks)
		}
	}
	if x25519, kem := bob.agent.OneTimeLeft(); x25519 != 99 || kem != 19 {
		t.Errorf("%d and %d keys left, want 99 and 19", x25519, kem)
	}
}

// A node answers anybody's question for keys of its own agents.
func TestNodeHandsOutOneTimeKeys(t *testing.T) {
	b := startNode(t, Config{})
	h, err := dht.NewHost(dht.HostConfig{Key: freshKey(t), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	probe, err := direct.New(h, direct.Config{Deliver: func(direct.Delivery) {}})
	if err != nil {
		t.Fatal(err)
	}
	inner := newLayer(t.Context(), func(err error) { t.Error(err) })
	inner.run("direct", probe.Run)
	defer inner.end()
	status, err := b.api.Status(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	target := direct.Target{PeerIDs: []string{status.PeerID}, Addresses: b.node.Addrs().Libp2p}
	id, err := probe.Dial(t.Context(), target)
	for errors.Is(err, direct.ErrClosed) { // its Run has no event for "running"
		id, err = probe.Dial(t.Context(), target)
	}
	if err != nil {
		t.Fatal(err)
	}
	var keys direct.OneTimeKeys
	for keys.X25519 == nil || keys.KEM == nil { // until the pool was filled
		if keys, err = probe.Keys(t.Context(), id, b.amid); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := probe.Keys(t.Context(), id, identity.AMID{1}); err != nil || keys.X25519 != nil || keys.KEM != nil {
		t.Errorf("keys of an agent that lives elsewhere: %v, %v", keys, err)
	}
}
