package sqldb

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"
)

// migrate runs the migrations that the database has not seen. The caller holds the lock.
func (c Config) migrate(ctx context.Context, dialect goose.Dialect, pool *sql.DB) error {
	p, err := goose.NewProvider(dialect, pool, c.Migrations, goose.WithTableName(c.Versions),
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	// Asking for the version makes the table of versions, where there is none.
	if _, err := p.GetDBVersion(ctx); err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if err := c.refuseNewer(ctx, p, pool); err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// refuseNewer returns ErrNewer when the database has seen a migration that we do not
// know.
func (c Config) refuseNewer(ctx context.Context, p *goose.Provider, pool *sql.DB) error {
	known := map[int64]bool{0: true}
	for _, s := range p.ListSources() {
		known[s.Version] = true
	}
	rows, err := pool.QueryContext(ctx, "SELECT version_id FROM "+c.Versions+" WHERE is_applied")
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var v int64
		if err := rows.Scan(&v); err != nil {
			return fmt.Errorf("schema version: %w", err)
		}
		if !known[v] {
			return fmt.Errorf("%w: it has migration %d, which this version does not know; it was left untouched", ErrNewer, v)
		}
	}
	return rows.Err()
}
