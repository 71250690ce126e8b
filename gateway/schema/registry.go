package schema

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// What a registry answers when it cannot do as asked.
var (
	ErrNotFound = errors.New("schema not found")
	ErrExists   = errors.New("schema already exists")
	// ErrReadOnly reports a registry that takes no changes from here.
	ErrReadOnly = errors.New("the schema registry is read only")
	// ErrUnavailable reports a registry that could not be asked; trying again
	// later may help.
	ErrUnavailable = errors.New("the schema registry cannot be reached")
	// ErrDamaged reports a schema that is there and cannot be read.
	ErrDamaged = errors.New("the registered schema cannot be read")
	// ErrRefused reports a registry that judged a definition and does not want it.
	ErrRefused = errors.New("the schema registry refuses the definition")
	// ErrUntrusted reports a schema whose signature is missing or wrong.
	ErrUntrusted = errors.New("the schema is not signed by a configured key")
)

// Schema is a definition under its name.
type Schema struct {
	ID         ID              `json:"id"`
	Definition json.RawMessage `json:"definition"`
	// Published is when this name was first registered, Updated when its
	// definition was last replaced.
	Published time.Time `json:"published_at"`
	Updated   time.Time `json:"updated_at,omitzero"`
	// Signature is the publisher's, see Sign; empty when there is none.
	Signature string `json:"signature,omitempty"`

	sum string // the checksum, once it is known
}

// Checksum is the SHA-256 of the definition's bytes, in hex.
func (s Schema) Checksum() string {
	if s.sum != "" {
		return s.sum
	}
	sum := sha256.Sum256(s.Definition)
	return hex.EncodeToString(sum[:])
}

// InOrder sorts ids by ID.Compare.
func InOrder(ids []ID) []ID {
	slices.SortFunc(ids, ID.Compare)
	return ids
}

// Fresher is a registry whose answers hold no longer than it says, whatever
// Config.Fresh says: it is quick to ask, or others change it too.
type Fresher interface{ Fresh() time.Duration }

// Registry keeps schemas. It takes what Service has checked and does not judge
// it. All methods may be called at once and may block until ctx is done.
type Registry interface {
	// Get returns the schema or ErrNotFound.
	Get(ctx context.Context, id ID) (Schema, error)
	// List returns what p picks, in the order of ID.Compare.
	List(ctx context.Context, p Pattern) ([]ID, error)
	// Put adds a schema, or puts it in the place of another when replace is set;
	// ErrExists otherwise.
	Put(ctx context.Context, s Schema, replace bool) error
	// Remove takes a schema away, ErrNotFound when there is none.
	Remove(ctx context.Context, id ID) error
}
