package discovery

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/gateway/amtp"
)

// Config is what a Resolver needs. Zero values are the defaults.
type Config struct {
	// Domain is our own, lower case. It is looked up nowhere: Own describes it.
	Domain string
	Own    amtp.Record

	// Resolvers are asked in their order: IP, or IP:PORT. Empty: those of the system.
	Resolvers []string
	// ResolvConf is where the system's are read, on the first lookup and when the file
	// changes; default /etc/resolv.conf.
	ResolvConf string

	Timeout time.Duration // for one lookup; DefaultTimeout
	MaxTTL  time.Duration // DefaultMaxTTL
	Stale   time.Duration // DefaultStale; negative is none
	Entries int           // DefaultEntries

	// AllowHTTP takes gateways at http:// URLs.
	AllowHTTP bool

	// Mock answers from MockRecords instead of DNS. They map a domain to the text of its
	// record, or to the bare URL of its gateway; a full name such as
	// k1._amtpkey.DOMAIN to the text of that record. Nil stands for DefaultMockRecords.
	Mock        bool
	MockRecords map[string]string

	// Logger gets what an operator wants to know; nil is silence.
	Logger *slog.Logger
}

// DefaultMockRecords are what mock mode knows where nobody says otherwise.
func DefaultMockRecords() map[string]string {
	records := make(map[string]string)
	for _, domain := range []string{"localhost", "test.local", "dev.local", "example.com"} {
		records[domain] = "v=amtp1;gateway=http://localhost:8080"
	}
	return records
}

// Capabilities are what a domain's record says, and since when we know.
type Capabilities struct {
	amtp.Record
	// Discovered is when the record was read, TTL how long it was to be believed then.
	Discovered time.Time
	TTL        time.Duration
	Mock       bool // Config.Mock is set: the DNS was not asked
	Stale      bool // its time is over, and no resolver answers
}

// Stats count since the start.
type Stats struct {
	Hits     uint64 // answered from memory
	Lookups  uint64 // asked of resolvers
	Absent   uint64 // of these: no record
	Failures uint64 // of these: no answer
	Stale    uint64 // answered with what is past its time
	Entries  int    // names remembered now
}

// Resolver finds gateways. It is safe for concurrent use.
type Resolver struct {
	cfg  Config
	mock map[string]string
	ask  *asker

	mu     sync.Mutex
	names  *names
	flying map[string]*flight
	stats  Stats
	own    time.Time // since when our own domain is known
}

// New checks the configuration. It asks nobody.
func New(cfg Config) (*Resolver, error) {
	cfg.ResolvConf = cmp.Or(cfg.ResolvConf, "/etc/resolv.conf")
	cfg.Timeout = cmp.Or(max(cfg.Timeout, 0), DefaultTimeout)
	cfg.MaxTTL = cmp.Or(max(cfg.MaxTTL, 0), DefaultMaxTTL)
	cfg.Entries = cmp.Or(max(cfg.Entries, 0), DefaultEntries)
	if cfg.Stale = cmp.Or(cfg.Stale, DefaultStale); cfg.Stale < 0 {
		cfg.Stale = 0
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	asker, err := newAsker(cfg)
	if err != nil {
		return nil, err
	}
	r := &Resolver{cfg: cfg, ask: asker, names: newNames(cfg.Entries), flying: make(map[string]*flight), own: time.Now()}
	if cfg.Mock {
		r.mock = mockRecords(cfg)
	}
	return r, nil
}

// Lookup says which gateway a domain has. An error is a *LookupError.
func (r *Resolver) Lookup(ctx context.Context, domain string) (Capabilities, error) {
	name, err := amtp.ParseDomain(domain)
	if err != nil {
		return Capabilities{}, absent(domain, "it is no domain")
	}
	if own, ok := r.ownDomain(name); ok {
		return own, nil
	}
	texts, failed := r.texts(ctx, "_amtp."+name)
	if failed != nil {
		return Capabilities{}, failed.of(name)
	}
	record, err := pick(name, texts.values, r.cfg.AllowHTTP)
	if err != nil {
		return Capabilities{}, err
	}
	return Capabilities{Record: record, Discovered: texts.at, TTL: texts.ttl, Mock: r.cfg.Mock, Stale: texts.stale}, nil
}

// Known is Lookup where the answer is at hand: known is false where a resolver would
// have to be asked.
func (r *Resolver) Known(domain string) (c Capabilities, known bool, err error) {
	name, err := amtp.ParseDomain(domain)
	if err != nil {
		return Capabilities{}, true, absent(domain, "it is no domain")
	}
	if _, own := r.ownDomain(name); !own && !r.cfg.Mock && !r.fresh("_amtp."+name) {
		return Capabilities{}, false, nil
	}
	c, err = r.Lookup(context.Background(), name)
	return c, true, err
}

// TXT returns the texts of a name's TXT records, each joined from its strings, and how
// long they may still be believed. An error is a *LookupError.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, time.Duration, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	texts, failed := r.texts(ctx, name)
	if failed != nil {
		return nil, 0, failed
	}
	return slices.Clone(texts.values), max(time.Until(texts.at.Add(texts.ttl)), 0), nil
}

// Stats counts.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Entries = r.names.len()
	return s
}

// ownDomain is what is known of our own domain, unless a mock record says something else.
func (r *Resolver) ownDomain(name string) (Capabilities, bool) {
	if _, mocked := r.mock[name]; mocked || r.cfg.Domain == "" || name != r.cfg.Domain {
		return Capabilities{}, false
	}
	return Capabilities{Record: r.cfg.Own, Discovered: r.own, TTL: r.cfg.MaxTTL, Mock: r.cfg.Mock}, true
}
