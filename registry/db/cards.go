package db

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"amesh/identity"
)

// ErrStale reports a signed object that is not newer than the one that is kept.
var ErrStale = errors.New("not newer than the one that is kept")

// Card is an agent's card if it holds at the time now; ErrNotFound if there is none.
func (t *Tx) Card(who identity.AMID, now time.Time) (*identity.Card, error) {
	return t.card("SELECT signed FROM cards WHERE amid = $1 AND expires_at > $2", who, Micros(now))
}

func (t *Tx) card(query string, who identity.AMID, more ...any) (*identity.Card, error) {
	var raw []byte
	row := t.QueryRow(query, append([]any{who.String()}, more...)...)
	if err := one(row.Scan(&raw)); err != nil {
		return nil, err
	}
	c, err := identity.ParseCard(raw)
	if err != nil {
		return nil, fmt.Errorf("row of the card of %s: %w", who, err)
	}
	return c, nil
}

// PutCard keeps the card of a registered agent, which the caller has verified, and makes
// the agent found by it. It returns ErrNotFound for an agent that is not registered,
// ErrStale for a card whose sequence does not rise. The very card that is kept is taken
// again without an error.
func (t *Tx) PutCard(c *identity.Card) error {
	a, err := t.Agent(c.Agent)
	if err != nil {
		return err
	}
	old, err := t.card("SELECT signed FROM cards WHERE amid = $1", c.Agent)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case bytes.Equal(old.Raw(), c.Raw()):
		return nil
	case c.Sequence <= old.Sequence:
		return fmt.Errorf("%w: sequence %d after %d", ErrStale, c.Sequence, old.Sequence)
	}
	_, err = t.Exec(`INSERT INTO cards (amid, signed, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (amid) DO UPDATE SET signed = excluded.signed, expires_at = excluded.expires_at`,
		c.Agent.String(), c.Raw(), Micros(c.Expires))
	if err != nil {
		return fmt.Errorf("write card: %w", err)
	}
	return t.Index(a)
}

// sweepBatch is how many expired rows one transaction removes.
const sweepBatch = 200

// ForgetCards removes cards that expired before now, with what their agents were found
// by. It returns how many it removed; there may be more when that is not 0.
func (t *Tx) ForgetCards(now time.Time) (int, error) {
	var expired []string
	err := t.Query(func(scan func(...any) error) error {
		var who string
		err := scan(&who)
		expired = append(expired, who)
		return err
	}, "SELECT amid FROM cards WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2", Micros(now), sweepBatch)
	if err != nil {
		return 0, fmt.Errorf("forget cards: %w", err)
	}
	for _, text := range expired {
		if _, err := t.Exec("DELETE FROM cards WHERE amid = $1", text); err != nil {
			return 0, fmt.Errorf("forget cards: %w", err)
		}
		who, err := identity.ParseAMID(text)
		if err != nil {
			return 0, fmt.Errorf("row of a card: %w", err)
		}
		if err := t.Reindex(who); err != nil {
			return 0, err
		}
	}
	return len(expired), nil
}
