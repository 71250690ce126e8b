package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"amesh/internal/sqldb"
)

const agentColumns = `address, mode, push_target, push_secret, headers, key_hash, key_expires, schemas, requires_schema, role, description,
	capabilities, created, last_access`

// Agents are all agents, by address.
func (s *Store) Agents(ctx context.Context) (list []Agent, err error) {
	err = s.read(ctx).Query(func(scan func(...any) error) error {
		var a Agent
		var mode, headers, schemas, capabilities string
		var expires *int64
		var created, seen int64
		err := scan(&a.Address, &mode, &a.PushTarget, &a.PushSecret, &headers, &a.KeyHash, &expires, &schemas, &a.RequiresSchema, &a.Role,
			&a.Description, &capabilities, &created, &seen)
		if err != nil {
			return err
		}
		a.Mode, a.KeyExpires, a.Created = Mode(mode), fromMoment(expires), sqldb.Time(created)
		if seen > 0 {
			a.LastAccess = sqldb.Time(seen)
		}
		list = append(list, a)
		last := &list[len(list)-1]
		return errors.Join(json.Unmarshal([]byte(headers), &last.Headers), json.Unmarshal([]byte(schemas), &last.Schemas),
			json.Unmarshal([]byte(capabilities), &last.Capabilities))
	}, "SELECT "+agentColumns+" FROM gw_agents ORDER BY folded")
	if err != nil {
		return nil, fmt.Errorf("agents: %w", err)
	}
	return list, nil
}

// AgentsVersion is a number that grows with every change of an agent but its last access.
func (s *Store) AgentsVersion(ctx context.Context) (v int64, err error) {
	if err := s.read(ctx).QueryRow("SELECT version FROM gw_versions WHERE name = 'agents'").Scan(&v); err != nil {
		return 0, fmt.Errorf("version of agents: %w", err)
	}
	return v, nil
}

// changeAgents runs a change of agents. It returns none if it changed nothing.
func (s *Store) changeAgents(ctx context.Context, none error, query string, args ...any) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(query, args...)
		if err != nil {
			return fmt.Errorf("change agent: %w", err)
		}
		if n == 0 {
			return none
		}
		return countAgents(tx)
	})
}

func countAgents(tx *sqldb.Tx) error {
	if _, err := tx.Exec("UPDATE gw_versions SET version = version + 1 WHERE name = 'agents'"); err != nil {
		return fmt.Errorf("version of agents: %w", err)
	}
	return nil
}

// lists are an agent's maps and lists as they go into a row.
func (a Agent) lists() (headers, schemas, capabilities string, err error) {
	for _, one := range []struct {
		value any
		to    *string
	}{{a.Headers, &headers}, {a.Schemas, &schemas}, {a.Capabilities, &capabilities}} {
		raw, err := json.Marshal(one.value)
		if err != nil {
			return "", "", "", fmt.Errorf("agent: %w", err)
		}
		*one.to = string(raw)
	}
	return headers, schemas, capabilities, nil
}

// AddAgent adds an agent, or returns ErrExists if there is one of that address in any
// case of letters. Its inbox is empty: a gateway that did not know yet that an earlier agent
// of that name was removed may have put messages into it. It is left as it is for an heir,
// for whom messages were kept.
func (s *Store) AddAgent(ctx context.Context, a Agent, heir bool) error {
	headers, schemas, capabilities, err := a.lists()
	if err != nil {
		return err
	}
	seen := int64(0)
	if !a.LastAccess.IsZero() {
		seen = sqldb.Micros(a.LastAccess)
	}
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec("INSERT INTO gw_agents (folded, "+agentColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING`,
			fold(a.Address), a.Address, string(a.Mode), a.PushTarget, a.PushSecret, headers, a.KeyHash, moment(a.KeyExpires), schemas,
			a.RequiresSchema, a.Role, a.Description, capabilities, sqldb.Micros(a.Created), seen)
		if err != nil {
			return fmt.Errorf("add agent: %w", err)
		}
		if n == 0 {
			return ErrExists
		}
		if !heir {
			if err := emptyInbox(tx, a.Address); err != nil {
				return err
			}
		}
		return countAgents(tx)
	})
}

// emptyInbox takes all messages out of the inbox of an address.
func emptyInbox(tx *sqldb.Tx, address string) error {
	if _, err := tx.Exec("UPDATE gw_recipients SET inbox = 0 WHERE address = $1 AND inbox = 1", fold(address)); err != nil {
		return fmt.Errorf("empty inbox: %w", err)
	}
	return nil
}

// UpdateAgent replaces the agent of the same address, but not its times and its key, or
// returns ErrNotFound.
func (s *Store) UpdateAgent(ctx context.Context, a Agent) error {
	headers, schemas, capabilities, err := a.lists()
	if err != nil {
		return err
	}
	return s.changeAgents(ctx, ErrNotFound, `UPDATE gw_agents SET mode = $2, push_target = $3, push_secret = $4, headers = $5, schemas = $6,
		requires_schema = $7, role = $8, description = $9, capabilities = $10 WHERE folded = $1`,
		fold(a.Address), string(a.Mode), a.PushTarget, a.PushSecret, headers, schemas, a.RequiresSchema, a.Role, a.Description, capabilities)
}

// SetAgentKey replaces the hash of an agent's key, and when it ends, or returns ErrNotFound.
// A change of the agent elsewhere at the same time does not bring the old key back.
func (s *Store) SetAgentKey(ctx context.Context, address string, hash []byte, expires time.Time) error {
	return s.changeAgents(ctx, ErrNotFound, "UPDATE gw_agents SET key_hash = $2, key_expires = $3 WHERE folded = $1",
		fold(address), hash, moment(expires))
}

// RemoveAgent removes an agent, or returns ErrNotFound. The messages in its inbox are kept
// as long as others, but are in no inbox any more: a later agent of that name begins with
// an empty one.
func (s *Store) RemoveAgent(ctx context.Context, address string) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec("DELETE FROM gw_agents WHERE folded = $1", fold(address))
		if err != nil {
			return fmt.Errorf("remove agent: %w", err)
		}
		if n == 0 {
			return ErrNotFound
		}
		if err := emptyInbox(tx, address); err != nil {
			return err
		}
		return countAgents(tx)
	})
}

// Touch notes when agents were last heard of.
func (s *Store) Touch(ctx context.Context, seen []Touched) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, t := range seen {
			_, err := tx.Exec("UPDATE gw_agents SET last_access = $2 WHERE folded = $1 AND last_access < $2", fold(t.Address), sqldb.Micros(t.At))
			if err != nil {
				return fmt.Errorf("touch agent: %w", err)
			}
		}
		return nil
	})
}
