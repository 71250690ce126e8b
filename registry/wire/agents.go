package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"amesh/internal/timestamp"
)

// Time is a moment as it stands in JSON: UTC with a Z, and at most six digits.
type Time struct{ time.Time }

// MarshalJSON writes the time.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(timestamp.Text(t.Time)) }

// UnmarshalJSON reads any RFC 3339 timestamp.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	at, err := timestamp.Parse(s)
	if err != nil {
		return fmt.Errorf("%.60q: %w", s, err)
	}
	t.Time = at
	return nil
}

// Stamp is the signature of 0.2 in a body. It is empty where the header signs the
// request.
type Stamp struct {
	Timestamp string `json:"timestamp,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// RegisterRequest is the body of POST /v1/registry/register.
type RegisterRequest struct {
	AMID              string   `json:"amid"`
	SigningPublicKey  string   `json:"signing_public_key"`
	ExchangePublicKey string   `json:"exchange_public_key"`
	DisplayName       *string  `json:"display_name,omitempty"`
	Capabilities      []string `json:"capabilities,omitempty"`
	RelayEndpoint     string   `json:"relay_endpoint,omitempty"`
	DirectEndpoint    *string  `json:"direct_endpoint,omitempty"`
	// VerificationToken is an access token that a provider issued to the registry's own
	// client; any other is ignored.
	VerificationToken string `json:"verification_token,omitempty"`
	Stamp
}

// RegisterReply is the answer, whatever the status. With 409 and Updated the agent was
// known and is now as the request says.
type RegisterReply struct {
	Success     bool   `json:"success"`
	AMID        string `json:"amid"`
	Tier        Tier   `json:"tier"`
	Certificate string `json:"certificate,omitempty"`
	Updated     bool   `json:"updated,omitempty"`
	Error       string `json:"error,omitempty"`
	Code        Code   `json:"code,omitempty"`
}

// Agent is an agent as lookup and search show it.
type Agent struct {
	AMID              string   `json:"amid"`
	Tier              Tier     `json:"tier"`
	DisplayName       *string  `json:"display_name"`
	Organization      *string  `json:"organization"`
	SigningPublicKey  string   `json:"signing_public_key"`
	ExchangePublicKey string   `json:"exchange_public_key"`
	Capabilities      []string `json:"capabilities"`
	RelayEndpoint     string   `json:"relay_endpoint"`
	DirectEndpoint    *string  `json:"direct_endpoint"`
	Status            Status   `json:"status"`
	ReputationScore   float64  `json:"reputation_score"`
	LastSeen          Time     `json:"last_seen"`
	DID               string   `json:"did"`
	// Revoked agents are still shown, and must not be believed.
	Revoked bool `json:"revoked"`
}

// LookupReply is the answer of GET /v1/registry/lookup.
type LookupReply struct {
	Agent
	Certificate string `json:"certificate,omitempty"`
	// OrganizationDomain is what is proved of an organisation.
	OrganizationDomain string   `json:"organization_domain,omitempty"`
	Flags              []string `json:"flags,omitempty"`
	RatingsCount       int      `json:"ratings_count"`
	ReputationStatus   string   `json:"reputation_status"`
}

// What LookupReply says of reputation: Rated from five ratings on.
const (
	Rated   = "rated"
	Unrated = "unrated"
)

// StatusRequest is the body of POST /v1/registry/status.
type StatusRequest struct {
	AMID   string `json:"amid"`
	Status Status `json:"status"`
	Stamp
}

// CapabilitiesRequest is the body of POST /v1/registry/capabilities. The list replaces
// the one before.
type CapabilitiesRequest struct {
	AMID         string   `json:"amid"`
	Capabilities []string `json:"capabilities"`
	Stamp
}

// Done is the answer to what has no other.
type Done struct {
	Success bool `json:"success"`
}

// Stats is the answer of GET /v1/registry/stats.
type Stats struct {
	TotalAgents       int            `json:"total_agents"`
	OnlineAgents      int            `json:"online_agents"`
	ByTier            map[string]int `json:"by_tier"`
	ByStatus          map[string]int `json:"by_status"`
	AverageReputation float64        `json:"average_reputation"`
}

// Health is the answer of GET /v1/health.
type Health struct {
	Status           string `json:"status"`
	Version          string `json:"version"`
	AgentsRegistered int    `json:"agents_registered"`
	AgentsOnline     int    `json:"agents_online"`
}

// Starting is the answer to everything before the database is there.
type Starting struct {
	Error   string `json:"error"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Code    Code   `json:"code"`
}
