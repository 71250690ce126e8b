package client

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// Provider is somebody who can vouch for the human behind an agent.
type Provider struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
	Display string `json:"display_name"`
}

// Providers lists with whom the registry verifies.
func (c *Client) Providers(ctx context.Context) ([]Provider, error) {
	got, err := get[struct {
		Providers []Provider `json:"providers"`
	}](ctx, c, request{path: []string{"v1", "auth", "oauth", "providers"}})
	list := got.Providers[:min(len(got.Providers), mostFlags)]
	for i := range list {
		list[i].Name, list[i].Display = harmless(list[i].Name), harmless(list[i].Display)
	}
	return list, err
}

// Authorization is the way for the owner to verify his agent.
type Authorization struct {
	URL     string // to open in a browser; https
	State   string
	Expires time.Duration // how long that works
}

// Authorize begins to verify an agent with a provider.
func (c *Client) Authorize(ctx context.Context, key identity.PrivateKey, provider string) (Authorization, error) {
	type body struct {
		AMID     string `json:"amid"`
		Provider string `json:"provider"`
		wire.Stamp
	}
	a, err := c.signed(ctx, key, post("auth", "oauth", "authorize"), func(s wire.Stamp) any { return body{key.AMID().String(), provider, s} })
	if err != nil {
		return Authorization{}, err
	}
	got, err := decode[struct {
		URL     string `json:"authorization_url"`
		State   string `json:"state"`
		Expires int    `json:"expires_in"`
	}](a)
	if err != nil {
		return Authorization{}, err
	}
	// The owner will open it: nothing but a web page, so that no other program starts.
	u, err := url.Parse(got.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return Authorization{}, fmt.Errorf("%w: authorization_url %.80q", ErrMalformed, got.URL)
	}
	return Authorization{URL: u.String(), State: harmless(got.State), Expires: time.Duration(max(got.Expires, 0)) * time.Second}, nil
}
