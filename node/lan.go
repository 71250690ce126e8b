package node

import (
	"context"
	"time"

	"amesh/dht"
	"amesh/dht/lan"
	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
)

// neighbourhood is the book of those who are in the local network.
type neighbourhood struct {
	*lan.Service
}

// Find implements book.
func (n neighbourhood) Find(_ context.Context, peer identity.AMID) (*identity.AgentRecord, error) {
	if found, ok := n.Service.Find(peer); ok {
		return found.Record, nil
	}
	return nil, dht.ErrNotFound
}

// newLAN makes the service that finds neighbours, nil where the owner wants none.
func (m *mesh) newLAN() (*lan.Service, error) {
	if !m.node.cfg.LAN {
		return nil, nil
	}
	return lan.New(m.host, lan.Config{
		Own: m.ownForLAN, Appeared: m.neighbours, Logger: m.node.cfg.Logger, Clock: m.node.cfg.Clock,
	})
}

// runLAN meets neighbours as soon as there is something to tell them.
func (m *mesh) runLAN(ctx context.Context) error {
	select {
	case <-m.recorded:
		return m.lan.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// ownForLAN is what neighbours are told of our agents: the public records, and the
// word of each agent that it is at this node.
func (m *mesh) ownForLAN() []lan.Own {
	now := m.node.cfg.Clock().Truncate(time.Second)
	var list []lan.Own
	for _, r := range m.rooms {
		rec := r.record()
		if rec == nil || r.agent.OwnRevocation() != nil {
			continue
		}
		p, err := identity.SignPresence(r.agent.Key, identity.Presence{
			PeerID: []byte(m.host.ID()), Issued: now, Expires: now.Add(identity.PresenceLife),
		})
		if err != nil {
			m.node.cfg.Logger.Warn("presence not signed", "agent", r.agent.Name, "err", err)
			continue
		}
		list = append(list, lan.Own{Record: rec, Presence: p, Card: r.card.now()})
	}
	return list
}

// neighbours hears that agents are in the local network from now on.
func (m *mesh) neighbours(peers []identity.AMID) {
	for _, r := range m.rooms {
		for _, peer := range peers {
			r.paths.appeared(peer)
			r.agent.KickPeer(peer)
		}
	}
}

// nearby is where an agent is in the local network.
func (m *mesh) nearby(peer identity.AMID) agent.Places {
	if m.lan == nil {
		return agent.Places{}
	}
	n, ok := m.lan.Find(peer)
	if !ok {
		return agent.Places{}
	}
	return agent.Places{PeerIDs: []string{n.PeerID}, Addresses: n.Addresses}
}

// lanStatus lists the neighbours for the owner.
func (m *mesh) lanStatus() []api.Neighbour {
	if m.lan == nil {
		return nil
	}
	var list []api.Neighbour
	for _, n := range m.lan.Neighbours() {
		list = append(list, api.Neighbour{AMID: n.Record.AMID, PeerID: n.PeerID, Addresses: n.Addresses, LastSeen: n.Seen})
	}
	return list
}
