package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"amesh/internal/sqldb"
)

const keyColumns = "id, hash, name, domain, scopes, expires, created, last_used"

// APIKeys are all keys, by when they were made.
func (s *Store) APIKeys(ctx context.Context) (list []APIKey, err error) {
	err = s.read(ctx).Query(func(scan func(...any) error) error {
		var k APIKey
		var scopes string
		var expires, used *int64
		var created int64
		if err := scan(&k.ID, &k.Hash, &k.Name, &k.Domain, &scopes, &expires, &created, &used); err != nil {
			return err
		}
		k.Expires, k.Created, k.LastUsed = fromMoment(expires), sqldb.Time(created), fromMoment(used)
		err := json.Unmarshal([]byte(scopes), &k.Scopes)
		list = append(list, k)
		return err
	}, "SELECT "+keyColumns+" FROM gw_api_keys ORDER BY created, id")
	if err != nil {
		return nil, fmt.Errorf("API keys: %w", err)
	}
	return list, nil
}

// AddAPIKey adds a key, or returns ErrExists if its id is taken.
func (s *Store) AddAPIKey(ctx context.Context, k APIKey) error {
	scopes, err := json.Marshal(k.Scopes)
	if err != nil {
		return fmt.Errorf("add API key: %w", err)
	}
	return s.exec(ctx, "add API key", ErrExists, "INSERT INTO gw_api_keys ("+keyColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"+onConflict,
		k.ID, k.Hash, k.Name, k.Domain, string(scopes), moment(k.Expires), sqldb.Micros(k.Created), moment(k.LastUsed))
}

// UpdateAPIKey replaces the key with the same id, but not when it was last used, or returns
// ErrNotFound.
func (s *Store) UpdateAPIKey(ctx context.Context, k APIKey) error {
	scopes, err := json.Marshal(k.Scopes)
	if err != nil {
		return fmt.Errorf("update API key: %w", err)
	}
	return s.exec(ctx, "update API key", ErrNotFound, "UPDATE gw_api_keys SET hash = $2, name = $3, domain = $4, scopes = $5, expires = $6 WHERE id = $1",
		k.ID, k.Hash, k.Name, k.Domain, string(scopes), moment(k.Expires))
}

// TouchAPIKeys notes when keys, by their ids, were last used.
func (s *Store) TouchAPIKeys(ctx context.Context, used map[string]time.Time) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for id, at := range used {
			_, err := tx.Exec("UPDATE gw_api_keys SET last_used = $2 WHERE id = $1 AND COALESCE(last_used, 0) < $2", id, sqldb.Micros(at))
			if err != nil {
				return fmt.Errorf("touch API key: %w", err)
			}
		}
		return nil
	})
}

// RemoveAPIKey removes a key, or returns ErrNotFound.
func (s *Store) RemoveAPIKey(ctx context.Context, id string) error {
	return s.exec(ctx, "remove API key", ErrNotFound, "DELETE FROM gw_api_keys WHERE id = $1", id)
}

// Domains are the domains on the operator's list, by name.
func (s *Store) Domains(ctx context.Context) (list []Domain, err error) {
	err = s.read(ctx).Query(func(scan func(...any) error) error {
		var d Domain
		var state string
		var updated int64
		err := scan(&d.Name, &state, &d.Note, &updated)
		d.State, d.Updated = DomainState(state), sqldb.Time(updated)
		list = append(list, d)
		return err
	}, "SELECT name, state, note, updated FROM gw_domains ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("domains: %w", err)
	}
	return list, nil
}

// PutDomain puts a domain on the list, or replaces it.
func (s *Store) PutDomain(ctx context.Context, d Domain) error {
	text := clean(d.Note)
	if text == nil {
		text = new(string)
	}
	return s.exec(ctx, "put domain", nil, `INSERT INTO gw_domains (name, state, note, updated) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET state = excluded.state, note = excluded.note, updated = excluded.updated`,
		d.Name, string(d.State), *text, sqldb.Micros(d.Updated))
}

// RemoveDomain takes a domain off the list, or returns ErrNotFound.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	return s.exec(ctx, "remove domain", ErrNotFound, "DELETE FROM gw_domains WHERE name = $1", name)
}
