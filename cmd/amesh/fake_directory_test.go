package main

import (
	"context"

	"amesh/node/api"
)

// finding is the part of the small node that finds agents.
type finding struct {
	queries []api.SearchQuery
	found   api.SearchResult
	looked  []string
	who     api.Lookup
	card    api.Card
}

func (f *finding) Search(_ context.Context, _ string, q api.SearchQuery) (api.SearchResult, error) {
	f.queries = append(f.queries, q)
	return f.found, nil
}

func (f *finding) Lookup(_ context.Context, _, who string, _ bool) (api.Lookup, error) {
	f.looked = append(f.looked, who)
	if f.who.AMID.IsZero() {
		return f.who, api.Problemf(404, api.CodeNotFound, "nobody knows %s", who).WithHint("check the AMID")
	}
	return f.who, nil
}

func (f *finding) Card(context.Context, string) (api.Card, error) { return f.card, nil }

func (f *finding) SetCard(_ context.Context, _ string, c api.CardContent) (api.Card, error) {
	f.card.CardContent = c
	return f.card, nil
}
