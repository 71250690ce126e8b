package node

import (
	"slices"
	"time"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
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

	dialing   chan struct{} // closes when the dial under way ends; nil: none
	next      time.Time     // no dial before
	pause     time.Duration
	waiting   []carried // envelopes in their head start
	releasing bool      // they are leaving right now

	acked []ratchet.ID  // acknowledged on a direct path, oldest first
	tried []api.Attempt // to get there, newest first
}

func newRoads(nearby func(identity.AMID) agent.Places) roads {
	return roads{peers: make(map[identity.AMID]*road), strangers: make(map[identity.AMID]*road), nearby: nearby}
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
		r = &road{peer: peer}
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

// all lists those for whom match is true.
func (s *roads) all(match func(*road) bool) []identity.AMID {
	var list []identity.AMID
	for _, m := range []map[identity.AMID]*road{s.peers, s.strangers} {
		for peer, r := range m {
			if match(r) {
				list = append(list, peer)
			}
		}
	}
	return list
}

func (r *road) peerIDs() []string {
	ids := slices.Concat(r.near.PeerIDs, r.sealed.PeerIDs, r.public.PeerIDs)
	if r.seenAt != "" {
		ids = append(ids, r.seenAt)
	}
	return ids
}

func (r *road) addresses() []string {
	return slices.Concat(r.near.Addresses, r.sealed.Addresses, r.public.Addresses)
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
