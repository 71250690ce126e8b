package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// Registration is what a registry is told of an agent beside its keys.
type Registration struct {
	Exchange     [identity.ExchangeKeySize]byte
	Name         string // may be empty
	Capabilities []string
	Relay        string // URL of a home; may be empty
}

// Agent is what a registry says of an agent. The key is the agent's, because the AMID
// was computed from it; everything else is the registry's word.
type Agent struct {
	AMID         identity.AMID
	Key          identity.PublicKey
	Exchange     [identity.ExchangeKeySize]byte // not proved by anything: use the bundle of the record
	Tier         wire.Tier
	Name         string
	Organization string
	Capabilities []string
	Relay        string
	Direct       string
	Status       wire.Status
	Reputation   float64 // 0 to 1
	Ratings      int
	Rated        bool // there are enough ratings to mean something
	Flags        []string
	LastSeen     time.Time // zero: never
	Certificate  string    // empty: none
	Revoked      bool
}

// Register registers an agent, or brings what changed to a registry that knows it: 0.2
// answers 409 then, which is success.
func (c *Client) Register(ctx context.Context, key identity.PrivateKey, reg Registration) error {
	b := wire.RegisterRequest{
		AMID: key.AMID().String(), SigningPublicKey: key.Public().Text(), ExchangePublicKey: text(reg.Exchange[:]),
		Capabilities: reg.Capabilities, RelayEndpoint: reg.Relay,
	}
	if reg.Name != "" {
		b.DisplayName = &reg.Name
	}
	a, err := c.signed(ctx, key, post("registry", "register"), func(s wire.Stamp) any {
		b.Stamp = s
		return b
	})
	if no, ok := errors.AsType[*StatusError](err); !ok || no.Status != http.StatusConflict {
		return err
	}
	var said wire.RegisterReply
	if c.Kind() == KindAmesh && (json.Unmarshal(a.body, &said) != nil || !said.Updated) {
		return err
	}
	return nil
}

// Lookup is what the registry says of an agent. It returns ErrNotFound, or ErrLie where
// the key is not the agent's.
func (c *Client) Lookup(ctx context.Context, amid identity.AMID) (Agent, error) {
	got, err := get[wire.LookupReply](ctx, c, request{path: []string{"v1", "registry", "lookup"}, query: url.Values{"amid": {amid.String()}}})
	if err != nil {
		return Agent{}, err
	}
	a, err := agentIn(got)
	if err == nil && a.AMID != amid {
		err = fmt.Errorf("%w: asked for %s it answers about %s", ErrLie, amid, a.AMID)
	}
	return a, err
}

// SearchExact finds agents with exactly this capability, the only search that 0.2 has.
// Rows that do not hold are left out; lied says how many. limit is at most
// Limits.Page.
func (c *Client) SearchExact(ctx context.Context, capability string, limit int) (found []Agent, lied int, err error) {
	type page struct {
		Results []json.RawMessage `json:"results"`
	}
	limit = min(limit, c.limits.Page)
	got, err := get[page](ctx, c, request{path: []string{"v1", "registry", "search"}, query: url.Values{
		"capability": {capability}, "limit": {fmt.Sprint(limit)},
	}})
	if err != nil {
		return nil, 0, err
	}
	for _, raw := range got.Results[:min(len(got.Results), limit)] {
		var one wire.LookupReply
		if json.Unmarshal(raw, &one) != nil {
			lied++
			continue
		}
		a, err := agentIn(one)
		if err != nil {
			lied++
			continue
		}
		found = append(found, a)
	}
	return found, lied, nil
}

// SetStatus tells the registry whether the agent is there: online, away, offline or dnd.
func (c *Client) SetStatus(ctx context.Context, key identity.PrivateKey, status wire.Status) error {
	_, err := c.signed(ctx, key, post("registry", "status"), func(s wire.Stamp) any {
		return wire.StatusRequest{AMID: key.AMID().String(), Status: status, Stamp: s}
	})
	return err
}

// SetCapabilities replaces the capabilities by which 0.2 finds the agent.
func (c *Client) SetCapabilities(ctx context.Context, key identity.PrivateKey, list []string) error {
	_, err := c.signed(ctx, key, post("registry", "capabilities"), func(s wire.Stamp) any {
		return wire.CapabilitiesRequest{AMID: key.AMID().String(), Capabilities: orEmpty(list), Stamp: s}
	})
	return err
}

