package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/peer"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
)

// Store is the part of gateway/store that is needed here.
type Store interface {
	Lease(ctx context.Context, r store.LeaseRequest) ([]store.Job, error)
	Finish(ctx context.Context, outcomes []store.Outcome) error
	Expedite(ctx context.Context, sel store.Selection, now time.Time) (store.Changed, error)
	NextDue(ctx context.Context) (time.Time, bool, error)
	Status(ctx context.Context, id string) (amtp.MessageStatus, error)
	Woken() <-chan struct{}
}

// Peers hands messages to other gateways: gateway/peer's Sender.
type Peers interface {
	Send(ctx context.Context, domain string, m peer.Outgoing) []peer.Result
	Signs() bool
}

// Hooks pushes messages to agents: gateway/webhook's Pusher.
type Hooks interface {
	Push(ctx context.Context, agent store.Agent, document []byte) webhook.Result
}

// Agents knows the agents of our domain: gateway/agents' Directory.
type Agents interface {
	Lookup(address amtp.Address) (store.Agent, bool) // asks nobody
	// Search may ask the database before it says that there is none.
	Search(ctx context.Context, address amtp.Address) (store.Agent, bool)
}

// Config is what a Service needs.
type Config struct {
	Domain string // ours
	Store  Store
	Peers  Peers
	Hooks  Hooks
	Agents Agents
	// UnknownPull gives senders of our domain that are no agents an inbox for replies:
	// for gateways that take messages for such agents too.
	UnknownPull bool
	Log         *slog.Logger
	Limits      Limits
}

// Service works through the queue.
type Service struct {
	cfg     Config
	freed   chan struct{} // has a value when a delivery has ended
	working sync.WaitGroup

	mu      sync.Mutex
	targets *targets
	stats   Stats
}

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Peers == nil || cfg.Hooks == nil || cfg.Agents == nil || cfg.Domain == "" {
		return nil, errors.New("delivery: a domain, a store, peers, hooks and agents are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	return &Service{cfg: cfg, freed: make(chan struct{}, 1), targets: newTargets(cfg.Limits)}, nil
}

// Stats counts since the start, by recipients, apart from what is now.
type Stats struct {
	Delivered uint64 // taken by a webhook or a gateway
	HandedOn  uint64 // a gateway says that it has them, and will deliver
	Retried   uint64 // tries in vain, with another to come
	Failed    uint64 // given up
	Notices   uint64 // to senders, of recipients that were given up
	Replies   uint64 // that webhooks gave at once
	InFlight  int    // deliveries under way now
	Paused    int    // targets that are left alone now
}

// Doubtful reports whether a target, a domain or an agent's address, is not known to answer
// at once: it is left alone, or what is under way to it is the first that it hears from us.
func (s *Service) Doubtful(target string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.targets.byName[target]
	return one != nil && (one.pause > 0 || !one.heard && len(one.held) > 0)
}

// Stats are the numbers for metrics.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.stats
	v.InFlight, v.Paused = s.targets.inFlight, s.targets.paused(time.Now())
	return v
}

// Hurry lets targets be tried although they are left alone because they were silent: an
// operator wants it. A target that stays silent is asked no more often than once in
// Limits.MinPause. It is for (*store.Store).OnHurry.
func (s *Service) Hurry(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.targets.hurry(name)
	}
}
