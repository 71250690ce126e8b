package registry

import (
	"context"
	"net/http"
	"sync"
	"time"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// healthSubject says how the registry is, and how many agents there are.
func (s *Server) healthSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/health", read: s.alive, early: true, cost: free},
		route{method: http.MethodGet, path: "/v1/health", read: s.health, early: true, cost: free},
		route{method: http.MethodGet, path: "/v1/registry/stats", read: s.stats},
	)
}

// alive says that the process answers; the database need not.
func (s *Server) alive(*request) (reply, error) {
	return reply{body: map[string]string{"status": "ok"}}, nil
}

// health also asks the database, and whether it takes what is written.
func (s *Server) health(r *request) (reply, error) {
	if r.db == nil {
		return reply{status: http.StatusServiceUnavailable, body: wire.Starting{
			Error: "Service is starting up", Status: "starting", Message: "the database is not there yet", Code: wire.CodeStarting,
		}}, nil
	}
	n, err := s.count(r.Context(), r.db, r.now)
	if err == nil {
		err = s.touched.now(r.Context(), s, r)
	}
	if err != nil {
		return reply{}, err
	}
	return reply{body: wire.Health{
		Status: "healthy", Version: wire.Protocol, AgentsRegistered: n.TotalAgents, AgentsOnline: n.OnlineAgents,
	}}, nil
}

func (s *Server) stats(r *request) (reply, error) {
	n, err := s.count(r.Context(), r.db, r.now)
	return reply{body: n}, err
}

// touched is whether the database took the last thing that was written to see if it does:
// one on a full disk can still be read.
type touched struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// now writes again when the last time is over. Everybody may ask, so one does it for
// all, and none that goes away ends it for the others.
func (t *touched) now(ctx context.Context, s *Server, r *request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.at.IsZero() && r.now.Sub(t.at).Abs() < s.limits.StatsLife {
		return t.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.AnswerWait)
	defer cancel()
	t.err = r.db.Write(ctx, func(tx *db.Tx) error { return tx.Touch(r.now) })
	t.at = r.now
	s.storageResult(t.err)
	return t.err
}

// counted are numbers, and from when they are.
type counted struct {
	at    time.Time
	stats wire.Stats
}

// count counts all agents. Everybody may ask, so the answer is kept for a while.
func (s *Server) count(ctx context.Context, d *db.DB, now time.Time) (wire.Stats, error) {
	if c := s.counted.Load(); c != nil && now.Sub(c.at) < s.limits.StatsLife && !now.Before(c.at) {
		return c.stats, nil
	}
	var groups []db.Group
	err := d.View(ctx, func(tx *db.Tx) (err error) {
		groups, err = tx.Groups(now.Add(-s.limits.PresenceLife))
		return err
	})
	if err != nil {
		return wire.Stats{}, err
	}
	n := wire.Stats{ByTier: map[string]int{}, ByStatus: map[string]int{}}
	for _, g := range groups {
		n.TotalAgents += g.Agents
		n.ByTier[string(g.Tier)] += g.Agents
		n.ByStatus[string(g.Status)] += g.Agents
		n.AverageReputation += g.Reputation
	}
	n.OnlineAgents = n.ByStatus[string(wire.StatusOnline)]
	n.AverageReputation /= float64(max(n.TotalAgents, 1))
	s.counted.Store(&counted{now, n})
	return n, nil
}
