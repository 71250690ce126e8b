package lan

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// Neighbour is one agent in the local network, on a node that was met.
type Neighbour struct {
	Record    *identity.AgentRecord
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
	records   []*identity.AgentRecord
	addresses []string
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
	for _, rec := range m.records {
		same := func(r *identity.AgentRecord) bool { return identity.Newer(r.Raw(), rec.Raw()) == 0 }
		if old == nil || !slices.Equal(old.addresses, m.addresses) || !slices.ContainsFunc(old.records, same) {
			fresh = append(fresh, rec.AMID)
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
	if len(m.records) == 0 {
		return now.Sub(m.at) >= t.limits.Retry
	}
	return now.Sub(m.at) >= t.limits.Renew
}

// all lists the neighbours by AMID, and by node where several say that they have an
// agent, the last met first.
func (t *table) all(now, wall time.Time) []Neighbour {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	list := []Neighbour{}
	for id, m := range t.nodes {
		for _, rec := range m.records {
			if rec.Valid(wall) == nil {
				list = append(list, Neighbour{Record: rec, PeerID: id.String(), Addresses: m.addresses, Seen: wall.Add(m.at.Sub(now))})
			}
		}
	}
	slices.SortFunc(list, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Record.AMID.String(), b.Record.AMID.String()), b.Seen.Compare(a.Seen), cmp.Compare(a.PeerID, b.PeerID))
	})
	return list
}
