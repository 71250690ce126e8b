package store

import (
	"context"
	"errors"
	"time"
)

// Agents are all agents, by address.
func (s *Store) Agents(ctx context.Context) ([]Agent, error) { return nil, errors.ErrUnsupported }

// AgentsVersion is a number that grows with every change of an agent but its last access.
func (s *Store) AgentsVersion(ctx context.Context) (int64, error) { return 0, errors.ErrUnsupported }

// AddAgent adds an agent, or returns ErrExists if there is one of that address in any
// case of letters.
func (s *Store) AddAgent(ctx context.Context, a Agent) error { return errors.ErrUnsupported }

// UpdateAgent replaces the agent of the same address, but not its times and its key, or
// returns ErrNotFound.
func (s *Store) UpdateAgent(ctx context.Context, a Agent) error { return errors.ErrUnsupported }

// SetAgentKey replaces the hash of an agent's key, and when it ends, or returns ErrNotFound.
// A change of the agent elsewhere at the same time does not bring the old key back.
func (s *Store) SetAgentKey(ctx context.Context, address string, hash []byte, expires time.Time) error {
	return errors.ErrUnsupported
}

// RemoveAgent removes an agent, or returns ErrNotFound. The messages in its inbox are kept
// as long as others, but are in no inbox any more: a later agent of that name begins with
// an empty one.
func (s *Store) RemoveAgent(ctx context.Context, address string) error { return errors.ErrUnsupported }

// Touch notes when agents were last heard of.
func (s *Store) Touch(ctx context.Context, seen []Touched) error { return errors.ErrUnsupported }

// PutSchema adds or replaces a schema; Published stays that of the first.
func (s *Store) PutSchema(ctx context.Context, v Schema) error { return errors.ErrUnsupported }

// AddSchema adds a schema, or returns ErrExists.
func (s *Store) AddSchema(ctx context.Context, v Schema) error { return errors.ErrUnsupported }

// Schema is the schema with an id, or ErrNotFound.
func (s *Store) Schema(ctx context.Context, id string) (Schema, error) {
	return Schema{}, errors.ErrUnsupported
}

// Schemas are all schemas, by id.
func (s *Store) Schemas(ctx context.Context) ([]Schema, error) { return nil, errors.ErrUnsupported }

// RemoveSchema removes a schema, or returns ErrNotFound.
func (s *Store) RemoveSchema(ctx context.Context, id string) error { return errors.ErrUnsupported }

// APIKeys are all keys, by when they were made.
func (s *Store) APIKeys(ctx context.Context) ([]APIKey, error) { return nil, errors.ErrUnsupported }

// AddAPIKey adds a key, or returns ErrExists if its id is taken.
func (s *Store) AddAPIKey(ctx context.Context, k APIKey) error { return errors.ErrUnsupported }

// UpdateAPIKey replaces the key with the same id, but not when it was last used, or returns
// ErrNotFound.
func (s *Store) UpdateAPIKey(ctx context.Context, k APIKey) error { return errors.ErrUnsupported }

// TouchAPIKeys notes when keys, by their ids, were last used.
func (s *Store) TouchAPIKeys(ctx context.Context, used map[string]time.Time) error {
	return errors.ErrUnsupported
}

// RemoveAPIKey removes a key, or returns ErrNotFound.
func (s *Store) RemoveAPIKey(ctx context.Context, id string) error { return errors.ErrUnsupported }

// Domains are the domains on the operator's list, by name.
func (s *Store) Domains(ctx context.Context) ([]Domain, error) { return nil, errors.ErrUnsupported }

// PutDomain puts a domain on the list, or replaces it.
func (s *Store) PutDomain(ctx context.Context, d Domain) error { return errors.ErrUnsupported }

// RemoveDomain takes a domain off the list, or returns ErrNotFound.
func (s *Store) RemoveDomain(ctx context.Context, name string) error { return errors.ErrUnsupported }
