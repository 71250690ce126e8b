package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"amesh/identity"
	"amesh/registry/wire"
)

// binary is the content type of signed objects, which travel as they were signed.
const binary = "application/octet-stream"

// ours is a request of the part of the API that only amesh registries have.
func ours(method string, segments ...string) request {
	return request{method: method, path: append([]string{"v1", "amesh"}, segments...)}
}

// fetch gets the signed bytes of something of an agent.
func (c *Client) fetch(ctx context.Context, what string, amid identity.AMID) ([]byte, error) {
	if kind, err := c.Learn(ctx); err != nil {
		return nil, err
	} else if kind == KindLegacy {
		return nil, ErrUnsupported
	}
	a, err := c.do(ctx, ours(http.MethodGet, what, amid.String()))
	if err != nil {
		return nil, err
	}
	if a.kind != binary {
		return nil, fmt.Errorf("%w: its type is %.60q", ErrMalformed, a.kind)
	}
	return a.body, nil
}

// PutRecord leaves an agent's signed record.
func (c *Client) PutRecord(ctx context.Context, key identity.PrivateKey, raw []byte) error {
	r := ours(http.MethodPut, "records", key.AMID().String())
	r.body, r.kind = raw, binary
	_, err := c.sealed(ctx, key, r)
	return err
}

// Record fetches the record of an agent. It returns ErrNotFound, or ErrLie with what is
// wrong for one that the agent did not sign or that does not hold now.
func (c *Client) Record(ctx context.Context, amid identity.AMID) (*identity.AgentRecord, error) {
	raw, err := c.fetch(ctx, "records", amid)
	if err != nil {
		return nil, err
	}
	rec, err := identity.ParseAgentRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLie, err)
	}
	if rec.AMID != amid {
		return nil, fmt.Errorf("%w: a record of %s under the name %s", ErrLie, rec.AMID, amid)
	}
	if err := rec.Valid(c.clock()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err) // as good as none
	}
	return rec, nil
}

// PutCard leaves an agent's signed card.
func (c *Client) PutCard(ctx context.Context, key identity.PrivateKey, raw []byte) error {
	r := ours(http.MethodPut, "cards", key.AMID().String())
	r.body, r.kind = raw, binary
	_, err := c.sealed(ctx, key, r)
	return err
}

// OneTimeKeys is one one-time key of each kind, as their agent signed them; nil: none.
type OneTimeKeys struct {
	X25519, KEM []byte
}

// OneTimeLeft is how many one-time keys of each kind a registry has for an agent.
type OneTimeLeft struct {
	X25519 int `json:"x25519"`
	KEM    int `json:"kem"`
}

// keysJSON are signed one-time keys on their way.
type keysJSON struct {
	AMID string   `json:"amid"`
	Keys [][]byte `json:"keys"`
}

// PutOneTimeKeys leaves signed one-time keys of an agent to be handed out, one of each
// kind at a time, and returns how many are there now.
func (c *Client) PutOneTimeKeys(ctx context.Context, key identity.PrivateKey, keys [][]byte) (OneTimeLeft, error) {
	raw, err := json.Marshal(keysJSON{key.AMID().String(), orEmpty(keys)})
	if err != nil {
		return OneTimeLeft{}, err
	}
	r := ours(http.MethodPost, "one-time-keys", key.AMID().String())
	r.body = raw
	a, err := c.sealed(ctx, key, r)
	if err != nil {
		return OneTimeLeft{}, err
	}
	return decode[OneTimeLeft](a)
}

// TakeOneTimeKeys takes one one-time key of each kind of an agent, as far as there are
// any; key proves who takes them. They are not verified yet.
func (c *Client) TakeOneTimeKeys(ctx context.Context, key identity.PrivateKey, of identity.AMID) (OneTimeKeys, error) {
	raw, err := json.Marshal(struct {
		AMID string `json:"amid"`
	}{key.AMID().String()})
	if err != nil {
		return OneTimeKeys{}, err
	}
	r := ours(http.MethodPost, "one-time-keys", of.String(), "take")
	r.body = raw
	a, err := c.sealed(ctx, key, r)
	if err != nil {
		return OneTimeKeys{}, err
	}
	got, err := decode[struct {
		X25519 []byte `json:"x25519"`
		KEM    []byte `json:"kem"`
	}](a)
	return OneTimeKeys{X25519: got.X25519, KEM: got.KEM}, err
}

// Card fetches the card of an agent. It returns ErrNotFound, or ErrLie for one that the
// agent did not sign.
func (c *Client) Card(ctx context.Context, amid identity.AMID) (*identity.Card, error) {
	if kind, err := c.Learn(ctx); err != nil {
		return nil, err
	} else if kind == KindLegacy {
		return nil, ErrUnsupported
	}
	got, err := get[wire.CardView](ctx, c, ours("", "cards", amid.String()))
	if err != nil {
		return nil, err
	}
	card, err := identity.ParseCard(got.Signed)
	if err == nil && card.Agent != amid {
		err = fmt.Errorf("a card of %s under the name %s", card.Agent, amid)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLie, err)
	}
	if err := card.Valid(c.clock()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err) // as good as none
	}
	return card, nil
}

// Search asks an amesh registry for agents, for one page. Rows that are no agent's are
// left out; the rest is the registry's word.
func (c *Client) Search(ctx context.Context, q wire.SearchQuery) (wire.SearchPage, error) {
	if kind, err := c.Learn(ctx); err != nil {
		return wire.SearchPage{}, err
	} else if kind == KindLegacy {
		return wire.SearchPage{}, ErrUnsupported
	}
	query := url.Values{}
	for name, value := range map[string]string{
		"q": q.Q, "category": q.Category, "subcategory": q.Subcategory, "action": q.Action, "prefix": q.Prefix, "tier": q.Tier, "cursor": q.Cursor,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	r := ours("", "search")
	r.query = query
	page, err := get[wire.SearchPage](ctx, c, r)
	rows := page.Items[:min(len(page.Items), c.limits.Page)]
	page.Items = nil
	for _, row := range rows {
		if _, err := identity.ParseAMID(row.AMID); err != nil {
			continue
		}
		row.Name, row.Summary, row.Capabilities = harmless(row.Name), harmless(row.Summary), few(row.Capabilities, mostWords)
		page.Items = append(page.Items, row)
	}
	return page, err
}
