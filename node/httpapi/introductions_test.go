package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"amesh/node/api"
)

func (m *memory) Invite(_ context.Context, agent string, r api.InviteRequest) (api.Invite, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Invite{}, err
	}
	v := api.Invite{
		ID: fmt.Sprintf("0000000%d", len(b.asks)), Agent: agent, State: api.InviteOpen, Intents: r.Intents, Uses: r.Uses, Left: r.Uses,
		Limits: r.Limits, Label: r.Label, Made: start, GrantSeconds: r.GrantSeconds, Guests: []api.Guest{},
	}
	b.asks = append(b.asks, v)
	v.Text, v.Relays = "amesh1qqq", []string{"wss://relay.example"}
	return v, nil
}

func (m *memory) Invites(_ context.Context, agent string) ([]api.Invite, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return slices.Clone(b.asks), nil
}

func (m *memory) RevokeInvite(_ context.Context, agent, id string) (api.Invite, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Invite{}, err
	}
	v, err := pick(b.asks, "invite", id, func(v *api.Invite) string { return v.ID })
	if err != nil {
		return api.Invite{}, err
	}
	v.State = api.InviteRevoked
	return *v, nil
}

func (m *memory) Join(_ context.Context, agent string, r api.JoinRequest) (api.Join, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Join{}, err
	}
	if r.Invite != "amesh1qqq" {
		return api.Join{}, api.Problemf(http.StatusGone, api.CodeExpired, "the invite expired").WithHint("ask for another")
	}
	return api.Join{Agent: agent, Peer: bobAMID, State: api.JoinAccepted, Name: r.Name, Path: api.PathDirect, Words: []string{"zoo"}, Expires: start}, nil
}

func (m *memory) Contact(_ context.Context, agent, peer string) (api.Contact, error) {
	return m.changed(agent, peer, func(*box, *api.Contact) {})
}

func (m *memory) AddContact(_ context.Context, agent string, r api.ContactRequest) (api.Contact, error) {
	return m.changed(agent, r.AMID, func(_ *box, c *api.Contact) { c.Name = r.Name })
}

func (m *memory) RenameContact(_ context.Context, agent, peer string, r api.RenameRequest) (api.Contact, error) {
	return m.changed(agent, peer, func(_ *box, c *api.Contact) { c.Name = r.Name })
}

func (m *memory) RemoveContact(_ context.Context, agent, peer string) (api.Contact, error) {
	return m.changed(agent, peer, func(b *box, c *api.Contact) {
		gone := c.AMID
		b.known = slices.DeleteFunc(slices.Clone(b.known), func(c api.Contact) bool { return c.AMID == gone })
	})
}

// changed finds a contact, changes it and shows what it was changed to.
func (m *memory) changed(agent, peer string, change func(*box, *api.Contact)) (api.Contact, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Contact{}, err
	}
	c, err := pick(b.known, "contact", peer, func(c *api.Contact) string { return c.AMID.String() })
	if err != nil {
		return api.Contact{}, err
	}
	change(b, c)
	return *c, nil
}

// introductions is the part of the story about invites and contacts.
func introductions(ctx context.Context, b api.Backend, agent string, note func(string) func(any, error)) {
	note("Invite")(b.Invite(ctx, agent, api.InviteRequest{
		Intents: []string{"travel/flights"}, Uses: 3, ExpiresSeconds: 60, GrantSeconds: 3600, Limits: api.SessionLimits{Messages: 5}, Label: "for bob"}))
	note("Invite")(b.Invite(ctx, agent, api.InviteRequest{}))
	note("Invites")(b.Invites(ctx, agent))
	note("RevokeInvite")(b.RevokeInvite(ctx, agent, "00000000"))
	note("RevokeInvite")(b.RevokeInvite(ctx, agent, "none"))
	note("Join")(b.Join(ctx, agent, api.JoinRequest{Invite: "amesh1qqq", Name: "bob", TimeoutMS: 100, Patient: true}))
	note("Join")(b.Join(ctx, agent, api.JoinRequest{Invite: "old"}))
	note("Contact")(b.Contact(ctx, agent, bobAMID.String()))
	note("Contact")(b.Contact(ctx, agent, "nobody"))
	note("AddContact")(b.AddContact(ctx, agent, api.ContactRequest{AMID: bobAMID.String(), Name: "bob"}))
	note("RenameContact")(b.RenameContact(ctx, agent, bobAMID.String(), api.RenameRequest{Name: "rob"}))
	note("RemoveContact")(b.RemoveContact(ctx, agent, bobAMID.String()))
	note("RemoveContact")(b.RemoveContact(ctx, agent, bobAMID.String()))
}
