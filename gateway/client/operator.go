package client

import (
	"context"
	"net/http"
	"time"
)

// Domain is a domain on the operator's list.
type Domain struct {
	Name    string    `json:"domain"`
	State   string    `json:"state"` // known or blocked
	Note    string    `json:"note,omitempty"`
	Updated time.Time `json:"updated_at,omitzero"`
}

// Domains are those on the list, by name.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	got, err := get[struct {
		Domains []Domain `json:"domains"`
	}](ctx, c, nil, "admin", "domains")
	return got.Domains, err
}

// PutDomain puts a domain on the list, or changes it there.
func (c *Client) PutDomain(ctx context.Context, d Domain) (Domain, error) {
	return ask[Domain](ctx, c, call{method: http.MethodPut, path: []string{"v1", "admin", "domains", d.Name},
		body: map[string]string{"state": d.State, "note": d.Note}})
}

// RemoveDomain takes a domain off the list.
func (c *Client) RemoveDomain(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "admin", "domains", name}}, nil)
}

// APIKey is a key of a program or another gateway. Key is only there when it was made.
type APIKey struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Domain   string    `json:"domain,omitempty"`
	Scopes   []string  `json:"scopes,omitempty"`
	Expires  time.Time `json:"expires_at,omitzero"`
	Created  time.Time `json:"created_at,omitzero"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Key      string    `json:"api_key,omitempty"`
}

// NewAPIKey is a key to make.
type NewAPIKey struct {
	Name    string    `json:"name"`
	Domain  string    `json:"domain,omitempty"`
	Scopes  []string  `json:"scopes,omitempty"`
	Expires time.Time `json:"expires_at,omitzero"`
}

// APIKeys are all keys, by when they were made.
func (c *Client) APIKeys(ctx context.Context) ([]APIKey, error) {
	got, err := get[struct {
		Keys []APIKey `json:"api_keys"`
	}](ctx, c, nil, "admin", "apikeys")
	return got.Keys, err
}

// AddAPIKey makes a key, and returns it with the key itself.
func (c *Client) AddAPIKey(ctx context.Context, k NewAPIKey) (APIKey, error) {
	return ask[APIKey](ctx, c, call{method: http.MethodPost, path: []string{"v1", "admin", "apikeys"}, body: k})
}

// RevokeAPIKey makes a key worth nothing.
func (c *Client) RevokeAPIKey(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "admin", "apikeys", id}}, nil)
}
