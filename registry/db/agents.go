package db

import (
	"encoding/json"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// Agent is what a registry knows of an agent.
type Agent struct {
	AMID           identity.AMID
	SigningKey     identity.PublicKey
	ExchangeKey    [identity.ExchangeKeySize]byte
	Tier           wire.Tier
	DisplayName    *string
	Organization   *string // its name, as people see it
	Capabilities   []string
	RelayEndpoint  string
	DirectEndpoint *string
	Status         wire.Status
	Reputation     float64
	// Strict agents registered with signatures that cover the whole request. No other
	// signature changes anything of theirs.
	Strict   bool
	LastSeen time.Time
	Created  time.Time
	Updated  time.Time
}

// AgentColumns are what ScanAgent reads, of a table called agents.
const AgentColumns = "agents.amid, agents.signing_key, agents.exchange_key, agents.tier, agents.display_name, " +
	"agents.organization, agents.capabilities, agents.relay_endpoint, agents.direct_endpoint, agents.status, " +
	"agents.reputation, agents.strict, agents.last_seen, agents.created_at, agents.updated_at"

// ScanAgent reads a row of AgentColumns, and what comes behind them into more.
func ScanAgent(scan func(...any) error, more ...any) (Agent, error) {
	var a Agent
	var amid, capabilities string
	var signing, exchange []byte
	var seen, created, updated int64
	dest := []any{
		&amid, &signing, &exchange, &a.Tier, &a.DisplayName, &a.Organization, &capabilities, &a.RelayEndpoint,
		&a.DirectEndpoint, &a.Status, &a.Reputation, &a.Strict, &seen, &created, &updated,
	}
	if err := scan(append(dest, more...)...); err != nil {
		return Agent{}, one(err)
	}
	var err error
	if a.AMID, err = identity.ParseAMID(amid); err != nil {
		return Agent{}, fmt.Errorf("row of an agent: %w", err)
	}
	if len(signing) != len(a.SigningKey) || len(exchange) != len(a.ExchangeKey) {
		return Agent{}, fmt.Errorf("row of agent %s: keys of %d and %d bytes", amid, len(signing), len(exchange))
	}
	a.SigningKey, a.ExchangeKey = identity.PublicKey(signing), [identity.ExchangeKeySize]byte(exchange)
	if err := json.Unmarshal([]byte(capabilities), &a.Capabilities); err != nil {
		return Agent{}, fmt.Errorf("row of agent %s: capabilities: %w", amid, err)
	}
	a.LastSeen, a.Created, a.Updated = Time(seen), Time(created), Time(updated)
	return a, nil
}

// Agent finds an agent; it returns ErrNotFound.
func (t *Tx) Agent(who identity.AMID) (Agent, error) {
	row := t.QueryRow("SELECT "+AgentColumns+" FROM agents WHERE amid = $1", who.String())
	return ScanAgent(row.Scan)
}

// PutAgent writes all of an agent, new or known.
func (t *Tx) PutAgent(a Agent) error {
	if a.Capabilities == nil {
		a.Capabilities = []string{}
	}
	list, err := json.Marshal(a.Capabilities)
	if err != nil {
		return err
	}
	_, err = t.Exec(`INSERT INTO agents (amid, signing_key, exchange_key, tier, display_name, organization, capabilities,
			relay_endpoint, direct_endpoint, status, reputation, strict, last_seen, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (amid) DO UPDATE SET signing_key = excluded.signing_key, exchange_key = excluded.exchange_key,
			tier = excluded.tier, display_name = excluded.display_name, organization = excluded.organization,
			capabilities = excluded.capabilities, relay_endpoint = excluded.relay_endpoint,
			direct_endpoint = excluded.direct_endpoint, status = excluded.status, reputation = excluded.reputation,
			strict = excluded.strict, last_seen = excluded.last_seen, created_at = excluded.created_at,
			updated_at = excluded.updated_at`,
		a.AMID.String(), a.SigningKey[:], a.ExchangeKey[:], string(a.Tier), a.DisplayName, a.Organization, string(list),
		a.RelayEndpoint, a.DirectEndpoint, string(a.Status), a.Reputation, a.Strict,
		Micros(a.LastSeen), Micros(a.Created), Micros(a.Updated))
	if err != nil {
		return fmt.Errorf("write agent: %w", err)
	}
	return t.Index(a)
}

// RemoveAgent removes an agent with its capabilities and prekeys, if it is there.
func (t *Tx) RemoveAgent(who identity.AMID) error {
	if _, err := t.Exec("DELETE FROM agents WHERE amid = $1", who.String()); err != nil {
		return fmt.Errorf("remove agent: %w", err)
	}
	return nil
}
