package node

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"amesh/dht"
	"amesh/node/api"
)

var _ api.Backend = (*mesh)(nil)

// room finds the agent that a caller means.
func (m *mesh) room(name string) (*room, error) {
	own := m.own()
	if name == "" && len(own) == 1 {
		return own[0], nil
	}
	var names []string
	for _, r := range m.rooms {
		if r.agent.Name == name {
			return r, nil
		}
	}
	for _, r := range own {
		names = append(names, r.agent.Name)
	}
	if name == "" {
		return nil, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "this node has several agents: %s", strings.Join(names, ", ")).
			WithHint("name one with --agent")
	}
	return nil, api.Problemf(http.StatusNotFound, api.CodeNotFound, "no agent named %.60q on this node", name).
		WithHint("there is: %s", strings.Join(names, ", "))
}

// Status implements api.Backend.
func (m *mesh) Status(ctx context.Context, agent string) (api.Status, error) {
	s := api.Status{
		Version: m.node.cfg.Version, Home: m.node.cfg.Home, Started: m.started, PeerID: m.host.ID().String(),
		Listen: dht.Multiaddrs(m.host), Agents: []api.Agent{}, Relays: []api.Relay{}, Peers: []api.Peer{},
	}
	d := m.dht.Status()
	s.DHT.Peers, s.DHT.Serving, s.LAN = d.Peers, d.Serving, m.lanStatus()
	s.DHT.Published = len(d.Published) > 0
	for _, p := range d.Published {
		s.DHT.Published = s.DHT.Published && !p.Confirmed.IsZero()
	}
	seen := make(map[string]bool)
	for _, r := range m.rooms {
		if agent != "" && r.agent.Name != agent {
			continue
		}
		one, err := r.view()
		if err != nil {
			return s, err
		}
		one.Echo = one.AMID == m.echo
		s.Agents = append(s.Agents, one)
		peers, err := m.peers(r)
		if err != nil {
			return s, err
		}
		s.Peers = append(s.Peers, peers...)
		n, err := r.agent.Counts()
		if err != nil {
			return s, err
		}
		s.Queued, s.Unread, s.Knocks = s.Queued+n.Queued, s.Unread+n.Unread, s.Knocks+n.Knocks
		for _, relay := range r.relays.status() {
			if !seen[relay.URL] {
				seen[relay.URL] = true
				s.Relays = append(s.Relays, relay)
			}
		}
	}
	s.Registries, s.NAT = m.registries.status(), m.ownNAT()
	s.Degraded = m.degraded(s)
	return s, nil
}

// view is an agent in the status.
func (r *room) view() (api.Agent, error) {
	v := api.Agent{Name: r.agent.Name, AMID: r.agent.AMID(), Epoch: r.agent.Epoch(), OneTime: &api.OneTimeKeys{}}
	v.OneTime.X25519, v.OneTime.KEM = r.agent.OneTimeLeft()
	at, err := r.agent.RolledBack()
	if !at.IsZero() {
		v.RolledBack = &at
	}
	return v, err
}

// rollbackShown is how long a state that was put back is shown as something that does
// not work: who caused it may do it again.
const rollbackShown = 72 * time.Hour

func rollbackTrouble(a api.Agent, now time.Time) []string {
	if a.RolledBack == nil || now.Sub(*a.RolledBack) > rollbackShown {
		return nil
	}
	return []string{"the state of the agent " + a.Name + " was put back, or a copy of this home ran elsewhere, as was noticed at " +
		a.RolledBack.Format(time.RFC3339) + ": every session was replaced; run one copy of a home only, and move it with backup and restore"}
}

