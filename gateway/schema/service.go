package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Config says how a gateway deals with schemas.
type Config struct {
	// Registry keeps the schemas. Without one there is no schema management:
	// only what agents say they support is looked at.
	Registry Registry
	// Unchecked turns the check of payloads off. Registration, lists and the
	// agents' own requirements stay.
	Unchecked bool
	// Formats says when "format" is a rule.
	Formats Formats
	// WarnUnknown warns about members that a definition does not name.
	WarnUnknown bool
	// Negotiation is off unless Enabled.
	Negotiation Negotiation
	// Compatibility guards the definitions under a name.
	Compatibility Compatibility
	// Trusted are the senders whose payloads are not checked: agent@domain,
	// *@domain or *@*.domain. Only proven senders profit.
	Trusted []string
	// Fresh is how long an answer of the registry is used without asking again,
	// also that there is no such schema. 0 asks each time.
	Fresh time.Duration
	// Limits bound the work; zero fields stand for their defaults.
	Limits Limits
	// Log gets what an operator should know; nothing when nil.
	Log *slog.Logger
}

// Formats says when the keyword format is a rule rather than a remark.
type Formats string

const (
	// FormatsDialect keeps to the definition's dialect: a definition without
	// $schema has agentry's rules, where a format counts; with a $schema, that
	// draft decides, and in 2020-12 a format is a remark.
	FormatsDialect Formats = ""
	// FormatsAlways makes every known format count.
	FormatsAlways Formats = "always"
)

// Negotiation says which version stands in for one that is not there.
type Negotiation struct {
	Enabled  bool
	Fallback Fallback
	// MaxDrift is how far apart the version asked for and the one used may be;
	// 0 is DefaultDrift.
	MaxDrift int
}

// Fallback is how another version is chosen.
type Fallback string

const (
	// FallbackLatest takes the highest version.
	FallbackLatest Fallback = "latest"
	// FallbackPrevious takes the next lower version, the highest when there is none.
	FallbackPrevious Fallback = "previous"
	// FallbackFail takes none.
	FallbackFail Fallback = "fail"
)

// DefaultDrift is how many versions a negotiation may cross.
const DefaultDrift = 3

// Compatibility says which changes need force.
type Compatibility struct {
	// Update is for a new definition under an old name; empty is ModeBackward.
	Update Mode
	// Versions is for a new version beside the next lower one; empty is ModeNone,
	// because a version is what one takes when one breaks.
	Versions Mode
	// Strict counts what breaks only for members that the definition did not
	// name: a new optional member might have been sent as something else.
	Strict bool
}

// Service answers every question about schemas. It is safe for concurrent use.
type Service struct {
	cfg     Config
	limits  Limits
	trusted []trusted
	log     *slog.Logger
	told    *told
	slots   chan struct{} // one for each costly check

	schemas *cache[ID, Schema]
	ids     *cache[struct{}, []ID] // all of them

	changing sync.Mutex // one change at a time, so that what was compared is what is replaced

	mu       sync.Mutex
	compiled *recent[ID, *ready]
}

// New checks cfg; it opens and asks nothing.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	limits := cfg.Limits.withDefaults()
	if r, ok := cfg.Registry.(Fresher); ok {
		cfg.Fresh = min(cfg.Fresh, r.Fresh())
	}
	s := &Service{
		cfg:      cfg,
		limits:   limits,
		log:      cfg.Log,
		told:     newTold(),
		slots:    make(chan struct{}, limits.Checks),
		schemas:  newCache[ID, Schema](cfg.Fresh, limits.Cached),
		ids:      newCache[struct{}, []ID](max(cfg.Fresh, leastFreshList), 1),
		compiled: newRecent[ID, *ready](limits.Compiled),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, text := range cfg.Trusted {
		t, err := parseTrusted(text)
		if err != nil {
			return nil, err
		}
		s.trusted = append(s.trusted, t)
	}
	return s, nil
}

func (c Config) check() error {
	switch c.Formats {
	case FormatsDialect, FormatsAlways:
	default:
		return fmt.Errorf("schema formats %q: want %q or nothing", c.Formats, FormatsAlways)
	}
	switch c.Negotiation.Fallback {
	case "", FallbackLatest, FallbackPrevious, FallbackFail:
	default:
		return fmt.Errorf("schema negotiation %q: want latest, previous or fail", c.Negotiation.Fallback)
	}
	if c.Negotiation.MaxDrift < 0 {
		return fmt.Errorf("schema negotiation: a drift of %d versions; want 1 or more, 0 for %d", c.Negotiation.MaxDrift, DefaultDrift)
	}
	for _, m := range []Mode{c.Compatibility.Update, c.Compatibility.Versions} {
		if m == "" {
			continue
		}
		if _, err := ParseMode(string(m)); err != nil {
			return err
		}
	}
	return nil
}

// Configured reports whether there is a registry.
func (s *Service) Configured() bool { return s.cfg.Registry != nil }

// ErrNotConfigured reports a Service without a registry.
var ErrNotConfigured = errors.New("schema management is not configured")

// Get returns one schema, ErrNotFound when there is none.
func (s *Service) Get(ctx context.Context, id ID) (Schema, error) {
	if !s.Configured() {
		return Schema{}, ErrNotConfigured
	}
	return s.schemas.get(ctx, id, func(ctx context.Context) (Schema, error) {
		sch, err := s.cfg.Registry.Get(ctx, id)
		sch.sum = sch.Checksum()
		return sch, err
	})
}

// List returns the identifiers that p picks, in order.
func (s *Service) List(ctx context.Context, p Pattern) ([]ID, error) {
	if !s.Configured() {
		return nil, ErrNotConfigured
	}
	return s.cfg.Registry.List(ctx, p)
}

// Stats counts what is registered.
type Stats struct {
	Total    int            `json:"total_schemas"`
	Domains  map[string]int `json:"domains"`
	Entities map[string]int `json:"entities"`
}

// Stats counts the schemas by domain and by entity.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	ids, err := s.List(ctx, Pattern{})
	if err != nil {
		return Stats{}, err
	}
	st := Stats{Total: len(ids), Domains: make(map[string]int), Entities: make(map[string]int)}
	for _, id := range ids {
		st.Domains[id.Domain]++
		st.Entities[id.Entity]++
	}
	return st, nil
}

// Request is a message as far as schemas go.
type Request struct {
	// Schema is the identifier as it stands in the message; may be empty.
	Schema  string
	Payload json.RawMessage
	// Sender is the full address; Proven says that it was not just claimed.
	Sender string
	Proven bool
	// Recipients are judged one by one.
	Recipients []Recipient
}

// Recipient is who a message is for.
type Recipient struct {
	// Remote is somebody of another gateway: nothing is refused on their behalf.
	Remote bool
	// Requires is an agent that takes nothing but what it supports.
	Requires bool
	// Supported are the agent's entries.
	Supported []string
}

// Decision is the verdict for one recipient.
type Decision struct {
	Accept bool
	// Code and Text say why not.
	Code Code
	Text string
	// Supported are the identifiers that would have been taken, or the agent's
	// entries when nothing registered fits them.
	Supported []string
	// Used is the version that the payload was checked with, when it was.
	Used ID
	// Errors are the payload's problems, Warnings what the sender should know.
	Errors   []Problem
	Warnings []Problem
}

// Report is the verdict on a message. Decisions stand in the order of the
// request's recipients.
type Report struct {
	Decisions []Decision
	// Bypassed is the entry of Config.Trusted that spared the payload the check.
	Bypassed string
}
