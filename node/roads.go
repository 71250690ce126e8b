package node

import (
	"context"
	"iter"
	"slices"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/node/agent"
	"amesh/node/direct"
	"amesh/node/path"
	"amesh/ratchet"
)

// Numbers of what is remembered of the ways to peers.
const (
	// strangerRoads bounds the entries of peers whose places are not known, such as
	// those who knocked and were turned away. The one unused for longest goes first.
	strangerRoads = 256
	// ackedMost is how many envelopes are remembered per peer as acknowledged on a
	// direct path; more than a peer's windows let be without a receipt.
	ackedMost = 1024
)

// roads are an agent's ways to others. Entries of peers whose places are known are
// as many as the mailroom has peers; those of strangers are bounded here.
type roads struct {
	peers     map[identity.AMID]*road
	strangers map[identity.AMID]*road
	nearby    func(identity.AMID) agent.Places // in the local network, right now
	limits    path.Limits                      // of the machines
	count     uint64
}

// road is what is known about the way to one peer.
type road struct {
	peer   identity.AMID
	public agent.Places // from its signed record
	sealed agent.Places // told inside a session
	near   agent.Places // in the local network
	seenAt string       // peer id by which something of the peer was opened last
	used   uint64       // higher is later

	inside bool   // there is, or was, a session that was accepted
	metAt  string // peer id that was told in an offer or an answer
	last   string // address of the last connection, with its peer id

	over      chan struct{} // closes when the dial under way ends; nil: none
	waiting   []carried     // envelopes in their head start
	releasing bool          // they are leaving right now

	machine *path.Machine
	run     uint64             // of the machine, as far as stop belongs to it
	stop    context.CancelFunc // ends the attempt to punch under way; nil: none
	ours    *offering          // our offer; nil: none is under way
	theirs  *content.ICEOffer  // the peer's offer that is being answered

	acked []ratchet.ID // acknowledged on a direct path, oldest first
}

func newRoads(nearby func(identity.AMID) agent.Places, limits path.Limits) roads {
	return roads{peers: make(map[identity.AMID]*road), strangers: make(map[identity.AMID]*road), nearby: nearby, limits: limits}
}

// find returns the entry of a peer, nil for none.
func (s *roads) find(peer identity.AMID) *road {
	if r := s.peers[peer]; r != nil {
		return r
	}
	return s.strangers[peer]
}

// of returns the entry of a peer, a stranger's if there was none.
func (s *roads) of(peer identity.AMID) *road {
	r := s.find(peer)
	if r == nil {
		s.shrink(strangerRoads - 1)
		r = &road{peer: peer, machine: path.New(s.limits)}
		s.strangers[peer] = r
	}
	s.count++
	r.used = s.count
	r.near = s.nearby(peer)
	return r
}

// known is of for a peer whose places are being told.
func (s *roads) known(peer identity.AMID) *road {
	r := s.of(peer)
	delete(s.strangers, peer)
	s.peers[peer] = r
	return r
}

func (s *roads) shrink(most int) {
	for len(s.strangers) > most {
		var oldest *road
		for _, r := range s.strangers {
			if oldest == nil || r.used < oldest.used {
				oldest = r
			}
		}
		delete(s.strangers, oldest.peer)
	}
}

// each goes through all of them.
func (s *roads) each() iter.Seq[*road] {
	return func(yield func(*road) bool) {
		for _, m := range []map[identity.AMID]*road{s.peers, s.strangers} {
			for _, r := range m {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// peerIDs are those by which the peer's node may be known, the most certain first.
func (r *road) peerIDs() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, list := range [][]string{r.near.PeerIDs, r.sealed.PeerIDs, {r.metAt}, r.public.PeerIDs, {r.seenAt}} {
			for _, id := range list {
				if id != "" && !yield(id) {
					return
				}
			}
		}
	}
}

// at reports whether the peer's node may be known by a peer id.
func (r *road) at(peerID string) bool {
	for id := range r.peerIDs() {
		if id == peerID {
			return true
		}
	}
	return false
}

// target is all that can be dialled.
func (r *road) target() direct.Target {
	addresses := slices.Concat(r.near.Addresses, r.sealed.Addresses, r.public.Addresses)
	if r.last != "" {
		addresses = slices.Insert(addresses, 0, r.last)
	}
	return direct.Target{PeerIDs: slices.Collect(r.peerIDs()), Addresses: addresses}
}

// tells reports whether an address is one under which the peer says it can be dialled.
func (r *road) tells(address string) bool {
	return slices.Contains(r.near.Addresses, address) || slices.Contains(r.sealed.Addresses, address) || slices.Contains(r.public.Addresses, address)
}

// dialable reports whether there is anything to dial.
func (r *road) dialable() bool {
	for range r.peerIDs() {
		return r.last != "" || len(r.near.Addresses)+len(r.sealed.Addresses)+len(r.public.Addresses) > 0
	}
	return false
}

func (r *road) relays() []string {
	if len(r.sealed.Relays) > 0 {
		return r.sealed.Relays
	}
	return r.public.Relays
}

// remember notes that an envelope was acknowledged on a direct path.
func (r *road) remember(id ratchet.ID) {
	if len(r.acked) >= ackedMost {
		r.acked = slices.Delete(r.acked, 0, ackedMost/4)
	}
	r.acked = append(r.acked, id)
}

// forget reports whether an envelope was remembered, and remembers it no longer.
func (r *road) forget(id ratchet.ID) bool {
	i := slices.Index(r.acked, id)
	if i < 0 {
		return false
	}
	r.acked = slices.Delete(r.acked, i, i+1)
	return true
}
