package signature

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Resolver asks DNS for TXT records. discovery.Resolver is one.
type Resolver interface {
	// TXT returns the texts at a name, each with its strings joined, and how long
	// they may be kept. That there are none is an error or an empty answer.
	TXT(ctx context.Context, name string) ([]string, time.Duration, error)
}

// Config is what a Verifier needs.
type Config struct {
	Resolver Resolver
	Policy   Policy        // Flag when empty
	TTL      time.Duration // how long keys are kept at most; DefaultTTL when zero
}

// NewVerifier checks the configuration. It opens and starts nothing.
func NewVerifier(cfg Config) (*Verifier, error) {
	if cfg.Resolver == nil {
		return nil, errors.New("signature: a resolver is required")
	}
	policy, err := ParsePolicy(string(cfg.Policy))
	if err != nil {
		return nil, err
	}
	if cfg.TTL <= 0 {
		cfg.TTL = DefaultTTL
	}
	return &Verifier{policy, &cache{
		resolver: cfg.Resolver, ttl: cfg.TTL, entries: make(map[string]*entry),
	}}, nil
}

var (
	errNoRecord = errors.New("no key record")
	errSeveral  = errors.New("several key records")
)

// cache remembers keys, and for a shorter time that there is none. Of many that
// want a key at once, one asks.
type cache struct {
	resolver Resolver
	ttl      time.Duration

	mu      sync.Mutex
	entries map[string]*entry
}

// entry is one name's answer. The fields but until are set before done is closed
// and not changed; until is the cache's.
type entry struct {
	done  chan struct{}
	key   PublicKey
	err   error
	until time.Time // zero while the lookup runs
}

func (c *cache) get(ctx context.Context, name string) (PublicKey, error) {
	e := c.entry(ctx, name)
	select {
	case <-e.done:
		return e.key, e.err
	case <-ctx.Done():
		return PublicKey{}, ctx.Err()
	}
}

func (c *cache) entry(ctx context.Context, name string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[name]; e != nil && (e.until.IsZero() || time.Now().Before(e.until)) {
		return e
	}
	c.makeRoom()
	e := &entry{done: make(chan struct{})}
	c.entries[name] = e
	// The one who asks may go away; the others still wait for the answer.
	go c.look(context.WithoutCancel(ctx), name, e)
	return e
}

func (c *cache) look(ctx context.Context, name string, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	texts, ttl, err := c.resolver.TXT(ctx, name)
	if err != nil && len(texts) == 0 {
		err = fmt.Errorf("key record %s: %w", name, err)
	} else {
		e.key, err = only(texts)
	}
	e.err = err
	keep := min(max(ttl, minTTL), c.ttl)
	if err != nil {
		keep = min(NegativeTTL, c.ttl)
	}
	c.mu.Lock()
	e.until = time.Now().Add(keep)
	c.mu.Unlock()
	close(e.done)
}

// only returns the one valid key among the texts at a name.
func only(texts []string) (PublicKey, error) {
	var found []PublicKey
	invalid := errNoRecord
	for _, text := range texts {
		key, err := ParseKeyRecord(text)
		if err != nil {
			if strings.HasPrefix(strings.TrimSpace(text), "v="+recordVersion) {
				invalid = err
			}
			continue
		}
		found = append(found, key)
	}
	switch len(found) {
	case 0:
		return PublicKey{}, invalid
	case 1:
		return found[0], nil
	}
	return PublicKey{}, errSeveral
}

// makeRoom drops what has expired when the cache is full, and then, if need be,
// anything that nobody waits for.
func (c *cache) makeRoom() {
	if len(c.entries) < maxCached {
		return
	}
	now := time.Now()
	for name, e := range c.entries {
		if !e.until.IsZero() && now.After(e.until) {
			delete(c.entries, name)
		}
	}
	for name, e := range c.entries {
		if len(c.entries) < maxCached {
			return
		}
		if !e.until.IsZero() {
			delete(c.entries, name)
		}
	}
}
