package node

import (
	"context"

	"amesh/identity"
	"amesh/node/api"
)

// Invite implements api.Backend. The invite shows the way that strangers may know.
func (m *mesh) Invite(ctx context.Context, agent string, req api.InviteRequest) (api.Invite, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Invite{}, err
	}
	at := m.public(r)
	if len(at.Relays) == 0 {
		at.Relays = m.node.cfg.Relays // none is reached yet, and one of them will be
	}
	at.Relays = at.Relays[:min(len(at.Relays), identity.MaxInviteRelays)]
	return r.agent.Invite(ctx, req, at)
}

// Invites implements api.Backend.
func (m *mesh) Invites(_ context.Context, agent string) ([]api.Invite, error) {
	all := []api.Invite{}
	for _, r := range m.rooms {
		if agent != "" && r.agent.Name != agent {
			continue
		}
		list, err := r.agent.Invites()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// RevokeInvite implements api.Backend.
func (m *mesh) RevokeInvite(ctx context.Context, agent, id string) (api.Invite, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Invite{}, err
	}
	return r.agent.RevokeInvite(ctx, id)
}

// Join implements api.Backend.
func (m *mesh) Join(ctx context.Context, agent string, req api.JoinRequest) (api.Join, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Join{}, err
	}
	j, err := r.agent.Join(ctx, req)
	if err == nil {
		if by := r.paths.by(j.Peer); by != api.PathNone {
			j.Path = by
		}
	}
	return j, err
}

// Contact implements api.Backend.
func (m *mesh) Contact(_ context.Context, agent, peer string) (api.Contact, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Contact{}, err
	}
	return r.agent.Contact(peer)
}

// AddContact implements api.Backend.
func (m *mesh) AddContact(ctx context.Context, agent string, req api.ContactRequest) (api.Contact, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Contact{}, err
	}
	return r.agent.AddContact(ctx, req)
}

// RenameContact implements api.Backend.
func (m *mesh) RenameContact(ctx context.Context, agent, peer string, req api.RenameRequest) (api.Contact, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Contact{}, err
	}
	return r.agent.RenameContact(ctx, peer, req)
}

// RemoveContact implements api.Backend.
func (m *mesh) RemoveContact(ctx context.Context, agent, peer string) (api.Contact, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Contact{}, err
	}
	c, err := r.agent.RemoveContact(ctx, peer)
	r.guests.refresh()
	return c, err
}

// whom reads what names a peer. Only a name needs to know whose contact it is.
func (m *mesh) whom(agent, peer string) (identity.AMID, error) {
	if amid, err := identity.ParseAMID(peer); err == nil {
		return amid, nil
	}
	r, err := m.room(agent)
	if err != nil {
		return identity.AMID{}, err
	}
	return r.agent.Resolve(peer)
}
