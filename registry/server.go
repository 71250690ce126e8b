package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/prefix"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/oauth"
	"amesh/registry/wire"

	"golang.org/x/time/rate"
)

// Config is what a Server needs.
type Config struct {
	// Open opens the database. Run calls it until it succeeds, as long as its errors
	// are of the kind that pass, and closes what it returned. Required.
	Open func(context.Context) (*db.DB, error)
	// Names are the HOST:PORT under which clients dial the registry. Without any it
	// goes by loopback, private and its own socket's addresses (registry.md §2.2).
	Names []string
	// Proxies are addresses whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// Exempt are addresses to which the rates by address do not apply, unless they pass on
	// what others ask.
	Exempt []netip.Prefix
	// PrefixedKeys writes keys as the 0.2 registry does, with ed25519: and x25519: in
	// front of them, which neither SDK can read.
	PrefixedKeys bool
	// Limits are the registry's numbers; the zero value means DefaultLimits.
	Limits Limits
	// Issuer signs certificates, and what the registry says of revocations. All instances
	// on one database have the same root key. Without one nobody is more than anonymous,
	// and lists are signed with a key that ends with the Server.
	Issuer *certificate.Issuer
	// KeepIssuer, where it is set, writes the Issuer's key to where it is found again. It
	// is called when no other key belongs to the database, before this one does, and
	// possibly several times.
	KeepIssuer func() error
	// OAuth says who may vouch for agents; the zero value: nobody.
	OAuth oauth.Config
	// Resolvers find the records that prove the domains of organisations; nil: no
	// organisation can be verified.
	Resolvers Resolvers
	// KnownDomains are domains of organisations that the operator knows: what looks like
	// them and was verified first does not keep them out.
	KnownDomains []string
	// Clock is the time; nil is time.Now.
	Clock func() time.Time
	// Logger gets events; nil is silence.
	Logger *slog.Logger
}

// Server is a registry. Its Handler serves requests, from the moment when Run has the
// database. All methods are safe for concurrent use.
type Server struct {
	cfg     Config
	limits  Limits
	log     *slog.Logger
	names   dialled.Names
	handler http.Handler
	routes  []route

	trust trust

	addresses *prefix.Rate
	newcomers *prefix.Rate // agents that register for the first time
	agents    *prefix.Rate
	takers    *prefix.Rate // of one-time prekeys
	drained   *prefix.Rate // the agents that they are taken from
	// tokenChecks are the questions to providers about verification tokens.
	tokenChecks *rate.Limiter
	counted     atomic.Pointer[counted]
	leading     atomic.Pointer[leaders]
	touched     touched

	finding finding
	bodies  bodies

	strangeProxy sync.Once // to warn of one that nobody named

	tallies []tally // of routes
	lost    tally   // of what is no route

	gate    sync.RWMutex          // read by every request, so that Run can wait for all
	db      atomic.Pointer[db.DB] // nil until it is open
	ready   chan struct{}         // closed then
	failing atomic.Bool

	// conditions are called before every change, each to refuse callers who may make none.
	conditions []func(*db.Tx, *request) error
	// forget are called when an agent registers strictly for the first time: each
	// removes what signatures over timestamps had left under its name.
	forget []func(*db.Tx, identity.AMID) error
	// describe are called for an agent that is looked up, and complete the answer.
	describe []func(*db.Tx, *wire.LookupReply, db.Agent) error
	// sweeps are called now and then, each to remove what is over.
	sweeps []func(*db.Tx, time.Time) error
	// chores are called as often, each to do what takes more than a transaction.
	chores []func(context.Context, *db.DB) error

	signIns *oauth.Flow
}

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Open == nil {
		return nil, errors.New("registry needs a database")
	}
	l, err := cfg.Limits.orDefault()
	if err != nil {
		return nil, err
	}
	names, err := dialled.ParseNames(cfg.Names)
	if err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	now := cfg.Clock()
	s := &Server{
		cfg: cfg, limits: l, log: cfg.Logger, names: names, ready: make(chan struct{}),
		bodies:      bodies{by: map[netip.Prefix]int64{}},
		addresses:   prefix.NewRate(l.AddressRate, l.AddressBurst, now),
		newcomers:   prefix.NewRate(float64(l.NewAgentsPerHour)/time.Hour.Seconds(), l.NewAgentsPerHour, now),
		agents:      prefix.NewRate(l.AgentRate, l.AgentBurst, now),
		takers:      prefix.NewRate(1/l.PrekeyEvery.Seconds(), l.PrekeyBurst, now),
		drained:     prefix.NewRate(1/l.DrainEvery.Seconds(), l.DrainBurst, now),
		tokenChecks: rate.NewLimiter(rate.Every(tokenPause), tokenBurst),
	}
	s.healthSubject()
	s.agentSubject()
	s.newcomerSubject()
	s.presenceSubject()
	s.prekeySubject()
	s.didSubject()
	if err := errors.Join(s.findSubjects(now), s.oauthSubject(), s.organizationSubject(), s.trustSubjects()); err != nil {
		return nil, err
	}
	s.sweeps = append(s.sweeps, (*db.Tx).ForgetSignatures)
	if s.handler, err = s.serveRoutes(); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler serves the API. It keeps to the limits of requests and bodies; those of
// connections are for whoever serves it.
func (s *Server) Handler() http.Handler { return s.handler }

// Run opens the database, and removes what has expired until ctx ends. It then closes
// the database and returns nil. It returns early with an error that no waiting cures,
// such as db.ErrNewer. Run is called once, and returns after the last request that has
// begun; those that begin later are told that there is no database.
func (s *Server) Run(ctx context.Context) error {
	d, err := s.open(ctx)
	if err != nil || d == nil {
		return err
	}
	s.db.Store(d)
	close(s.ready)
	tick := time.NewTicker(s.limits.SweepEvery)
	defer tick.Stop()
	for {
		s.sweep(ctx, d)
		select {
		case <-ctx.Done():
			s.gate.Lock()
			s.db.Store(nil)
			s.gate.Unlock()
			return d.Close()
		case <-tick.C:
		}
	}
}

// open tries until the database is there; nil and no error when ctx ended before.
func (s *Server) open(ctx context.Context) (*db.DB, error) {
	for told := false; ; told = true {
		d, err := s.cfg.Open(ctx)
		if err == nil {
			if err = s.openTrust(ctx, d); err == nil {
				return d, nil
			}
			err = errors.Join(err, d.Close())
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		if !db.Unavailable(err) {
			return nil, fmt.Errorf("database: %w", err)
		}
		if !told {
			s.log.Warn("database unavailable", "err", err)
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

func (s *Server) sweep(ctx context.Context, d *db.DB) {
	now := s.cfg.Clock()
	for _, sweep := range s.sweeps {
		err := d.Write(ctx, func(tx *db.Tx) error { return sweep(tx, now) })
		if ctx.Err() != nil {
			return
		}
		s.storageResult(err)
	}
	for _, chore := range s.chores {
		err := chore(ctx, d)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !db.Unavailable(err) {
			s.log.Error("periodic work failed", "err", err)
			continue
		}
		s.storageResult(err)
	}
}

// Ready is closed when the database is there.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// storageResult notes when the database begins and ceases to fail, not every time.
func (s *Server) storageResult(err error) {
	switch {
	case err != nil && s.failing.CompareAndSwap(false, true):
		s.log.Warn("database unavailable", "err", err)
	case err == nil && s.failing.CompareAndSwap(true, false):
		s.log.Info("database available again")
	}
}
