package node

import (
	"context"
	"sync"

	"amesh/identity"
	"amesh/node/agent"
)

// published is what of an agent is given to registries, and what one said of its key.
type published struct {
	mu   sync.Mutex
	raw  []byte // the record, as it was signed last
	card []byte // the card that servers of the DHT have
	lost string // URL of a registry that has a revocation of our key which we did not make
}

func (p *published) record() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.raw
}

func (p *published) setRecord(raw []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raw = raw
}

func (p *published) leftCard() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.card
}

func (p *published) setLeftCard(raw []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.card = raw
}

// keyLost hears that a registry has a revocation of the agent's key, signed by that key,
// which this node did not make.
func (p *published) keyLost(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = url
}

// keyTrouble says so to the owner, nothing for nothing.
func (r *room) keyTrouble() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == "" || r.agent.OwnRevocation() != nil {
		return nil
	}
	return []string{"the registry " + r.lost + " has a revocation of the key of the agent " + r.agent.Name +
		" that this node did not make: somebody else has the key; amesh key revoke ends it here, too"}
}

// home is the URL of a relay for those who know one only, empty for none.
func (r *room) home() string {
	if all := r.relays.announced(); len(all) > 0 {
		return all[0]
	}
	return ""
}

// directory makes the books in which an agent finds others.
func (m *mesh) directory(r *room) *finder {
	return &finder{
		shelves: m.shelves,
		check:   func(rec *identity.AgentRecord) error { return r.agent.CheckRecord(rec) },
	}
}

// shelves are the neighbours, the DHT, where there is one, and the registries.
func (m *mesh) shelves() []shelf {
	var all []shelf
	if m.lan != nil {
		all = append(all, shelf{name: sourceLAN, book: neighbourhood{m.lan}})
	}
	if len(m.node.bootstrap) > 0 || len(m.registries.all()) == 0 {
		all = append(all, shelf{name: sourceDHT, book: m.dht})
	}
	for _, l := range m.registries.all() {
		all = append(all, shelf{name: l.client.URL(), book: l, lied: func(code string, about identity.AMID) {
			l.warnings.add(code, about, l.clock())
		}})
	}
	return all
}

// Find implements book.
func (l *registryLine) Find(ctx context.Context, peer identity.AMID) (*identity.AgentRecord, error) {
	rec, err := l.client.Record(ctx, peer)
	l.heard(err)
	return rec, err
}

var _ agent.Directory = (*finder)(nil)
