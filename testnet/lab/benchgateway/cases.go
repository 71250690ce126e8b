package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb/sqltest"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// The bars. A ratio is the median over the rounds of product by floor.
const (
	barMemory   = 0.45
	barPostgres = 0.5
	barDurable  = 1000.0 // messages a second
	barLate     = 20 * time.Millisecond
	barRSS      = 10.0 // MB for 10,000 queued messages
	barStored   = 1024.0
	barAgents   = 0.9
	barInbox    = time.Millisecond
)

const bob = "bob@" + domain

// gatewayWith starts a gateway with these agents, and ann who sends.
func gatewayWith(ctx context.Context, o options, what string, names ...string) (*side, error) {
	s, err := startSide(ctx, o, what)
	if err != nil {
		return nil, err
	}
	if err := s.register(ctx, o.clients, append([]string{"ann"}, names...)...); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *side) sendBob(ctx context.Context) func() error {
	return func() error { return s.send(ctx, bob, http.StatusOK) }
}

// inMemory compares accepting into an inbox with a handler that does nothing.
func inMemory(ctx context.Context, o options, r *report) (err error) {
	product, err := gatewayWith(ctx, o, "memory", "bob")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, product.stop()) }()
	floor, err := startSide(ctx, o, "bare")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, floor.stop()) }()
	p, f, err := alternate(o, product.sendBob(ctx), floor.sendBob(ctx))
	if err != nil {
		return err
	}
	r.ratio("accept in memory, by a bare handler", p, f, barMemory)
	return nil
}

// manyAgents compares a gateway of many agents with one of one.
func manyAgents(ctx context.Context, o options, r *report) (err error) {
	names := make([]string, o.agents)
	for i := range names {
		names[i] = fmt.Sprintf("agent%d", i)
	}
	many, err := gatewayWith(ctx, o, "memory", names...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.stop()) }()
	one, err := gatewayWith(ctx, o, "memory", "bob")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	var n atomic.Int64
	p, f, err := alternate(o, func() error {
		return many.send(ctx, names[int(n.Add(1))%len(names)]+"@"+domain, http.StatusOK)
	}, one.sendBob(ctx))
	if err != nil {
		return err
	}
	r.ratio(fmt.Sprintf("%d agents, by one agent", o.agents), p, f, barAgents)
	return nil
}

// emptyInbox looks into an empty inbox beside one that is full.
func emptyInbox(ctx context.Context, o options, r *report) (err error) {
	s, err := gatewayWith(ctx, o, "memory", "bob", "eve")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := each(o.clients, o.messages, func(int) error { return s.send(ctx, bob, http.StatusOK) }); err != nil {
		return err
	}
	t, err := take(1, o.slice, s.look(ctx))
	if err != nil {
		return err
	}
	r.late(fmt.Sprintf("empty inbox beside %d messages, p50", o.messages), percentile(t.times, 50), barInbox)
	return nil
}

func (s *side) look(ctx context.Context) func() error {
	return func() error {
		_, err := s.do(ctx, http.MethodGet, "/v1/inbox/eve@"+domain, nil, http.StatusOK, "Authorization", "Bearer "+s.keys["eve"])
		return err
	}
}

// memoryOfQueue queues messages for a gateway that does not answer.
func memoryOfQueue(ctx context.Context, o options, r *report) (err error) {
	s, err := gatewayWith(ctx, o, "memory", "bob")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := take(o.clients, o.slice, s.sendBob(ctx)); err != nil { // until it runs as always
		return err
	}
	before, err := s.rss()
	if err != nil {
		return err
	}
	err = each(o.clients, o.queued, func(i int) error {
		return s.send(ctx, fmt.Sprintf("cid%d@%s", i%100, dead), http.StatusAccepted)
	})
	if err != nil {
		return err
	}
	after, err := s.rss()
	if err != nil {
		return err
	}
	grown := float64(after-before) / 1e6 * 10_000 / float64(o.queued)
	r.most("memory of 10,000 queued messages, MB", grown, barRSS)
	return nil
}

// inSQLite measures accepting into a synced file.
func inSQLite(ctx context.Context, o options, r *report) (err error) {
	file := filepath.Join(o.dir, "durable.db")
	s, err := gatewayWith(ctx, o, file, "bob")
	if err != nil {
		return err
	}
	t, err := take(o.clients, time.Duration(o.rounds)*o.slice, s.sendBob(ctx))
	if err = errors.Join(err, s.stop()); err != nil {
		return err
	}
	r.late("sqlite: accept, p95", percentile(t.times, 95), barLate)
	r.note("sqlite: accept, messages/s", t.rate())
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	r.most("sqlite: stored beside 1 KiB, bytes", float64(info.Size())/float64(t.n)-float64(len(payload)), barStored)
	return nil
}

// plainTable is the least that keeps messages: found by their id, and once for each key.
const plainTable = `CREATE TABLE bench_plain (id BIGSERIAL PRIMARY KEY, message_id UUID NOT NULL UNIQUE,
	idempotency_key UUID NOT NULL UNIQUE, sender TEXT NOT NULL, payload BYTEA NOT NULL)`

// inPostgres compares accepting with inserts of single rows by as many clients.
func inPostgres(ctx context.Context, o options, r *report) (err error) {
	if o.postgres == "" {
		server, err := sqltest.StartDurable()
		if err != nil {
			fmt.Fprintf(r.w, "SKIP postgres: %v\n", err)
			return nil
		}
		o.postgres = server.URL()
		return errors.Join(inPostgres(ctx, o, r), server.Close())
	}
	s, err := gatewayWith(ctx, o, o.postgres, "bob", "eve")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	d, err := sql.Open("pgx", o.postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	d.SetMaxOpenConns(o.clients)
	d.SetMaxIdleConns(o.clients)
	if _, err := d.ExecContext(ctx, plainTable); err != nil {
		return err
	}
	p, f, err := alternate(o, s.sendBob(ctx), func() error {
		_, err := d.ExecContext(ctx, "INSERT INTO bench_plain (message_id, idempotency_key, sender, payload) VALUES ($1, $2, $3, $4)",
			amtp.NewMessageID(time.Now()), amtp.NewKey(), "ann@"+domain, []byte(payload))
		return err
	})
	if err != nil {
		return err
	}
	r.ratio("postgres: accept, by plain inserts", p, f, barPostgres)
	r.least("postgres: accept, messages/s", median(rates(p)), barDurable)
	r.late("postgres: accept, p95", percentile(times(p), 95), barLate)
	var stored, n float64
	err = d.QueryRowContext(ctx, `SELECT sum(pg_total_relation_size(relid)), (SELECT count(*) FROM gw_messages)
		FROM pg_stat_user_tables WHERE relname LIKE 'gw\_%'`).Scan(&stored, &n)
	if err != nil {
		return err
	}
	r.most("postgres: stored beside 1 KiB, bytes", stored/n-float64(len(payload)), barStored)
	t, err := take(1, o.slice, s.look(ctx))
	if err != nil {
		return err
	}
	r.late(fmt.Sprintf("postgres: empty inbox beside %.0f messages, p50", n), percentile(t.times, 50), barInbox)
	return nil
}
