package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	// connections is how many of them one server holds to PostgreSQL, which allows a
	// hundred as it comes, and leastConnections how few: one holds a lock for as long as
	// the server lives, another while the tables are brought up to date.
	connections      = 16
	leastConnections = 4
	// connectWait is the time for a new connection where the URL does not say.
	connectWait = 5 * time.Second
	// connectionLife ends connections, so that those behind a load balancer spread again.
	connectionLife = 30 * time.Minute
)

func openPostgres(ctx context.Context, url string, c Config) (*DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectWait
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = c.Application
	}
	pool := stdlib.OpenDB(*cfg)
	most := max(cmp.Or(c.Connections, connections), leastConnections)
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(most)
	pool.SetConnMaxLifetime(connectionLife)
	pool.SetConnMaxIdleTime(c.IdleTime)
	if err := c.migratePostgres(ctx, pool); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return &DB{write: pool, read: pool, postgres: true, isolation: c.Isolation}, nil
}

// migratePostgres brings the tables up to date; servers that start at the same time
// take turns. The lock ends with its connection, however that ends.
func (c Config) migratePostgres(ctx context.Context, pool *sql.DB) (err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", c.Lock); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer func() {
		_, unlock := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", c.Lock)
		err = errors.Join(err, unlock)
	}()
	return c.migrate(ctx, goose.DialectPostgres, pool)
}
