package api

import (
	"context"
	"encoding/json"
	"time"

	"amesh/identity"
)

// Directory is the part of Backend that finds agents and says what ours can do.
type Directory interface {
	// Search asks every registry and the DHT for agents that can do something. What one
	// of them says badly or not at all stands in Sources; nothing found is no error.
	// Owner and agent.
	Search(ctx context.Context, agent string, q SearchQuery) (SearchResult, error)
	// Lookup finds out who an agent is: by AMID, DID, or the name that it goes by here or
	// at a registry. CodeNotFound when nobody knows it, CodeConflict when a name is that
	// of several. With document it includes the DID document. Owner and agent.
	Lookup(ctx context.Context, agent, who string, document bool) (Lookup, error)
	// Card is what an agent of this node says that it can do. Owner and agent.
	Card(ctx context.Context, agent string) (Card, error)
	// SetCard replaces it; without capabilities, name and description it is taken back.
	// Owner only.
	SetCard(ctx context.Context, agent string, c CardContent) (Card, error)
}

// SearchMost is the largest Limit of a search; SearchDefault is meant by 0.
const (
	SearchMost    = 100
	SearchDefault = 20
)

// SearchQuery says what agents are looked for; at least one of Words, Capability and
// Category is given.
type SearchQuery struct {
	Words         string  `json:"words,omitempty"`      // of name, description and capabilities
	Capability    string  `json:"capability,omitempty"` // its id, or the beginning of it up to a slash
	Category      string  `json:"category,omitempty"`
	Tier          string  `json:"tier,omitempty"` // at least: verified or organization
	MinReputation float64 `json:"min_reputation,omitempty"`
	Online        bool    `json:"online,omitempty"` // only those that a registry believes to be there
	Limit         int     `json:"limit,omitempty"`
}

// SearchResult is what was found, best first, and who was asked.
type SearchResult struct {
	Items   []Hit    `json:"items" nullable:"false"`
	Sources []Source `json:"sources" nullable:"false"`
	More    bool     `json:"more,omitempty" doc:"there is more than fits into the limit"`
}