// degraded says what does not work right now.
func (m *mesh) degraded(s api.Status) []string {
	var list []string
	for _, r := range s.Relays {
		list = append(list, relayTrouble(r)...)
	}
	for _, r := range m.rooms {
		list = append(list, r.relays.foreignTrouble()...)
	}
	for _, l := range m.registries.all() {
		list = append(list, l.trouble(m.node.cfg.Clock())...)
	}
	for _, r := range m.rooms {
		list = append(list, r.keyTrouble()...)
	}
	for _, a := range s.Agents {
		list = append(list, rollbackTrouble(a, m.node.cfg.Clock())...)
	}
	inUse := len(m.rooms)
	for _, r := range m.rooms {
		if v := r.agent.Revoked(); v != nil {
			inUse--
			list = append(list, "the key of the agent "+r.agent.Name+" was revoked ("+v.Reason+"): it neither sends nor receives")
		}
	}
	if len(m.node.bootstrap) > 0 && inUse > 0 {
		switch {
		case s.DHT.Peers == 0:
			list = append(list, "no DHT server can be reached: agents that we do not know cannot be found")
		case !s.DHT.Published:
			list = append(list, "the agent's record is not in the DHT yet: strangers cannot find it")
		}
	}
	for _, r := range m.rooms {
		if r.agent.NoSpace() {
			list = append(list, "the disk is full: the agent "+r.agent.Name+" stores nothing until there is room")
		}
	}
	switch err := m.policy.trouble(); {
	case errors.Is(err, errPolicyGone):
		list = append(list, "policy.json is gone or empty: nobody new is let in until it is back or the node starts again")
	case err != nil:
		list = append(list, "policy.json is not understood, the policy before it is in force: "+err.Error())
	}
	return list
}

// Identity implements api.Backend.
func (m *mesh) Identity(_ context.Context, agent string) (api.Identity, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Identity{}, err
	}
	amid := r.agent.AMID()
	return api.Identity{
		Name: r.agent.Name, AMID: amid, DID: amid.DID(), PeerID: m.host.ID().String(), Addrs: dht.Multiaddrs(m.host),
	}, nil
}

// Peers implements api.Backend.
func (m *mesh) Peers(_ context.Context, agent string) ([]api.Peer, error) {
	all := []api.Peer{}
	for _, r := range m.rooms {
		if agent != "" && r.agent.Name != agent {
			continue
		}
		peers, err := m.peers(r)
		if err != nil {
			return nil, err
		}
		all = append(all, peers...)
	}
	return all, nil
}

func (m *mesh) peers(r *room) ([]api.Peer, error) {
	peers, err := r.agent.Peers()
	for i := range peers {
		if by := r.paths.by(peers[i].AMID); by != api.PathNone {
			peers[i].Path = by
		}
	}
	return peers, err
}

// Send implements api.Backend.
func (m *mesh) Send(ctx context.Context, agent string, req api.SendRequest, key string) (api.Message, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Message{}, err
	}
	return r.agent.Send(ctx, req, key)
}

// Message implements api.Backend.
func (m *mesh) Message(ctx context.Context, agent, id string, wait api.State, timeout time.Duration) (api.Message, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Message{}, err
	}
	return r.agent.Message(ctx, id, wait, timeout)
}

// Messages implements api.Backend.
func (m *mesh) Messages(_ context.Context, agent string, limit int) ([]api.Message, error) {
	r, err := m.room(agent)
	if err != nil {
		return nil, err
	}
	return r.agent.Messages(limit)
}

// Cancel implements api.Backend.
func (m *mesh) Cancel(ctx context.Context, agent, id string) (api.Message, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Message{}, err
	}
	return r.agent.Cancel(ctx, id)
}

// Inbox implements api.Backend.
func (m *mesh) Inbox(_ context.Context, agent string, q api.InboxQuery) (api.InboxPage, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.InboxPage{}, err
	}
	return r.agent.Inbox(q)
}

// Lease implements api.Backend.
func (m *mesh) Lease(ctx context.Context, agent string, req api.LeaseRequest) ([]api.InboxMessage, error) {
	r, err := m.room(agent)
	if err != nil {
		return nil, err
	}
	return r.agent.Lease(ctx, req)
}

