package node

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/node/api"
)

// listens are the ports of a node, as they would stand in what it says: in words, as host
// and port, and in bytes. The host alone says nothing here, where all share it.
func (y *yard) listens() [][]byte {
	y.t.Helper()
	var forms [][]byte
	for _, a := range y.mesh.host.Network().ListenAddresses() {
		port, err := a.ValueForProtocol(ma.P_UDP)
		if err != nil { // /p2p-circuit, which stands for any relay
			continue
		}
		part := ma.StringCast("/ip4/127.0.0.1/udp/" + port)
		forms = append(forms, []byte("/udp/"+port), []byte("127.0.0.1:"+port), part.Bytes(), fmt.Append(nil, "127.0.0.1 ", port))
	}
	if len(forms) == 0 {
		y.t.Fatal("it listens nowhere")
	}
	return forms
}

// toldAbout are the addresses of a node that a host knows from what it was told.
func toldAbout(h host.Host, y *yard) []ma.Multiaddr {
	return h.Peerstore().Addrs(peer.ID(y.mesh.host.ID()))
}

// T66: until it is let in, and lets in, nobody is told where a node is that does not
// announce it: not the relay, in any byte that either side sends, not the DHT server, and
// not the peer. Afterwards the peer is, sealed, and still nobody else.
func TestT66AddressesAreToldAfterTheAcceptOnly(t *testing.T) {
	var mu sync.Mutex
	var heard bytes.Buffer
	s := tappedStation(t, func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		heard.Write(b)
	})
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}}
	a, b := newYard(t, cfg), newYard(t, cfg)
	eventually(t, "bob's record", func() bool { _, err := s.find(b.amid); return err == nil })
	nobodyElse := func(when string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for _, y := range []*yard{a, b} {
			for _, form := range y.listens() {
				if bytes.Contains(heard.Bytes(), form) {
					t.Errorf("%s: the relay was told %q", when, form)
				}
			}
			if got := toldAbout(s.host, y); len(got) > 0 {
				t.Errorf("%s: the DHT server was told %v", when, got)
			}
			rec, err := s.find(y.amid)
			if err != nil || len(rec.Addresses)+len(rec.PeerIDs) > 0 {
				t.Errorf("%s: the record says %v %v, %v", when, rec.PeerIDs, rec.Addresses, err)
			}
		}
	}
	known := func(y, of *yard) int {
		return len(y.mesh.rooms[0].paths.knownAddresses(of)) + len(toldAbout(y.mesh.host, of))
	}

	waiting := a.send(b.running, "let me in", api.SendRequest{Wait: api.StateAccepted})
	var knocks []api.Knock
	eventually(t, "the knock", func() bool {
		knocks, _ = b.api.Knocks(t.Context(), "")
		return len(knocks) == 1
	})
	nobodyElse("before the accept")
	if n, m := known(a, b), known(b, a); n+m > 0 {
		t.Errorf("before the accept they know %d and %d addresses", n, m)
	}
	if _, err := b.api.Decide(t.Context(), "", knocks[0].ID, true, api.DecideRequest{}); err != nil {
		t.Fatal(err)
	}
	if m, err := a.api.Message(t.Context(), "", waiting.ID, api.StateDelivered, 20*time.Second); err != nil || m.State != api.StateDelivered {
		t.Errorf("%s, %v", m.State, err)
	}
	eventually(t, "addresses told inside", func() bool { return known(a, b) > 0 && known(b, a) > 0 })
	eventually(t, "a direct path", func() bool { return directly(a.by(b)) && directly(b.by(a)) })
	nobodyElse("after the accept")
}

// knownAddresses are those that a peer told of its node.
func (p *paths) knownAddresses(of *yard) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.roads.find(of.amid); r != nil {
		return r.target().Addresses
	}
	return nil
}