// Source is a place that was asked. Name is cache, dht, or the URL of a registry.
type Source struct {
	Name  string `json:"name"`
	State string `json:"state" enum:"found,none,failed,refused" doc:"refused: what it said contradicts a signature, and was not used"`
	Hits  int    `json:"hits,omitempty"`
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Hit is an agent that was found. Its texts are a stranger's.
type Hit struct {
	AMID         identity.AMID `json:"amid"`
	Name         string        `json:"name,omitempty"`
	Description  string        `json:"description,omitempty"`
	Capabilities []string      `json:"capabilities" nullable:"false"`
	Tier         string        `json:"tier,omitempty" enum:"anonymous,verified,organization" doc:"as a registry says; a lookup shows what proves it"`
	Reputation   *float64      `json:"reputation,omitempty" doc:"0 to 1, as a registry says; absent when none does"`
	Status       string        `json:"status,omitempty" enum:"online,away,offline,dnd" doc:"as a registry says"`
	LastSeen     *time.Time    `json:"last_seen,omitempty"`
	Signed       bool          `json:"signed" doc:"name, description and capabilities are signed by the agent"`
	From         []string      `json:"from" nullable:"false" doc:"where it was found: dht, or registries"`
}

// Lookup is who an agent is, and where each thing was learnt.
type Lookup struct {
	AMID        identity.AMID    `json:"amid"`
	DID         string           `json:"did"`
	Name        string           `json:"name,omitempty"`
	NameFrom    string           `json:"name_from,omitempty" doc:"own, contact, card, or a registry; for the last two nobody vouches"`
	SigningKey  string           `json:"signing_key,omitempty" doc:"base64; it is the one, because the AMID is made of it"`
	KeyFrom     string           `json:"key_from,omitempty"`
	Fingerprint string           `json:"fingerprint,omitempty" doc:"SHA-256 of the signing key in hex"`
	Record      *LookupRecord    `json:"record,omitempty" doc:"the newest that was found and verified"`
	Card        *LookupCard      `json:"card,omitempty"`
	Tier        LookupTier       `json:"tier"`
	Registries  []LookupRegistry `json:"registries" nullable:"false" doc:"what registries say, which is their word"`
	Revoked     *Revocation      `json:"revoked,omitempty" doc:"its key has left for ever, as a statement of that key says"`
	RevokedFrom string           `json:"revoked_from,omitempty"`
	Known       *Contact         `json:"known,omitempty" doc:"what our agent has to do with it"`
	Document    json.RawMessage  `json:"document,omitempty" doc:"the DID document"`
	DocumentBy  string           `json:"document_by,omitempty" doc:"this node, made of the verified record; or the registry that gave it"`
	Sources     []Source         `json:"sources" nullable:"false"`
}

// LookupRecord is a verified record of an agent.
type LookupRecord struct {
	From                string    `json:"from" doc:"the source that had it; cache: fetched before"`
	Sequence            uint64    `json:"sequence"`
	Created             time.Time `json:"created"`
	Expires             time.Time `json:"expires"`
	Relays              []string  `json:"relays" nullable:"false"`
	PeerIDs             []string  `json:"peer_ids,omitempty"`
	Addresses           []string  `json:"addresses,omitempty"`
	Epoch               uint32    `json:"epoch"`
	BundleSequence      uint64    `json:"bundle_sequence"`
	BundleExpires       time.Time `json:"bundle_expires"`
	ExchangeKey         string    `json:"exchange_key" doc:"base64"`
	ExchangeFingerprint string    `json:"exchange_fingerprint"`
}

// LookupCard is a verified card of an agent.
type LookupCard struct {
	From string `json:"from"`
	CardContent
	Sequence uint64    `json:"sequence"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
}

// LookupTier is how well it is known who is behind an agent. Tier is what is proved,
// Claimed what a registry says beyond that.
type LookupTier struct {
	Tier    string     `json:"tier" enum:"anonymous,verified,organization"`
	Proof   string     `json:"proof,omitempty" doc:"what proves it, in words"`
	From    string     `json:"from,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Claimed string     `json:"claimed,omitempty"`
}

// LookupRegistry is what one registry says of an agent.
type LookupRegistry struct {
	URL          string     `json:"url"`
	Name         string     `json:"name,omitempty"`
	Organization string     `json:"organization,omitempty"`
	Tier         string     `json:"tier"`
	Reputation   *float64   `json:"reputation,omitempty"`
	Ratings      int        `json:"ratings"`
	Flags        []string   `json:"flags,omitempty"`
	Capabilities []string   `json:"capabilities" nullable:"false"`
	Relay        string     `json:"relay,omitempty"`
	Status       string     `json:"status,omitempty"`
	LastSeen     *time.Time `json:"last_seen,omitempty"`
	Revoked      bool       `json:"revoked,omitempty" doc:"the registry says so; that alone proves nothing"`
}

// CardContent is what an owner writes of his agent.
type CardContent struct {
	Name         string                `json:"name,omitempty" maxLength:"64"`
	Description  string                `json:"description,omitempty" maxLength:"1024"`
	Capabilities []identity.Capability `json:"capabilities,omitempty"`
}

// Empty reports whether the card says nothing.
func (c CardContent) Empty() bool {
	return c.Name == "" && c.Description == "" && len(c.Capabilities) == 0
}

// Card is the card of an agent of this node.
type Card struct {
	Agent string        `json:"agent"`
	AMID  identity.AMID `json:"amid"`
	CardContent
	Published []string `json:"published" nullable:"false" doc:"who has it now: dht, or registries"`
}

// Registry is a registry that this node uses. State is ok, trying, failing or refused:
// nothing is done there before the owner looks at it.
type Registry struct {
	URL        string     `json:"url"`
	Kind       string     `json:"kind" enum:"unknown,amesh,legacy" doc:"legacy: of AgentMesh 0.2, which takes signed timestamps only"`
	State      string     `json:"state" enum:"ok,trying,failing,refused"`
	Since      time.Time  `json:"since"`
	Error      string     `json:"error,omitempty"`
	NextTry    *time.Time `json:"next_try,omitempty" doc:"when a registry that does not work is tried again"`
	Registered int        `json:"registered" doc:"agents of this node that are registered there"`
	Warnings   []Warning  `json:"warnings,omitempty" doc:"what it said that a signature contradicts"`
}

// Warning is something that a registry did which an honest one does not do.
type Warning struct {
	Code  string         `json:"code" enum:"record_forged,record_stale,bundle_conflict,one_time_key_twice,one_time_key_forged,card_forged,tier_unproved,revocation_forged,root_changed,key_mismatch"`
	Text  string         `json:"text"`
	About *identity.AMID `json:"about,omitempty" doc:"the agent it was last seen with"`
	Count int            `json:"count"`
	First time.Time      `json:"first"`
	Last  time.Time      `json:"last"`
}
