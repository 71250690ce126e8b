package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"amesh/node/api"
)

// directory are the routes that find agents, and the one that says what ours can do.
func (s *Server) directory(door huma.API) {
	b := s.cfg.Backend
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/search", id: "search",
		says: "Agents that can do something"},
		func(ctx context.Context, in *struct {
			About
			Words         string  `query:"words" maxLength:"200" doc:"words of name, description and capabilities"`
			Capability    string  `query:"capability" maxLength:"128" doc:"id of a capability, or its beginning up to a slash"`
			Category      string  `query:"category" maxLength:"64"`
			Tier          string  `query:"tier" enum:"verified,organization" doc:"at least this tier"`
			MinReputation float64 `query:"min_reputation" minimum:"0" maximum:"1"`
			Online        bool    `query:"online" doc:"only those that a registry believes to be there"`
			Limit         int     `query:"limit" minimum:"0" maximum:"100" doc:"default 20"`
		}) (api.SearchResult, error) {
			return b.Search(ctx, agentIn(ctx), api.SearchQuery{
				Words: in.Words, Capability: in.Capability, Category: in.Category, Tier: in.Tier,
				MinReputation: in.MinReputation, Online: in.Online, Limit: in.Limit,
			})
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/lookup/{id}", id: "lookup",
		says: "Who an agent is, and where that was learnt"},
		func(ctx context.Context, in *struct {
			One
			Document bool `query:"document" doc:"with the DID document"`
		}) (api.Lookup, error) {
			return b.Lookup(ctx, agentIn(ctx), in.ID, in.Document)
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/card", id: "card",
		says: "What an agent of this node says that it can do"},
		func(ctx context.Context, _ *About) (api.Card, error) { return b.Card(ctx, agentIn(ctx)) })
	route(s, door, verb{access: ownerOnly, method: http.MethodPut, path: "/v1/card", id: "set-card",
		says: "Say what an agent of this node can do; nothing takes it back"},
		func(ctx context.Context, in *struct {
			About
			Body api.CardContent
		}) (api.Card, error) {
			return b.SetCard(ctx, agentIn(ctx), in.Body)
		})
}
