package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/proxy"
)

// connectPath is where the SDKs connect; our relay takes any path.
const connectPath = "/v1/connect"

// ClientConfig is what a Client needs.
type ClientConfig struct {
	// URL is the relay, ws:// or wss://. Without a path it gets /v1/connect.
	URL string
	// Key signs the connect frame and names the agent. Required.
	Key identity.PrivateKey
	// Pinned says that this relay has confirmed the extension "challenge" before:
	// the client then never connects to it without, whatever AllowLegacy says. A
	// running client pins itself.
	Pinned bool
	// AllowLegacy lets the client connect to a relay without "challenge", by a
	// frame that whoever sees it can use at another service for five minutes.
	AllowLegacy bool
	// HoldLegacy is asked before such a frame is signed: as long as it is true there is
	// none (ErrLegacyHeld). nil: never. It must not block.
	HoldLegacy func() bool
	// Hidden asks the relay to tell nobody that we are connected.
	Hidden bool
	// Deliver gets every message in the order in which the relay sent them, on one
	// goroutine. It may block; then the relay is read no further. Required.
	Deliver func(Delivery)
	// OnExpired gets the relay's signed notices of what it gave up, on Deliver's
	// goroutine and in the order with its messages. It may block. What is not named in
	// Ack comes again. Without it the relay is not asked for notices.
	OnExpired func(Expired)
	// OnDraining hears that the relay is about to go for good; it works until it ends
	// the connection. It must not block. May be nil.
	OnDraining func()
	// OnState hears of every change, on Run's goroutine. It must not block. May
	// be nil.
	OnState func(State)
	// Dial opens connections; nil means the network, through the proxy that the
	// environment names, if any.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger gets events; nil is silence.
	Logger *slog.Logger
	// Limits are the client's numbers; the zero value means DefaultLimits.
	Limits Limits
}

// Client is an agent's line to one relay. Run keeps it connected. All methods
// are safe for concurrent use.
type Client struct {
	url     string
	id      string // of the relay
	legacy  bool   // AllowLegacy
	hold    func() bool
	hidden  bool
	key     identity.PrivateKey
	who     identity.AMID
	deliver func(Delivery)
	// onExpired may be nil.
	onExpired  func(Expired)
	onState    func(State)
	onDraining func()
	dial       func(ctx context.Context, network, addr string) (net.Conn, error)
	log        *slog.Logger
	limits     Limits
	retry      chan struct{}

	mu     sync.Mutex
	link   *link
	pinned bool
	allow  map[identity.AMID]struct{} // nil: no list
	stamp  time.Time                  // of the last connect frame
}

