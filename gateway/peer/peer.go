package peer

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/discovery"
)

// FeaturePerRecipient stands in the record of a gateway that tells the recipients of
// one message apart: a second copy under the same id and key, for another recipient,
// is delivered.
const FeaturePerRecipient = "per-recipient-delivery"

// DefaultUserAgent is what requests say of us.
const DefaultUserAgent = "AMTP/1.0 (amesh)"

// Client makes requests: internal/outward's.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// Discovery finds a domain's gateway.
type Discovery interface {
	Lookup(ctx context.Context, domain string) (discovery.Capabilities, error)
}

// Signer signs for our domain: gateway/signature's Ring.
type Signer interface {
	// Signs reports whether there is a key to sign with now.
	Signs() bool
	// Sign returns a message with its member signature set.
	Sign(message []byte) ([]byte, error)
}

// Credentials has what we show to gateways that want more than a signature.
type Credentials interface {
	// Token is a bearer token for a domain's gateway; "" where it gets none. auth are
	// the ways that its record names.
	Token(ctx context.Context, domain string, auth []string) (string, error)
}

// Config is what a Sender needs.
type Config struct {
	Client      Client
	Discovery   Discovery
	Signer      Signer      // nil: messages go unsigned
	Credentials Credentials // nil: none
	UserAgent   string      // DefaultUserAgent if empty
	AllowHTTP   bool        // gateways may be http://
	Log         *slog.Logger
	Limits      Limits
}

// Sender sends to other gateways. It is safe for concurrent use and keeps nothing.
type Sender struct{ cfg Config }

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*Sender, error) {
	if cfg.Client == nil || cfg.Discovery == nil {
		return nil, errors.New("peer: a client and a discovery are required")
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = DefaultUserAgent
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	return &Sender{cfg}, nil
}

// Outgoing is a message to recipients of one domain.
type Outgoing struct {
	MessageID string
	Document  []byte // as of (*amtp.Message).Document
	// Recipients are those whose turn it is.
	Recipients []string
	// First is the domain's first recipient in the message as a whole: its copy keeps
	// the message's id when each recipient gets a copy of its own. Empty is
	// Recipients[0]. Only Signs cares.
	First string
}

// Result is what came of a message for one recipient.
type Result struct {
	Recipient string
	// State is amtp.Delivered; amtp.Delivering, the gateway has taken it over;
	// amtp.Failed for good; or amtp.Retrying, another try may help.
	State      amtp.State
	Code       amtp.Code // with Failed and Retrying
	Text       string    // the same in words: short, clean, without anything of our side
	HTTPStatus int       // zero: there was no answer
	RetryAfter time.Duration
	Took       time.Duration
	// Untried says that no try was made, or that we broke it off ourselves.
	Untried bool
}

// Signs reports whether messages are signed, each recipient then being sent to apart.
func (s *Sender) Signs() bool { return s.cfg.Signer != nil && s.cfg.Signer.Signs() }

// Send tries to hand a message over, once. The results are in the order of the
// recipients. What is not handed over when ctx ends is Untried; and so is what is left
// when the gateway has turned out to be in no state to take more.
func (s *Sender) Send(ctx context.Context, domain string, m Outgoing) []Result {
	caps, failed := s.lookup(ctx, domain)
	if failed != nil {
		return failed.forAll(m.Recipients)
	}
	x := &exchange{Sender: s, domain: domain, caps: caps, signs: s.Signs(), done: make(map[string]Result, len(m.Recipients))}
	for _, p := range x.parcels(m) {
		x.post(ctx, p)
	}
	return x.results(m.Recipients)
}

// lookup finds the gateway of a domain and checks that we may speak to it.
func (s *Sender) lookup(ctx context.Context, domain string) (discovery.Capabilities, *verdict) {
	caps, err := s.cfg.Discovery.Lookup(ctx, domain)
	if err != nil {
		return caps, s.notFound(ctx, domain, err)
	}
	if caps.Version != "" && caps.Version != amtp.Version {
		return caps, final(0, amtp.CodeUnsupportedVersion, "the gateway speaks another version of AMTP than "+amtp.Version)
	}
	if err := amtp.CheckGateway(caps.Gateway, s.cfg.AllowHTTP); err != nil {
		return caps, final(0, amtp.CodeInvalidGateway, "the gateway in the domain's record must be an https URL")
	}
	caps.Gateway = strings.TrimSuffix(caps.Gateway, "/")
	return caps, nil
}

func (s *Sender) notFound(ctx context.Context, domain string, err error) *verdict {
	if ctx.Err() != nil {
		return interrupted()
	}
	s.cfg.Log.Debug("no gateway found", "domain", domain, "err", err)
	var lookup *discovery.LookupError
	if !errors.As(err, &lookup) {
		return later(0, amtp.CodeDiscoveryFailed, "the gateway of the domain could not be looked up")
	}
	if lookup.Temporary() {
		return later(0, lookup.Code, lookup.Text)
	}
	return final(0, lookup.Code, lookup.Text)
}
