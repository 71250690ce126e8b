package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"amesh/node/api"
)

// introductions are the routes of invites and contacts. Whoever can make an invite lets
// strangers in, so an agent's credential cannot.
func (s *Server) introductions(door huma.API) {
	b := s.cfg.Backend
	owner := func(method, path, id, says string) verb {
		return verb{access: ownerOnly, method: method, path: path, id: id, says: says}
	}
	route(s, door, owner(http.MethodPost, "/v1/invites", "invite", "Make an invite; only this answer has its text"),
		func(ctx context.Context, in *aboutWith[api.InviteRequest]) (api.Invite, error) {
			return b.Invite(ctx, agentIn(ctx), orZero(in.Body))
		})
	route(s, door, owner(http.MethodGet, "/v1/invites", "invites", "Invites that were made, newest first"),
		func(ctx context.Context, _ *About) (list[api.Invite], error) {
			return listed(b.Invites(ctx, agentIn(ctx)))
		})
	route(s, door, owner(http.MethodDelete, "/v1/invites/{id}", "revoke-invite", "End an invite; who came in by it stays"),
		func(ctx context.Context, in *One) (api.Invite, error) {
			return b.RevokeInvite(ctx, agentIn(ctx), in.ID)
		})
	route(s, door, owner(http.MethodPost, "/v1/invites/redeem", "join", "Enter by somebody's invite"),
		func(ctx context.Context, in *struct {
			About
			Body api.JoinRequest
		}) (api.Join, error) {
			if err := s.checkWait("", in.Body.TimeoutMS); err != nil {
				return api.Join{}, err
			}
			return b.Join(ctx, agentIn(ctx), in.Body)
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/contacts/{id}", id: "contact", says: "What is remembered of an agent"},
		func(ctx context.Context, in *One) (api.Contact, error) { return b.Contact(ctx, agentIn(ctx), in.ID) })
	route(s, door, owner(http.MethodPost, "/v1/contacts", "add-contact", "Give an agent a name"),
		func(ctx context.Context, in *struct {
			About
			Body api.ContactRequest
		}) (api.Contact, error) {
			return b.AddContact(ctx, agentIn(ctx), in.Body)
		})
	route(s, door, owner(http.MethodPatch, "/v1/contacts/{id}", "rename-contact", "Change a contact's name"),
		func(ctx context.Context, in *struct {
			One
			Body api.RenameRequest
		}) (api.Contact, error) {
			return b.RenameContact(ctx, agentIn(ctx), in.ID, in.Body)
		})
	route(s, door, owner(http.MethodDelete, "/v1/contacts/{id}", "remove-contact", "End what there is with a contact"),
		func(ctx context.Context, in *One) (api.Contact, error) {
			return b.RemoveContact(ctx, agentIn(ctx), in.ID)
		})
}
