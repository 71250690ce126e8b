package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/proxy"
)

// Kind says how a registry wants to know who asks.
type Kind string

// The kinds.
const (
	KindUnknown Kind = "unknown" // nobody asked yet
	KindAmesh   Kind = "amesh"   // by a signature over the whole request
	KindLegacy  Kind = "legacy"  // by a signed timestamp, AgentMesh 0.2
)

// Config is what a Client needs.
type Config struct {
	URL string // http:// or https://; a path, if any, stands in front of every other
	// Pinned says that the registry took signatures over the whole request before: then
	// nothing else is ever signed for it.
	Pinned bool
	// AllowLegacy lets the client sign bare timestamps for a registry of plain 0.2.
	AllowLegacy bool
	// Dial opens connections; nil means the network, through the proxy that the
	// environment names, if any.
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	Clock  func() time.Time // nil: time.Now
	Limits Limits           // zero: DefaultLimits
}

// Client talks to one registry for any number of agents. It is safe for concurrent use.
type Client struct {
	base   string
	legacy bool
	clock  func() time.Time
	limits Limits
	http   *http.Client

	mu     sync.Mutex
	kind   Kind
	stamps map[identity.AMID]time.Time // the last that was signed for a 0.2 registry
}

// New checks the configuration. It connects to nobody.
func New(cfg Config) (*Client, error) {
	base, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	c := &Client{base: base, legacy: cfg.AllowLegacy, clock: cfg.Clock, limits: cfg.Limits, kind: KindUnknown, stamps: make(map[identity.AMID]time.Time)}
	if cfg.Pinned {
		c.kind = KindAmesh
	}
	if cfg.Dial == nil {
		way, err := proxy.New(proxy.Config{})
		if err != nil {
			return nil, err
		}
		cfg.Dial = way.Dialer(base, nil)
	}
	c.http = newHTTP(cfg.Dial, cfg.Limits)
	return c, nil
}

// ParseURL checks a registry's address and returns it in the form in which a Client
// names it: lower case, without a slash at its end.
func ParseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("registry URL: %w", err)
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return "", fmt.Errorf("registry URL %.80q: want https://host or http://host:8080", s)
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return "", fmt.Errorf("registry URL %.80q: want no user, query or fragment in it", s)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u.String(), nil
}

// URL names the registry, as ParseURL writes it.
func (c *Client) URL() string { return c.base }

// Close ends idle connections; the client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Kind is what is known of the registry so far.
func (c *Client) Kind() Kind {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kind
}

// Learn finds out what kind of registry this is, unless it is known. It returns
// ErrUnreachable or ErrMalformed when that could not be found out, and ErrDowngrade never: a
// registry that is pinned is not asked.
func (c *Client) Learn(ctx context.Context) (Kind, error) {
	if kind := c.Kind(); kind != KindUnknown {
		return kind, nil
	}
	// Ours answers whatever is asked under this path in JSON with a code; 0.2 has nothing
	// there, and its 404 is empty (AgentMesh §3).
	kind := KindAmesh
	_, err := c.do(ctx, request{method: http.MethodGet, path: []string{"v1", "amesh", "revocations", (identity.AMID{}).String()}})
	no, refused := errors.AsType[*StatusError](err)
	switch {
	case err == nil:
	case !refused:
		return KindUnknown, err
	case no.Status >= 500:
		return KindUnknown, err
	case no.Code == "":
		kind = KindLegacy
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kind == KindUnknown {
		c.kind = kind
	}
	return c.kind, nil
}
