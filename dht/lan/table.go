package lan

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/identity"
)

// Neighbour is one agent in the local network, on a node that was met.
type Neighbour struct {
	Record    *identity.AgentRecord
	Card      *identity.Card // as of the last meeting; nil: it has none
	PeerID    string
	Addresses []string // multiaddrs of its node without /p2p/
	Seen      time.Time
}

// table is who was met. It is bounded by nodes: one that is not known yet has no place
// while all known ones were met lately.
type table struct {
	limits Limits

	mu    sync.Mutex
	nodes map[peer.ID]*met
}

// met is a node at its last meeting.
type met struct {
	at        time.Time
	agents    []told
	addresses []string
	outdated  bool // we have said something else since
}

func newTable(limits Limits) *table {
	return &table{limits: limits, nodes: make(map[peer.ID]*met)}
}

// put notes a meeting. It returns the agents that are new, at new addresses, or have a
// new record.
func (t *table) put(id peer.ID, m *met) []identity.AMID {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(m.at)
	old := t.nodes[id]
	if old == nil && len(t.nodes) >= t.limits.Neighbours {
		return nil
	}
	t.nodes[id] = m
	var fresh []identity.AMID
	for _, a := range m.agents {
		same := func(b told) bool { return identity.Newer(b.record.Raw(), a.record.Raw()) == 0 }
		if old == nil || !slices.Equal(old.addresses, m.addresses) || !slices.ContainsFunc(old.agents, same) {
			fresh = append(fresh, a.record.AMID)
		}
	}
	return fresh
}

func (t *table) sweep(now time.Time) {
	for id, m := range t.nodes {
		if now.Sub(m.at) > t.limits.Keep {
			delete(t.nodes, id)
		}
	}
}

// due reports whether a node should be met: it is not known, was met long ago, or had no
// agents when it was met, which it may have by now.
func (t *table) due(id peer.ID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	m := t.nodes[id]
	if m == nil {
		return len(t.nodes) < t.limits.Neighbours
	}
	if m.outdated {
		return true
	}
	if len(m.agents) == 0 {
		return now.Sub(m.at) >= t.limits.Retry
	}
	return now.Sub(m.at) >= t.limits.Renew
}

// outdate makes all nodes due, and returns them.
func (t *table) outdate() []peer.AddrInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []peer.AddrInfo
	for id, m := range t.nodes {
		m.outdated = true
		p := peer.AddrInfo{ID: id}
		for _, text := range m.addresses {
			if a, err := ma.NewMultiaddr(text); err == nil {
				p.Addrs = append(p.Addrs, a)
			}
		}
		list = append(list, p)
	}
	return list
}

// all lists the neighbours by AMID, and by node where several say that they have an
// agent, the last met first.
func (t *table) all(now, wall time.Time) []Neighbour {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	list := []Neighbour{}
	for id, m := range t.nodes {
		for _, a := range m.agents {
			if a.record.Valid(wall) == nil {
				list = append(list, Neighbour{Record: a.record, Card: a.card, PeerID: id.String(), Addresses: m.addresses, Seen: wall.Add(m.at.Sub(now))})
			}
		}
	}
	slices.SortFunc(list, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Record.AMID.String(), b.Record.AMID.String()), b.Seen.Compare(a.Seen), cmp.Compare(a.PeerID, b.PeerID))
	})
	return list
}
