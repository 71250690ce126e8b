package client

import (
	"context"
	"fmt"
	"net/http"

	"amesh/identity"
	"amesh/registry/wire"
)

// RootKey is the key under which the registry signs certificates, by its own word:
// whether to trust it is the owner's to say.
func (c *Client) RootKey(ctx context.Context) (identity.PublicKey, error) {
	if err := c.mustBeOurs(ctx); err != nil {
		return identity.PublicKey{}, err
	}
	got, err := get[wire.RootReply](ctx, c, ours("", "certificates", "root"))
	if err != nil {
		return identity.PublicKey{}, err
	}
	key, err := identity.ParsePublicKeyText(got.RootKey)
	if err != nil {
		return key, fmt.Errorf("%w: root key: %w", ErrMalformed, err)
	}
	return key, nil
}

// Certificate is the best certificate that the registry has for an agent, in the compact
// form that goes into a knock. Nothing of it is verified. It returns ErrNotFound when
// there is none.
func (c *Client) Certificate(ctx context.Context, of identity.AMID) ([]byte, error) {
	if err := c.mustBeOurs(ctx); err != nil {
		return nil, err
	}
	got, err := get[wire.CertificateReply](ctx, c, ours("", "certificates", of.String()))
	if err != nil {
		return nil, err
	}
	raw, err := wire.DecodeBase64(got.Compact)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate: %w", ErrMalformed, err)
	}
	return raw, nil
}

// RevocationList is the registry's signed list of certificates that were taken back, as
// it was signed. It is not verified.
func (c *Client) RevocationList(ctx context.Context) ([]byte, error) {
	if err := c.mustBeOurs(ctx); err != nil {
		return nil, err
	}
	r := ours(http.MethodGet, "crl")
	r.limit = c.limits.ListBytes
	a, err := c.do(ctx, r)
	return a.body, err
}
