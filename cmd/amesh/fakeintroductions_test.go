package main

import (
	"context"
	"slices"

	"amesh/node/api"
)

// fakeHost is what a fakeNode knows of invites.
type fakeHost struct {
	invites []api.Invite
	asked   []api.InviteRequest
	join    api.Join
	joinErr error
	joins   []api.JoinRequest
}

func (f *fakeNode) Invite(_ context.Context, _ string, r api.InviteRequest) (api.Invite, error) {
	f.asked = append(f.asked, r)
	return f.invites[0], nil
}

func (f *fakeNode) Invites(context.Context, string) ([]api.Invite, error) { return f.invites, nil }

func (f *fakeNode) RevokeInvite(_ context.Context, _, id string) (api.Invite, error) {
	for _, v := range f.invites {
		if v.ID == id {
			v.State = api.InviteRevoked
			return v, nil
		}
	}
	return api.Invite{}, api.Problemf(404, api.CodeNotFound, "no invite with the id %q", id).WithHint("`amesh invite list` shows them")
}

func (f *fakeNode) Join(_ context.Context, _ string, r api.JoinRequest) (api.Join, error) {
	f.joins = append(f.joins, r)
	return f.join, f.joinErr
}

func (f *fakeNode) Contact(_ context.Context, _, text string) (api.Contact, error) {
	c, err := f.contact(text)
	if err != nil {
		return api.Contact{}, err
	}
	return *c, nil
}

func (f *fakeNode) AddContact(_ context.Context, _ string, r api.ContactRequest) (api.Contact, error) {
	c := api.Contact{AMID: f.self.AMID, Name: r.Name, Source: "manual"}
	f.contacts = append(f.contacts, c)
	return c, nil
}

func (f *fakeNode) RenameContact(_ context.Context, _, text string, r api.RenameRequest) (api.Contact, error) {
	c, err := f.contact(text)
	if err != nil {
		return api.Contact{}, err
	}
	c.Name = r.Name
	return *c, nil
}

func (f *fakeNode) RemoveContact(_ context.Context, _, text string) (api.Contact, error) {
	c, err := f.contact(text)
	if err != nil {
		return api.Contact{}, err
	}
	gone := *c
	f.contacts = slices.DeleteFunc(f.contacts, func(c api.Contact) bool { return c.AMID == gone.AMID })
	return gone, nil
}
