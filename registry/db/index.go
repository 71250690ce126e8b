package db

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"amesh/identity"
	"amesh/registry/wire"
)

// Index makes an agent found by what it and its card are, and by nothing when it is
// revoked. PutAgent and PutCard do so by themselves; whoever changes an agent's row in
// another way, or revokes it, calls Reindex.
func (t *Tx) Index(a Agent) error {
	gone, err := t.exists("SELECT 1 FROM revocations WHERE amid = $1", a.AMID.String())
	if err != nil {
		return fmt.Errorf("index agent: %w", err)
	}
	if gone {
		return t.unindex(a.AMID)
	}
	if err := t.indexCapabilities(a); err != nil {
		return fmt.Errorf("index agent: %w", err)
	}
	if err := t.indexTerms(a); err != nil {
		return fmt.Errorf("index agent: %w", err)
	}
	return nil
}

// Reindex is Index by name; it returns ErrNotFound.
func (t *Tx) Reindex(who identity.AMID) error {
	a, err := t.Agent(who)
	if err != nil {
		return err
	}
	return t.Index(a)
}

func (t *Tx) unindex(who identity.AMID) error {
	for _, table := range []string{"agent_capabilities", "search_terms", "search_agents"} {
		if _, err := t.Exec("DELETE FROM "+table+" WHERE amid = $1", who.String()); err != nil {
			return fmt.Errorf("index agent: %w", err)
		}
	}
	return nil
}

func (t *Tx) exists(query string, args ...any) (bool, error) {
	var found int
	switch err := one(t.QueryRow(query, args...).Scan(&found)); {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// indexCapabilities keeps the table of the 0.2 search.
func (t *Tx) indexCapabilities(a Agent) error {
	old := make(map[string]bool)
	err := t.Query(func(scan func(...any) error) error {
		var c string
		if err := scan(&c); err != nil {
			return err
		}
		old[c] = true
		return nil
	}, "SELECT capability FROM agent_capabilities WHERE amid = $1", a.AMID.String())
	if err != nil {
		return err
	}
	if len(a.Capabilities) > 0 {
		args := []any{a.AMID.String(), tierLevel(a.Tier), string(a.Status), a.Reputation, Micros(a.LastSeen)}
		seen := make(map[string]bool)
		var rows []string
		for _, c := range a.Capabilities {
			if delete(old, c); seen[c] {
				continue
			}
			seen[c] = true
			args = append(args, c)
			rows = append(rows, fmt.Sprintf("($%d, $1, $2, $3, $4, $5)", len(args)))
		}
		_, err := t.Exec("INSERT INTO agent_capabilities (capability, amid, level, status, reputation, last_seen) VALUES "+
			strings.Join(rows, ", ")+` ON CONFLICT (capability, amid) DO UPDATE SET level = excluded.level, status = excluded.status,
			reputation = excluded.reputation, last_seen = excluded.last_seen`, args...)
		if err != nil {
			return err
		}
	}
	for c := range old {
		if _, err := t.Exec("DELETE FROM agent_capabilities WHERE capability = $1 AND amid = $2", c, a.AMID.String()); err != nil {
			return err
		}
	}
	return nil
}

// tierLevel is what tier_min of 0.2 compares: 2 for anonymous, 1 for all others.
func tierLevel(t wire.Tier) int {
	if t == wire.TierAnonymous {
		return 2
	}
	return 1
}

// rankOf orders agents in our search, the best reputation first.
func rankOf(reputation float64) int64 {
	return int64(math.Round(1e6 * (1 - min(max(reputation, 0), 1))))
}

// indexTerms keeps the tables of our search. Most calls change neither terms nor rank
// and end at the digest.
func (t *Tx) indexTerms(a Agent) error {
	s := subject{tier: a.Tier, capabilities: a.Capabilities}
	if a.DisplayName != nil {
		s.name = *a.DisplayName
	}
	var err error
	if s.card, err = t.card("SELECT signed FROM cards WHERE amid = $1", a.AMID); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	terms, shown := s.terms(), s.outline()
	list, err := json.Marshal(shown.Capabilities)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d %t", terms, shown.Name, shown.Summary, list, shown.More, shown.Card))
	rank := rankOf(a.Reputation)

	var oldDigest []byte
	var oldRank int64
	row := t.QueryRow("SELECT digest, rank FROM search_agents WHERE amid = $1", a.AMID.String())
	err = one(row.Scan(&oldDigest, &oldRank))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	known := err == nil
	same := known && bytes.Equal(oldDigest, digest[:])
	if same && oldRank == rank {
		return nil
	}
	_, err = t.Exec(`INSERT INTO search_agents (amid, digest, rank, name, summary, capabilities, more, has_card)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (amid) DO UPDATE SET digest = excluded.digest, rank = excluded.rank, name = excluded.name,
			summary = excluded.summary, capabilities = excluded.capabilities, more = excluded.more, has_card = excluded.has_card`,
		a.AMID.String(), digest[:], rank, shown.Name, shown.Summary, string(list), shown.More, shown.Card)
	if err != nil {
		return err
	}
	if same {
		_, err := t.Exec("UPDATE search_terms SET rank = $2 WHERE amid = $1", a.AMID.String(), rank)
		return err
	}
	if known {
		if _, err := t.Exec("DELETE FROM search_terms WHERE amid = $1", a.AMID.String()); err != nil {
			return err
		}
	}
	return t.addTerms(a.AMID, terms, rank)
}

// addTerms writes the terms of an agent that has none, many with each statement.
func (t *Tx) addTerms(who identity.AMID, terms []string, rank int64) error {
	const batch = 64
	for len(terms) > 0 {
		n := min(batch, len(terms))
		args := []any{who.String(), rank}
		var q strings.Builder
		q.WriteString("INSERT INTO search_terms (amid, rank, term) VALUES ")
		for i, term := range terms[:n] {
			if i > 0 {
				q.WriteByte(',')
			}
			fmt.Fprintf(&q, "($1, $2, $%d)", i+3)
			args = append(args, term)
		}
		if _, err := t.Exec(q.String(), args...); err != nil {
			return err
		}
		terms = terms[n:]
	}
	return nil
}

// Tidy brings the database's notes about its own tables up to date, after much has
// changed at once. PostgreSQL does so by itself, a while later.
func (d *DB) Tidy(ctx context.Context) error {
	statement := "ANALYZE"
	if d.Kind() == "postgres" {
		statement = "VACUUM ANALYZE"
	}
	if _, err := d.Pool().ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("tidy: %w", err)
	}
	return nil
}
