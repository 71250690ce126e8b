package registry

import (
	"context"
	"time"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// published is how much agents published, and from when that is.
type published struct {
	at             time.Time
	cards, schemas int
}

// rounded is how much there is, as strangers are told.
func (s *Server) rounded(ctx context.Context, d *db.DB, now time.Time) (wire.OurStats, error) {
	agents, err := s.count(ctx, d, now)
	if err != nil {
		return wire.OurStats{}, err
	}
	p := s.finding.published.Load()
	if p == nil || now.Sub(p.at) >= s.limits.StatsLife || now.Before(p.at) {
		fresh := published{at: now}
		err := d.View(ctx, func(tx *db.Tx) (err error) {
			fresh.cards, fresh.schemas, err = tx.Published()
			return err
		})
		if err != nil {
			return wire.OurStats{}, err
		}
		p = &fresh
		s.finding.published.Store(p)
	}
	return wire.OurStats{Agents: many(agents.TotalAgents), Online: many(agents.OnlineAgents), Cards: many(p.cards), Schemas: many(p.schemas)}, nil
}

func (s *Server) ourStats(r *request) (reply, error) {
	out, err := s.rounded(r.Context(), r.db, r.now)
	return reply{body: out}, err
}

// many rounds down to one digit, from a hundred on; below that it rounds as about does.
func many(n int) int {
	if n < 100 {
		return about(n)
	}
	step := 100
	for n >= 10*step {
		step *= 10
	}
	return n / step * step
}
