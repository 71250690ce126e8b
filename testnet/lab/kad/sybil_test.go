package kad_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"math/bits"
	"sync"
	"testing"
	"time"

	dht_pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	"google.golang.org/protobuf/proto"

	"amesh/identity"
)

const (
	sybils = 60
	// table's protocol, which the Sybils speak too.
	kadProtocol = "/amesh/kad/1.0.0"
)

// T58: sixty Sybils are nearer to an agent's key than everybody else. They take its
// record, show it to whoever brought it, and to others nothing, a forgery, or
// somebody else's record. Everybody finds the agent all the same, and believes nothing
// wrong.
func TestT58SybilsHideNobody(t *testing.T) { besiege(t, 40, 3, 4, 0.99) }

func TestSoakT58SybilsHideNobody(t *testing.T) { soak(t); besiege(t, 200, 10, 100, 0.999) }

// besiege has every one of a number of users look for the victim a number of times.
func besiege(t *testing.T, servers, users, times int, want float64) {
	inWorld(t, servers, users+1, func(w *world) {
		victim := w.agent(1)
		decoy := w.agent(1)
		for common(place(decoy), place(victim)) > 0 { // in the other half of the table
			decoy = w.agent(1)
		}
		w.surround(victim, w.forgery(victim), bits.Len(uint(servers))+3)
		time.Sleep(settle)
		owner := w.users[users]
		for _, a := range []agent{victim, decoy} {
			if err := owner.Publish(context.Background(), a.raw); err != nil {
				t.Error(err)
			}
		}
		reached, tried := 0, 0
		var costs []cost
		for _, u := range w.users[:users] {
			for range times {
				tried++
				var got *identity.AgentRecord
				c := w.measure(func(ctx context.Context) (err error) {
					got, err = u.Find(ctx, victim.key.AMID())
					return err
				})
				costs = append(costs, c)
				switch {
				case c.err == nil && bytes.Equal(got.Raw(), victim.raw):
					reached++
				case c.err == nil:
					t.Error("a wrong record was believed")
				}
				// A user that remembers one record only has forgotten the victim's now.
				if _, err := u.Find(context.Background(), decoy.key.AMID()); err != nil {
					t.Errorf("somebody far from the Sybils: %v", err)
				}
			}
		}
		t.Logf("%d servers, %d Sybils at one key: found %d times of %d", servers, sybils, reached, tried)
		t.Log(summary("find", costs))
		if float64(reached) < want*float64(tried) {
			t.Errorf("reached %d of %d, want %.1f %%", reached, tried, 100*want)
		}
	})
}

func recordKey(a agent) string { return "/amesh-agent/" + a.key.AMID().String() }

// place is where an agent's record is kept.
func place(a agent) [32]byte { return sha256.Sum256([]byte(recordKey(a))) }

// forgery is a record under the victim's name that the victim did not sign.
func (w *world) forgery(victim agent) []byte {
	raw := bytes.Clone(victim.raw)
	raw[len(raw)-1] ^= 1
	return raw
}

// sybil is one server that lies about one key.
type sybil struct {
	host   host.Host
	key    string
	forged []byte
	others []peer.AddrInfo

	mu    sync.Mutex
	taken map[peer.ID][]byte // what each put, to be shown to it again
}

// surround places Sybils around an agent's key, each in a network of its own, and makes them
// known to everybody.
func (w *world) surround(victim agent, forged []byte, prefix int) {
	w.t.Helper()
	var all []*sybil
	var infos []peer.AddrInfo
	for _, k := range near(w.t, place(victim), prefix, sybils) {
		s := &sybil{host: w.member(k, w.address()), key: recordKey(victim), forged: forged, taken: make(map[peer.ID][]byte)}
		all = append(all, s)
		infos = append(infos, peer.AddrInfo{ID: s.host.ID(), Addrs: s.host.Addrs()})
	}
	for i, s := range all {
		s.others = infos
		s.host.SetStreamHandler(kadProtocol, s.serve(i))
	}
	for _, s := range all {
		for _, n := range append(w.servers[:len(w.servers):len(w.servers)], w.users...) {
			if err := s.host.Connect(context.Background(), peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// near makes keys whose peer ids share the first bits with a place of the table.
func near(t *testing.T, want [32]byte, prefix, n int) (list []crypto.PrivKey) {
	t.Helper()
	for len(list) < n {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k, err := crypto.UnmarshalEd25519PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256([]byte(id)); common(got, want) >= prefix {
			list = append(list, k)
		}
	}
	return list
}

func common(a, b [32]byte) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return 8*i + bits.LeadingZeros8(x)
		}
	}
	return 256
}

// serve answers as the i-th Sybil.
func (s *sybil) serve(i int) network.StreamHandler {
	return func(st network.Stream) {
		defer st.Close()
		in, out := msgio.NewVarintReaderSize(st, network.MessageSizeMax), msgio.NewVarintWriter(st)
		for {
			raw, err := in.ReadMsg()
			if err != nil {
				return
			}
			m := new(dht_pb.Message)
			if proto.Unmarshal(raw, m) != nil {
				return
			}
			s.answer(m, i, st.Conn().RemotePeer())
			if raw, err = proto.Marshal(m); err != nil || out.WriteMsg(raw) != nil {
				return
			}
		}
	}
}

func (s *sybil) answer(m *dht_pb.Message, i int, from peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := string(m.GetKey()) == s.key
	switch m.GetType() {
	case dht_pb.Message_PUT_VALUE:
		if ours {
			s.taken[from] = m.GetRecord().GetValue()
		}
		return
	case dht_pb.Message_GET_VALUE:
		m.Record = nil
		switch value := s.taken[from]; {
		case !ours:
		case value != nil:
			m.Record = record.MakePutRecord(s.key, value)
		case i%2 == 0:
			m.Record = record.MakePutRecord(s.key, s.forged)
		}
	}
	m.CloserPeers = dht_pb.RawPeerInfosToPBPeers(s.others[:20])
}
