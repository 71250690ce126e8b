package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"amesh/gateway/auth"
	"amesh/gateway/discovery"
	"amesh/gateway/metrics"
	"amesh/gateway/peer"
	"amesh/gateway/signature"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
	"amesh/internal/exporter"
	"amesh/internal/outward"
)

// Server is a gateway. Its Handler serves requests, from the moment when Run has the
// store. All methods are safe for concurrent use.
type Server struct {
	cfg     Config
	limits  Limits
	log     *slog.Logger
	handler http.Handler
	routes  []route
	methods []string    // of all routes
	fixed   http.Header // in every answer
	bodies  bodies
	watch   watch
	probes  probes

	discovery *discovery.Resolver
	strangers lookups
	sender    *peer.Sender
	hooks     *outward.Client // to push targets
	pusher    *webhook.Pusher
	metrics   *metrics.Metrics
	exporter  *exporter.Exporter

	oauth      *auth.OAuth
	addresses  *auth.Addresses
	signatures *signature.Verifier
	budgets    budgets

	gate     sync.RWMutex // read by every request, so that Run can wait for all
	parts    atomic.Pointer[parts]
	ready    chan struct{} // closed when the parts are there
	stopping chan struct{} // closed when they go, or requests are to come to their end
	stop     func()        // closes stopping
}

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, limits: cfg.Limits, log: cfg.Logger, fixed: fixedHeaders(cfg),
		bodies: newBodies(), watch: newWatch(), budgets: newBudgets(cfg.Rates, cfg.Clock()), ready: make(chan struct{}), stopping: make(chan struct{}),
	}
	s.stop = sync.OnceFunc(func() { close(s.stopping) })
	s.strangers = newLookups(cfg.Limits, cfg.Clock())
	if err := s.outside(); err != nil {
		return nil, err
	}
	s.metrics = metrics.New(cfg.Clock(), metrics.Sources{Queue: s.queued, Deliveries: s.deliveries, Discovery: s.discovery.Stats})
	if s.exporter, err = s.metrics.Exporter(cfg.Logger); err != nil {
		return nil, err
	}
	s.healthSubject()
	s.metricsSubject()
	s.messageSubject()
	s.agentSubject()
	s.inboxSubject()
	s.directorySubject()
	s.capabilitiesSubject()
	s.queueSubject()
	s.domainSubject()
	s.keySubject()
	s.schemaSubject()
	s.handler = s.serveRoutes()
	return s, nil
}

// Handler serves the API. It keeps to the limits of requests and bodies; those of
// connections are for whoever serves it.
func (s *Server) Handler() http.Handler { return s.handler }

// Ready is closed when the store is open and messages are taken.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run opens the store and does all that no request waits for, until ctx ends. Then it
// waits for requests and deliveries under way, closes the store and returns nil. It
// returns early with an error that no waiting cures. Run is called once; requests that
// come when it has ended are told so.
func (s *Server) Run(ctx context.Context) error {
	st, err := s.open(ctx)
	if err != nil || st == nil {
		return err
	}
	p, err := s.assemble(ctx, st)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	// Both outlive ctx until the last request is answered, and the store outlives the
	// deliveries, whose outcomes it writes down.
	keeping, working := newCrew(ctx), newCrew(ctx)
	keeping.start("store", func(ctx context.Context) error {
		return st.Run(ctx, store.Options{Retention: s.cfg.Retention, Failed: func(err error) { s.log.Warn("periodic work failed", "err", err) }})
	})
	working.start("agents", p.agents.Run)
	working.start("keys", p.keys.Run)
	working.start("domains", p.domains.run)
	working.start("delivery", p.delivery.Run)
	s.parts.Store(p)
	close(s.ready)
	select {
	case <-ctx.Done():
	case <-keeping.ctx.Done():
	case <-working.ctx.Done():
	}
	s.stop()
	s.gate.Lock()
	s.parts.Store(nil)
	s.gate.Unlock()
	return errors.Join(working.sendHome(), keeping.sendHome(), st.Close())
}

// open tries until the store is there; nil and no error when ctx ended before.
func (s *Server) open(ctx context.Context) (*store.Store, error) {
	for told := false; ; told = true {
		st, err := s.cfg.Open(ctx)
		if err == nil {
			return st, nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		if !store.Unavailable(err) {
			return nil, fmt.Errorf("database: %w", err)
		}
		if !told {
			s.log.Warn("database unavailable, trying again", "err", err)
		}
		wait := time.NewTimer(s.limits.RetryAfter)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil, nil
		case <-wait.C:
		}
	}
}
