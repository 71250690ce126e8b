package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// Revoked is a registry's word that an agent's key has left.
type Revoked struct {
	AMID   identity.AMID
	Reason string
	By     identity.AMID // who said so: the agent, or an administrator
	At     time.Time
}

type revokedJSON struct {
	AMID   string    `json:"amid"`
	Reason string    `json:"reason"`
	By     string    `json:"revoked_by"`
	At     time.Time `json:"revoked_at"`
}

func (j revokedJSON) revoked() (Revoked, error) {
	r := Revoked{Reason: harmless(j.Reason), At: j.At}
	var err error
	if r.AMID, err = identity.ParseAMID(j.AMID); err != nil {
		return r, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	// An administrator of the registry's own may have no AMID.
	r.By, _ = identity.ParseAMID(j.By)
	return r, nil
}

// Revoke has the registry mark an agent as revoked: the one of key itself, or, for an
// administrator, one of his organisation. reason is one of 0.2's, such as superseded. It
// is the registry's list only: what makes peers stop is a statement, PutRevocation.
func (c *Client) Revoke(ctx context.Context, key identity.PrivateKey, amid identity.AMID, reason, notes string) error {
	type body struct {
		AMID    string `json:"amid"`
		Reason  string `json:"reason"`
		Notes   string `json:"notes,omitempty"`
		Revoker string `json:"revoker_amid"`
		wire.Stamp
	}
	_, err := c.signed(ctx, key, post("registry", "revoke"), func(s wire.Stamp) any {
		return body{amid.String(), reason, notes, key.AMID().String(), s}
	})
	return err
}

type revocationStatus struct {
	AMID       string       `json:"amid"`
	Revoked    bool         `json:"revoked"`
	Revocation *revokedJSON `json:"revocation"`
	Error      *string      `json:"error"`
}

// status is nil for an agent that is not revoked.
func (s revocationStatus) status(amid identity.AMID) (*Revoked, error) {
	switch {
	case s.AMID != amid.String():
		return nil, fmt.Errorf("%w: asked for %s it answers about %.40q", ErrLie, amid, s.AMID)
	case s.Error != nil && *s.Error != "":
		// Not known is not "not revoked" (AgentMesh §8, 38).
		return nil, fmt.Errorf("%w: %s", ErrMalformed, harmless(*s.Error))
	case !s.Revoked:
		return nil, nil
	case s.Revocation == nil:
		return &Revoked{AMID: amid}, nil
	}
	r, err := s.Revocation.revoked()
	if err == nil && r.AMID != amid {
		err = fmt.Errorf("%w: a revocation of %s under the name %s", ErrLie, r.AMID, amid)
	}
	return &r, err
}

// IsRevoked asks whether the registry holds an agent for revoked, nil for not.
func (c *Client) IsRevoked(ctx context.Context, amid identity.AMID) (*Revoked, error) {
	got, err := get[revocationStatus](ctx, c, request{path: []string{"v1", "registry", "revocation"}, query: url.Values{"amid": {amid.String()}}})
	if err != nil {
		return nil, err
	}
	return got.status(amid)
}

// BulkMost is how many agents one call of AreRevoked may ask about.
const BulkMost = 100

// AreRevoked asks about several agents, at most BulkMost, and returns those that the
// registry holds for revoked. It tells the registry whom the caller cares about.
func (c *Client) AreRevoked(ctx context.Context, amids []identity.AMID) ([]Revoked, error) {
	raw, err := json.Marshal(struct {
		AMIDs []identity.AMID `json:"amids"`
	}{orEmpty(amids)})
	if err != nil {
		return nil, err
	}
	r := post("registry", "revocations", "bulk")
	r.body = raw
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	got, err := decode[struct {
		Revocations []revocationStatus `json:"revocations"`
	}](a)
	if err != nil {
		return nil, err
	}
	if len(got.Revocations) != len(amids) {
		return nil, fmt.Errorf("%w: %d answers about %d agents", ErrMalformed, len(got.Revocations), len(amids))
	}
	var list []Revoked
	for i, one := range got.Revocations {
		r, err := one.status(amids[i])
		if err != nil {
			return nil, err
		}
		if r != nil {
			list = append(list, *r)
		}
	}
	return list, nil
}

const (
	// revokedPage is how many rows of the list one request asks for.
	revokedPage = 1000
	// revokedPages is how many pages one look at the list reads.
	revokedPages = 10
)

// RevokedSince lists what the registry holds for revoked since a moment, the newest
// first, and at most what stands on the first ten pages. Asking for the list does not
// tell the registry whom the caller cares about.
func (c *Client) RevokedSince(ctx context.Context, since time.Time) ([]Revoked, error) {
	var list []Revoked
	for page := range revokedPages {
		got, err := get[struct {
			Rows  []revokedJSON `json:"revocations"`
			Total int           `json:"total"`
		}](ctx, c, request{path: []string{"v1", "registry", "revocations"}, limit: c.limits.ListBytes, query: url.Values{
			"limit": {strconv.Itoa(revokedPage)}, "offset": {strconv.Itoa(page * revokedPage)},
		}})
		if err != nil {
			return nil, err
		}
		for _, row := range got.Rows[:min(len(got.Rows), revokedPage)] {
			r, err := row.revoked()
			if err != nil {
				return nil, err
			}
			if r.At.Before(since) {
				return list, nil
			}
			list = append(list, r)
		}
		if len(got.Rows) < revokedPage {
			break
		}
	}
	return list, nil
}

// PutRevocation leaves the statement by which the key of an agent has left. It needs no
// proof of who brings it: it proves itself.
func (c *Client) PutRevocation(ctx context.Context, raw []byte) error {
	if err := c.mustBeOurs(ctx); err != nil {
		return err
	}
	r := ours(http.MethodPost, "revocations")
	var err error
	if r.body, err = json.Marshal(wire.StatementRequest{Statement: text(raw)}); err != nil {
		return err
	}
	_, err = c.do(ctx, r)
	if no, ok := errors.AsType[*StatusError](err); ok && no.Status == http.StatusConflict {
		return nil // it is there
	}
	return err
}

// Revocation fetches the statement by which an agent's key has left. It returns
// ErrNotFound, or ErrLie for one that the key did not sign.
func (c *Client) Revocation(ctx context.Context, amid identity.AMID) (*identity.Revocation, error) {
	if err := c.mustBeOurs(ctx); err != nil {
		return nil, err
	}
	got, err := get[wire.StatementReply](ctx, c, ours("", "revocations", amid.String()))
	if err != nil {
		return nil, err
	}
	return statementOf(got.Statement, amid)
}

// statementOf reads a statement that must be of an agent's key.
func statementOf(text string, amid identity.AMID) (*identity.Revocation, error) {
	raw, err := wire.DecodeBase64(text)
	if err != nil {
		return nil, fmt.Errorf("%w: revocation: %w", ErrLie, err)
	}
	v, err := identity.ParseRevocation(raw)
	if err == nil && v.AMID != amid {
		err = fmt.Errorf("it is of %s", v.AMID)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: revocation: %w", ErrLie, err)
	}
	return v, nil
}

// Departed is an agent whose key has left, by a statement of that key.
type Departed struct {
	AMID      identity.AMID
	Statement *identity.Revocation // nil: the registry's statement does not hold
}

// DepartedSince lists the agents whose keys have left by a statement of theirs, as far
// as the registry heard of it behind a cursor, at most one page. It returns the cursor to go on
// with, and whether there is more already. Asking for all does not tell the registry
// whom the caller cares about.
func (c *Client) DepartedSince(ctx context.Context, cursor int64) (list []Departed, next int64, more bool, err error) {
	if err := c.mustBeOurs(ctx); err != nil {
		return nil, cursor, false, err
	}
	r := ours("", "revocations")
	r.query, r.limit = url.Values{"since": {strconv.FormatInt(cursor, 10)}, "limit": {strconv.Itoa(revokedPage)}}, c.limits.ListBytes
	got, err := get[wire.RevocationFeed](ctx, c, r)
	if err != nil {
		return nil, cursor, false, err
	}
	for _, change := range got.Changes[:min(len(got.Changes), revokedPage)] {
		if change.Statement == "" {
			continue
		}
		amid, err := identity.ParseAMID(change.AMID)
		if err != nil {
			return nil, cursor, false, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		v, _ := statementOf(change.Statement, amid)
		list = append(list, Departed{amid, v})
	}
	// A cursor that stands still would have us ask for ever.
	return list, max(got.Cursor, cursor), got.More && got.Cursor > cursor, nil
}
