package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"amesh/internal/sqldb"
)

const (
	schemaColumns = "id, definition, checksum, signature, published, updated"
	insertSchema  = "INSERT INTO gw_schemas (" + schemaColumns + ") VALUES ($1, $2, $3, $4, $5, $6)"
)

func (v *Schema) scan(scan func(...any) error) error {
	var published, updated int64
	err := scan(&v.ID, &v.Definition, &v.Checksum, &v.Signature, &published, &updated)
	v.Published, v.Updated = sqldb.Time(published), sqldb.Time(updated)
	return err
}

func (v Schema) args() []any {
	return []any{v.ID, v.Definition, v.Checksum, v.Signature, sqldb.Micros(v.Published), sqldb.Micros(v.Updated)}
}

// exec runs one statement that has to change a row; it returns none if it did not.
func (s *Store) exec(ctx context.Context, what string, none error, query string, args ...any) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(query, args...)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if n == 0 {
			return none
		}
		return nil
	})
}

// PutSchema adds or replaces a schema; Published stays that of the first.
func (s *Store) PutSchema(ctx context.Context, v Schema) error {
	return s.exec(ctx, "put schema", nil, insertSchema+` ON CONFLICT (id) DO UPDATE SET definition = excluded.definition,
		checksum = excluded.checksum, signature = excluded.signature, updated = excluded.updated`, v.args()...)
}

// AddSchema adds a schema, or returns ErrExists.
func (s *Store) AddSchema(ctx context.Context, v Schema) error {
	return s.exec(ctx, "add schema", ErrExists, insertSchema+onConflict, v.args()...)
}

// Schema is the schema with an id, or ErrNotFound.
func (s *Store) Schema(ctx context.Context, id string) (v Schema, err error) {
	err = v.scan(s.read(ctx).QueryRow("SELECT "+schemaColumns+" FROM gw_schemas WHERE id = $1", id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Schema{}, ErrNotFound
	}
	if err != nil {
		return Schema{}, fmt.Errorf("schema: %w", err)
	}
	return v, nil
}

// Schemas are all schemas, by id.
func (s *Store) Schemas(ctx context.Context) (list []Schema, err error) {
	err = s.read(ctx).Query(func(scan func(...any) error) error {
		var v Schema
		err := v.scan(scan)
		list = append(list, v)
		return err
	}, "SELECT "+schemaColumns+" FROM gw_schemas ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	return list, nil
}

// RemoveSchema removes a schema, or returns ErrNotFound.
func (s *Store) RemoveSchema(ctx context.Context, id string) error {
	return s.exec(ctx, "remove schema", ErrNotFound, "DELETE FROM gw_schemas WHERE id = $1", id)
}
