package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"amesh/identity"
	"amesh/registry/wire"
)

// ours is a request of the part of the API that only amesh registries have.
func ours(method string, segments ...string) request {
	return request{method: method, path: append([]string{"v1", "amesh"}, segments...)}
}

// mustBeOurs returns ErrUnsupported for a registry of plain 0.2.
func (c *Client) mustBeOurs(ctx context.Context) error {
	kind, err := c.Learn(ctx)
	if err == nil && kind == KindLegacy {
		return ErrUnsupported
	}
	return err
}

// fetch gets the signed bytes of something of an agent.
func (c *Client) fetch(ctx context.Context, what string, amid identity.AMID) ([]byte, error) {
	if err := c.mustBeOurs(ctx); err != nil {
		return nil, err
	}
	a, err := c.do(ctx, ours(http.MethodGet, what, amid.String()))
	if err != nil {
		return nil, err
	}
	if a.kind != wire.Binary {
		return nil, fmt.Errorf("%w: its type is %.60q", ErrMalformed, a.kind)
	}
	return a.body, nil
}

// PutRecord leaves an agent's signed record.
func (c *Client) PutRecord(ctx context.Context, key identity.PrivateKey, raw []byte) error {
	r := ours(http.MethodPut, "records", key.AMID().String())
	r.body, r.kind = raw, wire.Binary
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
	r.body, r.kind = raw, wire.Binary
	_, err := c.sealed(ctx, key, r)
	return err
}

// PutOneTimeKeys leaves signed one-time keys of an agent to be handed out, one of each
// kind at a time, and returns how many are there now.
func (c *Client) PutOneTimeKeys(ctx context.Context, key identity.PrivateKey, keys [][]byte) (wire.OneTimeKeysReply, error) {
	raw, err := json.Marshal(wire.OneTimeKeysRequest{Keys: orEmpty(keys)})
	if err != nil {
		return wire.OneTimeKeysReply{}, err
	}
	r := ours(http.MethodPost, "one-time-keys", key.AMID().String())
	r.body = raw
	a, err := c.sealed(ctx, key, r)
	if err != nil {
		return wire.OneTimeKeysReply{}, err
	}
	return decode[wire.OneTimeKeysReply](a)
}

// TakeOneTimeKeys takes one one-time key of each kind of an agent, as far as there are
// any; key proves who takes them. They are not verified yet.
func (c *Client) TakeOneTimeKeys(ctx context.Context, key identity.PrivateKey, of identity.AMID) (wire.TakenKeys, error) {
	r := ours(http.MethodPost, "one-time-keys", of.String(), "take")
	r.body = []byte("{}")
	a, err := c.sealed(ctx, key, r)
	if errors.Is(err, ErrNotFound) { // it does not know us: strangers may ask, too
		a, err = c.do(ctx, r)
	}
	if err != nil {
		return wire.TakenKeys{}, err
	}
	return decode[wire.TakenKeys](a)
}

// Card fetches the card of an agent. It returns ErrNotFound, or ErrLie for one that the
// agent did not sign.
func (c *Client) Card(ctx context.Context, amid identity.AMID) (*identity.Card, error) {
	raw, err := c.fetch(ctx, "cards", amid)
	if err != nil {
		return nil, err
	}
	card, err := identity.ParseCard(raw)
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
	if err := c.mustBeOurs(ctx); err != nil {
		return wire.SearchPage{}, err
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
