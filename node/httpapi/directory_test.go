package httpapi

import (
	"context"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

// directoryStory is the part of the story that is about finding agents.
func directoryStory(ctx context.Context, b api.Backend, agent string, note func(string) func(any, error)) {
	full := api.SearchQuery{Words: "cheap flights", Capability: "travel/flight-search", Category: "travel", Tier: "verified",
		MinReputation: 0.25, Online: true, Limit: 7}
	for _, q := range []api.SearchQuery{full, {Words: "ü &="}, {}} {
		note("Search")(b.Search(ctx, agent, q))
	}
	for _, document := range []bool{false, true} {
		note("Lookup")(b.Lookup(ctx, agent, "did:agentmesh:x/y?z", document))
	}
	note("Card")(b.Card(ctx, agent))
	note("SetCard")(b.SetCard(ctx, agent, api.CardContent{Name: "Bot", Description: "does\nthings", Capabilities: []identity.Capability{
		{ID: "travel/flight-search", Category: "travel", Pricing: identity.Pricing{Amount: "0.05", Currency: "EUR"}},
	}}))
}

func TestSearchIsBounded(t *testing.T) {
	h := openHouse(t)
	alice := h.client(api.ClientConfig{URL: "http://" + h.host, Token: h.tokens["alice"]})
	for name, q := range map[string]api.SearchQuery{
		"too many": {Words: "x", Limit: 101}, "no tier": {Words: "x", Tier: "great"}, "beyond 1": {Words: "x", MinReputation: 2},
		"long words": {Words: strings.Repeat("x", 201)},
	} {
		if _, err := alice.Search(t.Context(), "", q); codeOf(err) != api.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
