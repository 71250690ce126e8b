package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"amesh/identity"

	"github.com/coder/websocket"
)

// connectPath is where the SDKs connect; our relay takes any path.
const connectPath = "/v1/connect"

// ClientConfig is what a Client needs.
type ClientConfig struct {
	// URL is the relay, ws:// or wss://. Without a path it gets /v1/connect.
	URL string
	// Key signs the connect frame and names the agent. Required.
	Key identity.PrivateKey
	// Deliver gets every message in the order in which the relay sent them, on one
	// goroutine. It may block; then the relay is read no further. Required.
	Deliver func(Delivery)
	// OnState hears of every change, on Run's goroutine. It must not block. May
	// be nil.
	OnState func(State)
	// Dial opens connections; nil means the network.
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
	key     identity.PrivateKey
	who     identity.AMID
	deliver func(Delivery)
	onState func(State)
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	log     *slog.Logger
	limits  Limits
	retry   chan struct{}

	mu    sync.Mutex
	link  *link
	stamp time.Time // of the last connect frame
}

// NewClient checks the configuration. It starts nothing.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Deliver == nil {
		return nil, errors.New("relay client needs Deliver")
	}
	u, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	l, err := cfg.Limits.orDefault()
	if err != nil {
		return nil, err
	}
	if cfg.OnState == nil {
		cfg.OnState = func(State) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{
		url: u, key: cfg.Key, who: cfg.Key.AMID(), deliver: cfg.Deliver, onState: cfg.OnState,
		dial: cfg.Dial, log: cfg.Logger.With("relay", u), limits: l,
		retry: make(chan struct{}, 1),
	}, nil
}

// ParseURL checks a relay's address, ws:// or wss://, and returns it in the form in
// which a Client dials and names it.
func ParseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("relay URL: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return "", fmt.Errorf("relay URL %q: want ws://host or wss://host", s)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = connectPath
	}
	return u.String(), nil
}

// URL is the relay's address, with the path that is dialled.
func (c *Client) URL() string { return c.url }

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
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: c.dial}
	defer transport.CloseIdleConnections()
	dialer := &http.Client{Transport: transport}
	var out outage
	for {
		up, err := c.connect(ctx, dialer)
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
func (c *Client) connect(ctx context.Context, dialer *http.Client) (up time.Duration, err error) {
	hello, cancel := context.WithTimeout(ctx, c.limits.DialWait)
	defer cancel()
	ws, _, err := websocket.Dial(hello, c.url, &websocket.DialOptions{
		HTTPClient: dialer, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return 0, fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(c.limits.FrameBytes)
	state, err := c.introduce(hello, ws)
	if err != nil {
		return 0, err
	}
	l := newLink(c, ws, state)
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
}

// introduce sends the connect frame and takes the answer.
func (c *Client) introduce(ctx context.Context, ws *websocket.Conn) (State, error) {
	stamp := signStamp(c.freshStamp())
	err := ws.Write(ctx, websocket.MessageText, encode(connectFrame{
		Type: typeConnect, Protocol: protocol02, AMID: c.who.String(), PublicKey: c.key.Public().Text(),
		Signature: signatureText(c.key.SignTimestamp(stamp)), Timestamp: stamp, Extensions: supported,
	}))
	if err != nil {
		return State{}, fmt.Errorf("connect: %w", err)
	}
	_, data, err := ws.Read(ctx)
	if err != nil {
		if websocket.CloseStatus(err) == CloseUnauthorized {
			return State{}, &AuthError{Message: "closed without a reason"}
		}
		// The Rust relay refuses by hanging up without a word.
		return State{}, fmt.Errorf("no answer to connect: %w", err)
	}
	frame, err := parseRelayFrame(data)
	switch f := frame.(type) {
	case connectedFrame:
		return State{Connected: true, Session: f.SessionID, Pending: f.Pending, Extensions: f.Extensions}, nil
	case errorFrame:
		return State{}, authError(f)
	}
	return State{}, fmt.Errorf("unexpected answer to connect: %w", errors.Join(errMalformed, err))
}

// authError tells a refusal of our identity from a relay in trouble.
func authError(f errorFrame) error {
	text := strings.TrimSpace(f.Message)
	if text == "" {
		text = f.Error
	}
	if f.Code == CodeInternalError || f.Code == CodeRateLimited {
		return fmt.Errorf("relay not ready: %s: %.200s", f.Code, text)
	}
	return &AuthError{Code: f.Code, Message: text}
}

// freshStamp never gives the same second twice: Ed25519 is deterministic, and a
// relay refuses a signature that it has seen. A second or two ahead is within
// every relay's minute.
func (c *Client) freshStamp() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Truncate(time.Second)
	if !now.After(c.stamp) && c.stamp.Sub(now) < 30*time.Second {
		now = c.stamp.Add(time.Second)
	}
	c.stamp = now
	return now
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

// Ack tells the relay that messages are safe here, named by their Delivery.ID,
// once for each delivery. It never blocks; acknowledgements are sent together
// when several wait. Without a connection, or on a relay without "ack", it does
// nothing: what is not acknowledged comes again.
func (c *Client) Ack(ids ...string) {
	if l := c.current(); l != nil && l.ack {
		l.acknowledge(ids)
	}
}
