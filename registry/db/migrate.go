package db

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// migrations are plain SQL that both databases understand. Their numbers belong to
// subjects, tens to each, so a lower one may come later: 1 to 9 agents and their keys,
// 10 to 19 search, 20 to 29 trust, 30 to 39 who is behind an agent, and from 40 what came later. One that was in a
// release is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the migrations that the database has not seen. The caller holds the lock.
func migrate(ctx context.Context, dialect goose.Dialect, pool *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, pool, dir,
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	// Asking for the version makes the table of versions, where there is none.
	if _, err := p.GetDBVersion(ctx); err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if err := refuseNewer(ctx, p, pool); err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// refuseNewer returns ErrNewer when the database has seen a migration that we do not
// know.
func refuseNewer(ctx context.Context, p *goose.Provider, pool *sql.DB) error {
	known := map[int64]bool{0: true}
	for _, s := range p.ListSources() {
		known[s.Version] = true
	}
	rows, err := pool.QueryContext(ctx, "SELECT version_id FROM goose_db_version WHERE is_applied")
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
