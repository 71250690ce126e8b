package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Search implements Directory.
func (c *Client) Search(ctx context.Context, agent string, q SearchQuery) (SearchResult, error) {
	query := url.Values{}
	for name, value := range map[string]string{"words": q.Words, "capability": q.Capability, "category": q.Category, "tier": q.Tier} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.MinReputation != 0 {
		query.Set("min_reputation", strconv.FormatFloat(q.MinReputation, 'f', -1, 64))
	}
	if q.Online {
		query.Set("online", "true")
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return get[SearchResult](ctx, c, agent, call{path: []string{"search"}, query: query})
}

// Lookup implements Directory.
func (c *Client) Lookup(ctx context.Context, agent, who string, document bool) (Lookup, error) {
	k := call{path: []string{"lookup", who}}
	if document {
		k.query = url.Values{"document": {"true"}}
	}
	return get[Lookup](ctx, c, agent, k)
}

// Card implements Directory.
func (c *Client) Card(ctx context.Context, agent string) (Card, error) {
	return get[Card](ctx, c, agent, call{path: []string{"card"}})
}

// SetCard implements Directory.
func (c *Client) SetCard(ctx context.Context, agent string, content CardContent) (Card, error) {
	var out Card
	err := c.do(ctx, agent, call{method: http.MethodPut, path: []string{"card"}, in: content}, &out)
	return out, err
}
