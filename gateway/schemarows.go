package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// SchemaRows is the schema registry in the gateway's own database: a Config.Registry.
func SchemaRows(st *store.Store) (schema.Registry, error) { return schemaRows{st}, nil }

// schemaTable is what schemaRows needs of a store.
type schemaTable interface {
	Schema(ctx context.Context, id string) (store.Schema, error)
	Schemas(ctx context.Context) ([]store.Schema, error)
	AddSchema(ctx context.Context, v store.Schema) error
	PutSchema(ctx context.Context, v store.Schema) error
	RemoveSchema(ctx context.Context, id string) error
}

type schemaRows struct{ table schemaTable }

// schemaRowsFresh is how long a gateway may not see what another one on the same
// database has changed.
const schemaRowsFresh = time.Second

// Fresh implements schema.Fresher.
func (schemaRows) Fresh() time.Duration { return schemaRowsFresh }

// schemaError says what became of a question in the registry's words.
func schemaError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return schema.ErrNotFound
	case errors.Is(err, store.ErrExists):
		return schema.ErrExists
	case store.Unavailable(err):
		return fmt.Errorf("%w: %w", schema.ErrUnavailable, err)
	}
	return err
}

// Get implements schema.Registry.
func (t schemaRows) Get(ctx context.Context, id schema.ID) (schema.Schema, error) {
	row, err := t.table.Schema(ctx, id.String())
	if err != nil {
		return schema.Schema{}, schemaError(err)
	}
	return schema.Schema{ID: id, Definition: row.Definition, Signature: row.Signature, Published: row.Published, Updated: row.Updated}, nil
}

// List implements schema.Registry.
func (t schemaRows) List(ctx context.Context, p schema.Pattern) ([]schema.ID, error) {
	rows, err := t.table.Schemas(ctx)
	if err != nil {
		return nil, schemaError(err)
	}
	var ids []schema.ID
	for _, row := range rows {
		id, err := schema.ParseID(row.ID)
		if err != nil {
			continue // not one of ours
		}
		if p.Match(id) {
			ids = append(ids, id)
		}
	}
	return schema.InOrder(ids), nil
}

// Put implements schema.Registry.
func (t schemaRows) Put(ctx context.Context, s schema.Schema, replace bool) error {
	row := store.Schema{ID: s.ID.String(), Definition: s.Definition, Checksum: s.Checksum(), Signature: s.Signature, Published: s.Published, Updated: s.Updated}
	if replace {
		return schemaError(t.table.PutSchema(ctx, row))
	}
	return schemaError(t.table.AddSchema(ctx, row))
}

// Remove implements schema.Registry.
func (t schemaRows) Remove(ctx context.Context, id schema.ID) error {
	return schemaError(t.table.RemoveSchema(ctx, id.String()))
}
