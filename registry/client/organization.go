package client

import (
	"context"
	"net/url"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// Organization is what a registry says of an organisation.
type Organization struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Domain   string    `json:"domain"`
	Verified bool      `json:"verified"`
	Agents   int       `json:"agent_count"`
	Created  time.Time `json:"created_at"`
}

// Challenge is the DNS record that proves a domain.
type Challenge struct {
	Type    string    `json:"record_type"`
	Name    string    `json:"record_name"`
	Value   string    `json:"record_value"`
	Expires time.Time `json:"expires_at"`
}

// RegisterOrganization claims a domain for an organisation whose administrator key is,
// and returns its id and what to put into the DNS.
func (c *Client) RegisterOrganization(ctx context.Context, key identity.PrivateKey, name, domain string) (string, Challenge, error) {
	type body struct {
		Name   string `json:"name"`
		Domain string `json:"domain"`
		Admin  string `json:"admin_amid"`
		Key    string `json:"admin_signing_public_key"`
		wire.Stamp
	}
	a, err := c.signed(ctx, key, post("org", "register"), func(s wire.Stamp) any {
		return body{name, domain, key.AMID().String(), key.Public().Text(), s}
	})
	if err != nil {
		return "", Challenge{}, err
	}
	got, err := decode[struct {
		ID        string    `json:"organization_id"`
		Challenge Challenge `json:"dns_challenge"`
	}](a)
	got.Challenge.Type, got.Challenge.Name = harmless(got.Challenge.Type), harmless(got.Challenge.Name)
	got.Challenge.Value = harmless(got.Challenge.Value)
	return harmless(got.ID), got.Challenge, err
}

// VerifyOrganization has the registry look into the DNS. It returns false when the
// record is not there yet, and the certificate once it was.
func (c *Client) VerifyOrganization(ctx context.Context, key identity.PrivateKey, id string) (verified bool, certificate string, err error) {
	type body struct {
		ID    string `json:"organization_id"`
		Admin string `json:"admin_amid"`
		wire.Stamp
	}
	a, err := c.signed(ctx, key, post("org", "verify"), func(s wire.Stamp) any { return body{id, key.AMID().String(), s} })
	if err != nil {
		return false, "", err
	}
	got, err := decode[struct {
		Verified    bool    `json:"verified"`
		Certificate *string `json:"root_certificate"`
	}](a)
	return got.Verified, cut(got.Certificate, longestArmoured), err
}

// Member is an agent that an organisation takes in.
type Member struct {
	Key          identity.PublicKey
	Exchange     [identity.ExchangeKeySize]byte
	Name         string
	Capabilities []string
}

// AddMember has an organisation take in an agent; key is the administrator's. It
// returns the agent's certificate.
func (c *Client) AddMember(ctx context.Context, key identity.PrivateKey, id string, m Member) (string, error) {
	type body struct {
		ID           string   `json:"organization_id"`
		Agent        string   `json:"agent_amid"`
		Key          string   `json:"agent_signing_public_key"`
		Exchange     string   `json:"agent_exchange_public_key"`
		Name         string   `json:"display_name,omitempty"`
		Capabilities []string `json:"capabilities"`
		Admin        string   `json:"admin_amid"`
		Signature    string   `json:"admin_signature"`
		Timestamp    string   `json:"timestamp"`
	}
	a, err := c.signed(ctx, key, post("org", "agents"), func(s wire.Stamp) any {
		return body{id, m.Key.AMID().String(), m.Key.Text(), text(m.Exchange[:]), m.Name, orEmpty(m.Capabilities),
			key.AMID().String(), s.Signature, s.Timestamp}
	})
	if err != nil {
		return "", err
	}
	got, err := decode[struct {
		Certificate *string `json:"agent_certificate"`
	}](a)
	return cut(got.Certificate, longestArmoured), err
}

// Organization finds an organisation by its domain. It returns ErrNotFound.
func (c *Client) Organization(ctx context.Context, domain string) (Organization, error) {
	o, err := get[Organization](ctx, c, request{path: []string{"v1", "org", "lookup"}, query: url.Values{"domain": {domain}}})
	o.ID, o.Name, o.Domain = harmless(o.ID), harmless(o.Name), harmless(o.Domain)
	return o, err
}
