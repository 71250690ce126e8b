package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"amesh/identity"
	"amesh/registry/db"
)

// templates is how many agents come in through the registry's own code. The others are
// their copies under other names, with other reputations and times and with something of
// their own, made by the database itself: a hundred thousand one by one take an hour.
const templates = 1000

// chunk is how many copies are named in one statement.
const chunk = 500

func (s *side) copies(ctx context.Context, c *crowd, members []member, agents int) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if s.kind == "sqlite" { // else it reads and writes each page of an index many times
			if _, err := tx.Exec("PRAGMA cache_size = -524288"); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`CREATE TABLE copies (amid TEXT NOT NULL, template TEXT NOT NULL, own TEXT NOT NULL, others TEXT NOT NULL,
			reputation DOUBLE PRECISION NOT NULL, rank BIGINT NOT NULL, last_seen BIGINT NOT NULL)`)
		if err != nil {
			return err
		}
		for n := len(members); n < agents; n += chunk {
			if err := nameCopies(tx, c, members, n, min(n+chunk, agents)); err != nil {
				return err
			}
		}
		for _, statement := range multiply {
			if _, err := tx.Exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// nameCopies notes who is whose copy. The n-th agent is a copy of the one whose number
// ends in the same three digits, and so of the same kind.
func nameCopies(tx *db.Tx, c *crowd, members []member, from, to int) error {
	var rows []string
	var args []any
	for n := from; n < to; n++ {
		var amid identity.AMID
		for i := range amid {
			amid[i] = byte(c.r.Uint32())
		}
		k := n % len(members)
		reputation := c.reputation(n)
		at := len(args)
		rows = append(rows, fmt.Sprintf("($%d, $%d, $%d, $%d, $%d, $%d, $%d)", at+1, at+2, at+3, at+4, at+5, at+6, at+7))
		args = append(args, amid.String(), members[k].agent.AMID.String(), fmt.Sprintf("own%d", n), fmt.Sprintf("own%d", k),
			reputation, int64(math.Round(1e6*(1-reputation))), db.Micros(c.seen()))
	}
	_, err := tx.Exec("INSERT INTO copies (amid, template, own, others, reputation, rank, last_seen) VALUES "+strings.Join(rows, ", "), args...)
	return err
}

// multiply makes the rows of the copies from those of their templates.
var multiply = []string{
	`INSERT INTO agents (amid, signing_key, exchange_key, tier, display_name, organization, capabilities, relay_endpoint,
		direct_endpoint, status, reputation, strict, last_seen, created_at, updated_at)
	SELECT c.amid, a.signing_key, a.exchange_key, a.tier, a.display_name, a.organization, replace(a.capabilities, c.others, c.own),
		a.relay_endpoint, a.direct_endpoint, a.status, c.reputation, a.strict, c.last_seen, a.created_at, a.updated_at
	FROM copies c JOIN agents a ON a.amid = c.template`,
	`INSERT INTO agent_capabilities (capability, amid, level, status, reputation, last_seen)
	SELECT replace(o.capability, c.others, c.own), c.amid, o.level, o.status, c.reputation, c.last_seen
	FROM copies c JOIN agent_capabilities o ON o.amid = c.template`,
	`INSERT INTO search_agents (amid, digest, rank, name, summary, capabilities, more, has_card)
	SELECT c.amid, o.digest, c.rank, o.name, o.summary, replace(o.capabilities, c.others, c.own), o.more, o.has_card
	FROM copies c JOIN search_agents o ON o.amid = c.template`,
	`INSERT INTO search_terms (amid, term, rank)
	SELECT c.amid, replace(o.term, c.others, c.own), c.rank
	FROM copies c JOIN search_terms o ON o.amid = c.template`,
	`DROP TABLE copies`,
}
