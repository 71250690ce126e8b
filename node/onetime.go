package node

import (
	"context"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/direct"
	"amesh/node/path"
)

// One-time keys go from node to node over the direct stream (session.md §11.2).

var _ agent.KeySource = (*paths)(nil)

// OneTimeKeys implements agent.KeySource: over a connection that is open, or that a dial
// to what the peer's record says opens before ctx ends. The dial goes on behind that,
// so that the knock finds it.
func (p *paths) OneTimeKeys(ctx context.Context, peer identity.AMID, rec *identity.AgentRecord) (x25519, kem []byte) {
	p.Learn(peer, agent.Places{PeerIDs: rec.PeerIDs, Addresses: rec.Addresses, Relays: rec.Relays}, false)
	id := p.near(ctx, peer)
	if id == "" {
		return nil, nil
	}
	keys, err := p.direct.Keys(ctx, id, peer)
	if err != nil {
		return nil, nil // a knock does without
	}
	return keys.X25519, keys.KEM
}

// near is the peer id of an open connection to a peer, empty when none opens before ctx
// ends.
func (p *paths) near(ctx context.Context, peer identity.AMID) string {
	p.mu.Lock()
	r := p.roads.of(peer)
	p.tell(r, path.Event{Kind: path.Need})
	id, over := p.openID(r), r.over
	p.mu.Unlock()
	if id != "" || over == nil {
		return id
	}
	select {
	case <-over:
	case <-ctx.Done():
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.openID(r)
}

// handOut answers the question of a peer's node for one-time keys of one of our agents.
func (m *mesh) handOut(ctx context.Context, peerID string, of identity.AMID) direct.OneTimeKeys {
	for _, r := range m.rooms {
		if r.agent.AMID() != of {
			continue
		}
		x25519, kem, err := r.agent.OneTimeKeys(ctx, peerID)
		if err != nil {
			m.node.cfg.Logger.Debug("no one-time keys handed out", "peer", peerID, "err", err)
			return direct.OneTimeKeys{}
		}
		return direct.OneTimeKeys{X25519: x25519, KEM: kem}
	}
	return direct.OneTimeKeys{}
}
