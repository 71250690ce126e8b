package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"amesh/node/api"
)

// diagnosis are the routes that say how things are, and why.
func (s *Server) diagnosis(door huma.API) {
	b := s.cfg.Backend
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/peers/{id}/why", id: "why",
		says: "How messages reach a peer, what was tried, and what would make it direct"},
		func(ctx context.Context, in *One) (api.Why, error) { return b.Why(ctx, agentIn(ctx), in.ID) })
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/peers/{id}/try", id: "try",
		says: "Begin an attempt at a direct path now"},
		func(ctx context.Context, in *oneWith[struct{}]) (api.Why, error) {
			return b.TryDirect(ctx, agentIn(ctx), in.ID)
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodPost, path: "/v1/peers/{id}/ping", id: "ping",
		says: "An echo of a peer's node, sealed in the session with it"},
		func(ctx context.Context, in *oneWith[api.PingRequest]) (api.Ping, error) {
			return b.Ping(ctx, agentIn(ctx), in.ID, orZero(in.Body))
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/netcheck", id: "netcheck",
		says: "What the network lets this node do"},
		func(ctx context.Context, in *aboutWith[api.NetcheckRequest]) (api.Netcheck, error) {
			return b.Netcheck(ctx, orZero(in.Body))
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/bugreport", id: "bugreport",
		says: "What helps to find a fault, without secrets or messages; it is sent nowhere"},
		func(ctx context.Context, in *aboutWith[api.BugreportRequest]) (api.Bugreport, error) {
			return b.Bugreport(ctx, orZero(in.Body))
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/doctor", id: "doctor",
		says: "Look the node, its home and its machine over"},
		func(ctx context.Context, _ *aboutWith[struct{}]) (api.Doctor, error) {
			return b.Doctor(ctx)
		})
}