// Read implements api.Backend.
func (m *mesh) Read(ctx context.Context, agent, id string, lease time.Duration) (api.InboxMessage, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.InboxMessage{}, err
	}
	return r.agent.Read(ctx, id, lease)
}

// Ack implements api.Backend.
func (m *mesh) Ack(ctx context.Context, agent, id string, req api.AckRequest) (api.InboxItem, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.InboxItem{}, err
	}
	return r.agent.Ack(ctx, id, req)
}

// Nack implements api.Backend.
func (m *mesh) Nack(ctx context.Context, agent, id string) (api.InboxItem, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.InboxItem{}, err
	}
	return r.agent.Nack(ctx, id)
}

// Contacts implements api.Backend.
func (m *mesh) Contacts(_ context.Context, agent string) ([]api.Contact, error) {
	all := []api.Contact{}
	for _, r := range m.rooms {
		if agent != "" && r.agent.Name != agent {
			continue
		}
		list, err := r.agent.Contacts()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// Compare implements api.Backend.
func (m *mesh) Compare(ctx context.Context, agent, peer string) (api.Comparison, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Comparison{}, err
	}
	return r.agent.Compare(ctx, peer)
}

// Verify implements api.Backend.
func (m *mesh) Verify(ctx context.Context, agent, peer string, req api.VerifyRequest) (api.Contact, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Contact{}, err
	}
	return r.agent.Verify(ctx, peer, req)
}

// Keys implements api.Backend.
func (m *mesh) Keys(_ context.Context, agent string) (api.Keys, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Keys{}, err
	}
	return r.agent.Keys(), nil
}

// RotateKeys implements api.Backend.
func (m *mesh) RotateKeys(ctx context.Context, agent string) (api.Keys, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Keys{}, err
	}
	defer m.republish()
	return r.agent.RotateKeys(ctx)
}

// Revoke implements api.Backend.
func (m *mesh) Revoke(ctx context.Context, agent string, req api.RevokeRequest) (api.Revocation, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Revocation{}, err
	}
	defer m.republish()
	return r.agent.Revoke(ctx, req)
}

// Knocks implements api.Backend.
func (m *mesh) Knocks(_ context.Context, agent string) ([]api.Knock, error) {
	all := []api.Knock{}
	for _, r := range m.rooms {
		if agent != "" && r.agent.Name != agent {
			continue
		}
		list, err := r.agent.Knocks()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// Decide implements api.Backend.
func (m *mesh) Decide(ctx context.Context, agent, id string, approve bool, req api.DecideRequest) (api.Knock, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Knock{}, err
	}
	return r.agent.Decide(ctx, id, approve, req)
}

// Sessions implements api.Backend.
func (m *mesh) Sessions(_ context.Context, agent, peer string) ([]api.Session, error) {
	all := []api.Session{}
	for _, r := range m.rooms {
		if agent != "" && r.agent.Name != agent {
			continue
		}
		list, err := r.agent.Sessions(peer)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// Kill implements api.Backend.
func (m *mesh) Kill(ctx context.Context, agent, peer string) ([]api.Session, error) {
	r, err := m.room(agent)
	if err != nil {
		return nil, err
	}
	return r.agent.Kill(ctx, peer)
}

// Block implements api.Backend.
func (m *mesh) Block(_ context.Context, agent, peer string, blocked bool) (api.Policy, error) {
	amid, err := m.whom(agent, peer)
	if err != nil {
		return api.Policy{}, err
	}
	if err := m.policy.block(amid, blocked); err != nil {
		return api.Policy{}, err
	}
	return m.policy.view(agent)
}

// Policy implements api.Backend.
func (m *mesh) Policy(_ context.Context, agent string) (api.Policy, error) {
	return m.policy.view(agent)
}

// SetPolicy implements api.Backend.
func (m *mesh) SetPolicy(_ context.Context, agent string, c api.PolicyChange) (api.Policy, error) {
	if err := m.policy.set(c.Key, c.Value); err != nil {
		return api.Policy{}, err
	}
	return m.policy.view(agent)
}