// Stats asks for the registry's numbers.
func (c *Client) Stats(ctx context.Context) (wire.Stats, error) {
	return get[wire.Stats](ctx, c, request{path: []string{"v1", "registry", "stats"}})
}

// Health asks whether the registry works.
func (c *Client) Health(ctx context.Context) (wire.Health, error) {
	return get[wire.Health](ctx, c, request{path: []string{"v1", "health"}})
}

// Document is the DID document of an agent, as the registry has it, and the signing key
// in it, which is the agent's. Every spelling that the mesh has seen is read (§1.5). It
// returns ErrNotFound or ErrLie.
func (c *Client) Document(ctx context.Context, amid identity.AMID) (json.RawMessage, identity.PublicKey, error) {
	a, err := c.do(ctx, request{method: http.MethodGet, path: []string{"v1", "registry", "did", amid.String()}})
	if err != nil {
		return nil, identity.PublicKey{}, err
	}
	d, err := decode[identity.DIDDocument](a)
	if err != nil {
		return nil, identity.PublicKey{}, err
	}
	key, err := d.SigningKey()
	if err == nil && key.AMID() != amid {
		err = fmt.Errorf("it is of %s", key.AMID())
	}
	if err != nil {
		return nil, identity.PublicKey{}, fmt.Errorf("%w: DID document: %w", ErrLie, err)
	}
	return a.body, key, nil
}

// Bounds on what is taken over of an agent's texts: a registry may write anything.
const (
	mostWords       = 64
	longestWord     = 128
	longestName     = 255
	longestURL      = 512
	mostFlags       = 16
	longestArmoured = 16 << 10
)

// agentIn holds an answer against what it must be; it returns ErrLie or ErrMalformed.
func agentIn(j wire.LookupReply) (Agent, error) {
	a := Agent{
		Tier: j.Tier, Name: cut(j.DisplayName, longestName), Organization: cut(j.Organization, longestName), Relay: cut(&j.RelayEndpoint, longestURL),
		Direct: cut(j.DirectEndpoint, longestURL), Status: j.Status, Reputation: j.ReputationScore, Ratings: max(j.RatingsCount, 0),
		Rated: j.ReputationStatus == wire.Rated, Capabilities: few(j.Capabilities, mostWords), Flags: few(j.Flags, mostFlags),
		LastSeen: j.LastSeen.Time, Certificate: cut(&j.Certificate, longestArmoured), Revoked: j.Revoked,
	}
	var err error
	if a.AMID, err = identity.ParseAMID(j.AMID); err != nil {
		return a, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if a.Key, err = wire.ParseSigningKey(j.SigningPublicKey); err != nil {
		return a, fmt.Errorf("%w: signing key: %w", ErrLie, err)
	}
	if a.Key.AMID() != a.AMID {
		return a, fmt.Errorf("%w: the signing key is not that of %s", ErrLie, a.AMID)
	}
	if a.Exchange, err = wire.ParseExchangeKey(j.ExchangePublicKey); err != nil {
		return a, fmt.Errorf("%w: exchange key: %w", ErrLie, err)
	}
	switch a.Tier {
	case wire.TierAnonymous, wire.TierVerified, wire.TierOrganization:
	default:
		return a, fmt.Errorf("%w: tier %.40q", ErrMalformed, string(j.Tier))
	}
	if !a.Status.Valid() || math.IsNaN(a.Reputation) || a.Reputation < 0 || a.Reputation > 1 {
		return a, fmt.Errorf("%w: status %.40q, reputation %g", ErrMalformed, string(j.Status), j.ReputationScore)
	}
	return a, nil
}

func cut(s *string, most int) string {
	if s == nil || len(*s) > most {
		return ""
	}
	return *s
}

// few takes over at most so many words that are not too long.
func few(list []string, most int) []string {
	kept := []string{}
	for _, s := range list {
		if len(kept) < most && len(s) <= longestWord {
			kept = append(kept, s)
		}
	}
	return kept
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// post is a write of the 0.2 API.
func post(segments ...string) request {
	return request{method: http.MethodPost, path: append([]string{"v1"}, segments...)}
}