// NewClient checks the configuration. It starts nothing.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Deliver == nil {
		return nil, errors.New("relay client needs Deliver")
	}
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	id, err := dialled.OfURL(u)
	if err != nil {
		return nil, fmt.Errorf("relay URL: %w", err)
	}
	l, err := cfg.Limits.orDefault()
	if err != nil {
		return nil, err
	}
	if cfg.Dial, err = dialerOr(cfg.Dial, u.String()); err != nil {
		return nil, err
	}
	if cfg.OnState == nil {
		cfg.OnState = func(State) {}
	}
	if cfg.OnDraining == nil {
		cfg.OnDraining = func() {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{
		url: u.String(), id: id, legacy: cfg.AllowLegacy, hold: cfg.HoldLegacy, hidden: cfg.Hidden, pinned: cfg.Pinned,
		key: cfg.Key, who: cfg.Key.AMID(), deliver: cfg.Deliver, onExpired: cfg.OnExpired, onState: cfg.OnState, onDraining: cfg.OnDraining,
		dial: cfg.Dial, log: cfg.Logger.With("relay", u.String()), limits: l,
		retry: make(chan struct{}, 1),
	}, nil
}

// dialerOr is dial, or what the environment says for a URL.
func dialerOr(dial proxy.DialFunc, url string) (proxy.DialFunc, error) {
	if dial != nil {
		return dial, nil
	}
	p, err := proxy.New(proxy.Config{})
	if err != nil {
		return nil, err
	}
	return p.Dialer(url, nil), nil
}

// ParseURL checks a relay's address, ws:// or wss://, and returns it in the form in
// which a Client dials and names it.
func ParseURL(s string) (string, error) {
	u, err := parseURL(s)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// RelayID is the name under which a client knows the relay at a URL: the host and
// the port that are dialled, in the one right spelling (relay.md §2.1). Clients sign
// it, so that what they say to one relay is worth nothing at another.
func RelayID(relayURL string) (string, error) {
	u, err := parseURL(relayURL)
	if err != nil {
		return "", err
	}
	return dialled.OfURL(u)
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("relay URL: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, fmt.Errorf("relay URL %q: want ws://host or wss://host", s)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = connectPath
	}
	return u, nil
}

// URL is the relay's address, with the path that is dialled.
func (c *Client) URL() string { return c.url }

// RelayID is the name under which this client knows its relay (relay.md §2.1).
func (c *Client) RelayID() string { return c.id }

// Connected reports whether the relay has admitted us and the connection lives.
func (c *Client) Connected() bool { return c.current() != nil }

// Session names the connection that lives now, or is empty.
func (c *Client) Session() string {
	if l := c.current(); l != nil {
		return l.session
	}
	return ""
}

func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Run connects, and connects again whenever the connection ends, until ctx ends;
// then it closes the connection, settles every Send and returns nil. Run is
// called once.
func (c *Client) Run(ctx context.Context) error {
	w := newWays(c)
	defer w.close()
	var out outage
	for {
		up, err := c.connect(ctx, w)
		if ctx.Err() != nil {
			c.onState(State{})
			return nil
		}
		c.onState(State{Err: err})
		c.log.Debug("relay connection ended", "err", err, "took", up)
		if !c.pause(ctx, &out, up, err) {
			return nil
		}
	}
}

// connect runs one connection from dialling to its end, and says how long it was
// up and why it ended.
func (c *Client) connect(ctx context.Context, w *ways) (up time.Duration, err error) {
	line, err := w.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer line.close()
	line.SetReadLimit(c.limits.FrameBytes)
	hello, cancel := context.WithTimeout(ctx, c.limits.DialWait)
	defer cancel()
	state, err := c.introduce(hello, line.Conn, line.header)
	if err != nil {
		w.notIntroduced(line, err)
		return 0, err
	}
	l := newLink(c, line.Conn, state)
	if line.poll != nil {
		l.better, state.LongPoll = w.better, true
	}
	started := time.Now()
	c.setLink(l)
	c.onState(state)
	err = l.run(ctx)
	c.setLink(nil)
	l.settle()
	return time.Since(started), err
}

func (c *Client) setLink(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	if l != nil && c.allow != nil {
		l.setAllow(c.allow)
	}
}

// Send hands a message to the relay. It never blocks. Messages leave in the
// order of the calls. done is called exactly once, never from inside Send, and
// must not block: with the relay's answer, or with ErrDisconnected when the
// connection is not there or ends first, or with ErrBusy.
func (c *Client) Send(o Outgoing, done func(Result)) {
	p, err := prepare(o, c.limits)
	if err == nil {
		p.done = done
		err = ErrDisconnected
		if l := c.current(); l != nil && (o.Session == "" || o.Session == l.session) {
			err = l.send(p)
		}
	}
	if err != nil {
		// On its own, so that a caller may hold a lock that done wants.
		go done(Result{ID: p.id, Err: err})
	}
}

// Ack tells the relay that messages are safe here, named by their Delivery.ID or
// Expired.ID,
// once for each delivery. It never blocks; acknowledgements are sent together
// when several wait. Without a connection, or on a relay without "ack", it does
// nothing: what is not acknowledged comes again.
func (c *Client) Ack(ids ...string) {
	if l := c.current(); l != nil && l.ack {
		l.acknowledge(ids)
	}
}
