package httpapi

import (
	"context"
	"net/http"

	"amesh/node/api"
)

func (m *memory) Search(_ context.Context, agent string, q api.SearchQuery) (api.SearchResult, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.SearchResult{}, err
	}
	if q.Words == "" && q.Capability == "" && q.Category == "" {
		return api.SearchResult{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "nothing to look for").WithHint("give words")
	}
	score := q.MinReputation
	return api.SearchResult{
		Items: []api.Hit{{AMID: bobAMID, Name: q.Words, Capabilities: []string{q.Capability, q.Category, q.Tier}, Tier: "anonymous",
			Reputation: &score, Signed: q.Online, From: []string{"dht"}}},
		Sources: []api.Source{{Name: "dht", State: "found", Hits: q.Limit}},
	}, nil
}

func (m *memory) Lookup(_ context.Context, agent, who string, document bool) (api.Lookup, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Lookup{}, err
	}
	l := api.Lookup{AMID: bobAMID, DID: bobAMID.DID(), Name: who, Registries: []api.LookupRegistry{}, Sources: []api.Source{}}
	if document {
		l.Document = []byte(`{"id":"` + bobAMID.DID() + `"}`)
	}
	return l, nil
}

func (m *memory) Card(_ context.Context, agent string) (api.Card, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	return api.Card{Agent: agent, AMID: bobAMID, Published: []string{}}, err
}

func (m *memory) SetCard(_ context.Context, agent string, c api.CardContent) (api.Card, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	return api.Card{Agent: agent, AMID: bobAMID, CardContent: c, Published: []string{}}, err
}
