package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"amesh/gateway/agents"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/delivery"
	"amesh/gateway/discovery"
	"amesh/gateway/peer"
	"amesh/gateway/schema"
	"amesh/gateway/store"
	"amesh/internal/outward"
)

// Config is what a Server needs.
type Config struct {
	// Domain is the gateway's own; its agents are NAME@Domain. Required.
	Domain string
	// Open opens the store. Run calls it until it succeeds, as long as its errors are of
	// the kind that pass, and closes what it returned. Required.
	Open func(context.Context) (*store.Store, error)

	// Agents are the gateway's own. Domain, Rows, Schemas, Clock and Logger are filled in.
	Agents agents.Config
	// Schemas say what payloads may look like. Log is filled in, and the Registry by
	// Registry where that is not nil: one that is in the gateway's own database.
	Schemas  schema.Config
	Registry func(*store.Store) (schema.Registry, error)
	// Discovery finds other gateways. Domain and Logger are filled in; of its Own, Gateway is
	// the URL under which others reach us (default https://DOMAIN).
	Discovery discovery.Config
	// Peers is how other gateways are reached, and Hooks how agents' push targets are.
	Peers, Hooks outward.Config
	// Signer signs what goes to other gateways; nil: nobody does.
	Signer peer.Signer
	// Credentials are shown to other gateways that want some; nil: none.
	Credentials peer.Credentials

	// Delivery bounds the work of the queue.
	Delivery delivery.Limits

	// Retention is how long a message is kept after it has ended. Default 30 days.
	Retention time.Duration
	// KeyTTL is how long an idempotency key counts. Default 168 h.
	KeyTTL time.Duration
	// DerivedWindow is how long two equal messages without a key count as one; 0: never.
	DerivedWindow time.Duration

	// Admins are the keys of administrators; nil: there are none. AdminOpen lets all in
	// as long as there are none. AdminHeader is where the key stands, X-Admin-Key by default.
	Admins      *auth.AdminKeys
	AdminOpen   bool
	AdminHeader string

	// Auth says what senders and others must show, and who is believed.
	Auth AuthConfig
	// Rates bound what others may ask for; the zero value means DefaultRates.
	Rates Rates
	// Inbox says how agents see their inboxes.
	Inbox InboxConfig
	// PublicAgents lets anybody see the list of agents; else whoever shows a key or a token.
	PublicAgents bool

	// PublicReads lets anybody who knows a message's id read it and its state.
	PublicReads bool
	// TakeUnknown takes a message for a name that no agent has, for an agent of that name
	// that comes later; else that recipient has failed.
	TakeUnknown bool
	// Lenient takes what older clients send: ids of version 4 for instance (amtp.Rules).
	Lenient bool
	// FirstAnswer gives a message under a used key the first one's answer, even if it
	// says something else.
	FirstAnswer bool

	// StatusCodes says what an answer's status code tells of a message.
	StatusCodes StatusCodes
	// RemoteWait is how long an answer may wait to say what another gateway said; 0: it
	// does not.
	RemoteWait time.Duration
	// ReplyWindow is how long an answer waits for a reply to put into it, for clients that
	// do not say (Prefer: wait); 0: it does not.
	ReplyWindow time.Duration

	// Origins are those whose pages may read answers in a browser; AnyOrigin lets all. No
	// credentials of a browser are ever sent along.
	Origins   []string
	AnyOrigin bool

	// Metrics shows the gateway's numbers at /metrics, MetricsKey to administrators only.
	Metrics    bool
	MetricsKey bool

	// MinTLS is the lowest version of TLS that Serve speaks; default tls.VersionTLS13.
	MinTLS uint16
	// ClientRoots are the authorities whose certificates prove the domain of a gateway
	// that connects; nil asks nobody for a certificate.
	ClientRoots *x509.CertPool

	// Proxies are addresses whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// Limits are the door's numbers; the zero value means DefaultLimits.
	Limits Limits
	// Clock is the time; nil is time.Now.
	Clock func() time.Time
	// Logger gets events; nil is silence.
	Logger *slog.Logger
	// Access gets a line for every request; nil: none.
	Access *slog.Logger
}

// StatusCodes are ways to answer a message with.
type StatusCodes string

const (
	// AsAgentry is 200 when all is delivered, 202 when something is still to be done, and
	// 400, with the same body, when a recipient has failed for good.
	AsAgentry StatusCodes = "agentry"
	// AsSpec is 202, and 200 only with a reply in the body.
	AsSpec StatusCodes = "spec"
)

// check completes a configuration.
func (c Config) check() (Config, error) {
	if c.Open == nil {
		return c, errors.New("gateway needs a store")
	}
	var err error
	if c.Domain, err = amtp.ParseDomain(c.Domain); err != nil {
		return c, err
	}
	switch c.StatusCodes {
	case "":
		c.StatusCodes = AsAgentry
	case AsAgentry, AsSpec:
	default:
		return c, errors.New("status codes: want agentry or spec")
	}
	c.Retention, c.KeyTTL = cmp.Or(c.Retention, 30*24*time.Hour), cmp.Or(c.KeyTTL, 168*time.Hour)
	c.MinTLS = cmp.Or(c.MinTLS, tls.VersionTLS13)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.AdminHeader = cmp.Or(c.AdminHeader, "X-Admin-Key")
	if c.Admins == nil {
		c.Admins = auth.NewAdminKeys("", c.Clock)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Agents.Domain, c.Agents.Clock, c.Agents.Logger = c.Domain, c.Clock, c.Logger
	c.Schemas.Log = c.Logger
	c.Discovery.Domain, c.Discovery.Logger = c.Domain, c.Logger
	c.Inbox.Page, c.Inbox.Bytes = cmp.Or(c.Inbox.Page, inboxMost), cmp.Or(c.Inbox.Bytes, inboxBytes)
	if c.Auth, err = c.Auth.check(); err != nil {
		return c, err
	}
	if c.Rates, err = c.Rates.check(); err != nil {
		return c, err
	}
	c.Limits, err = c.Limits.orDefault()
	return c, err
}

// rules are those by which messages are read.
func (c Config) rules(now time.Time) amtp.Rules {
	return amtp.Rules{MaxSize: c.Limits.MessageBytes, Now: now, Lenient: c.Lenient}
}
