package outward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"amesh/internal/proxy"
	"amesh/internal/reach"
)

// ErrTooLong reports an answer whose body goes on behind the limit.
var ErrTooLong = errors.New("the answer is too long")

// Config is what a Client needs. Its zero value allows https on port 443 of the
// internet's addresses.
type Config struct {
	// Rules say which addresses may be contacted; the zero value: those of the internet.
	Rules reach.Rules
	// Allowed are prefixes that the operator named: their addresses are contacted on
	// every port, whatever Rules say.
	Allowed []netip.Prefix
	// AllowedHosts are hosts that the operator named, as HOST for every port or
	// HOST:PORT: wherever they lead.
	AllowedHosts []string
	// Ports are those that may be contacted. Empty is 443, and 80 where HTTP is true.
	Ports []uint16
	// HTTP allows http:// too.
	HTTP bool

	// MinTLS is the lowest version of TLS, tls.VersionTLS12 if less.
	MinTLS uint16
	// Roots are whom certificates are believed by; nil for the system's.
	Roots *x509.CertPool
	// Certificate gives ours to servers that ask who we are; nil if we have none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

	// Proxy is the way out that the operator chose; nil goes directly. Behind a proxy,
	// names are resolved where we cannot see it: addresses are then judged only
	// where a URL has one instead of a name.
	Proxy *proxy.Proxy
	// Resolver resolves names; nil for the system's.
	Resolver *net.Resolver
	// UserAgent is sent where a request names none.
	UserAgent string
	Limits    Limits
}

// Client makes requests. It is safe for concurrent use.
type Client struct {
	cfg   Config
	hosts map[string]bool // of AllowedHosts
	ports map[string]bool
	http  *http.Client
}

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*Client, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	c := &Client{cfg: cfg, hosts: make(map[string]bool), ports: make(map[string]bool)}
	for _, h := range cfg.AllowedHosts {
		name, err := allowedHost(h)
		if err != nil {
			return nil, err
		}
		c.hosts[name] = true
	}
	for _, p := range cfg.Ports {
		c.ports[fmt.Sprint(p)] = true
	}
	if len(cfg.Ports) == 0 {
		c.ports["443"], c.ports["80"] = true, cfg.HTTP
	}
	l := cfg.Limits
	transport := &http.Transport{
		Proxy:       nil, // DialContext knows the way
		DialContext: c.dial,
		TLSClientConfig: &tls.Config{
			MinVersion: max(cfg.MinTLS, tls.VersionTLS12), RootCAs: cfg.Roots, GetClientCertificate: cfg.Certificate,
		},
		TLSHandshakeTimeout: l.Handshake, MaxIdleConns: l.Idle, MaxIdleConnsPerHost: l.IdlePerHost,
		MaxConnsPerHost: l.PerHost, IdleConnTimeout: l.IdleTime, MaxResponseHeaderBytes: headBytes,
		// A small answer that swells when it is unpacked would get around the limit.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait},
	}
	c.http = &http.Client{
		Transport: transport, Timeout: l.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Do makes a request and returns the answer, whatever its status: redirects are not
// followed. Of its body, which the caller closes, no more can be read than
// Limits.Body; where it is longer, reading ends with ErrTooLong. An error that is
// ErrBlocked says that nothing was sent.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if err := c.CheckURL(req.URL); err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" && c.cfg.UserAgent != "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", c.cfg.UserAgent)
	}
	resp, err := c.http.Do(req.WithContext(context.WithValue(req.Context(), schemeKey{}, req.URL.Scheme)))
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: c.cfg.Limits.Body}
	return resp, nil
}

// CloseIdle closes the connections that nobody uses.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// schemeKey has the scheme of the request for which a connection is opened.
type schemeKey struct{}

// dial opens the connection for a URL whose host and port addr has.
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.cfg.Limits.Connect, KeepAlive: 30 * time.Second, Resolver: c.cfg.Resolver}
	scheme, _ := ctx.Value(schemeKey{}).(string)
	if target := scheme + "://" + addr; c.cfg.Proxy.Way(target) != "" {
		return c.cfg.Proxy.Dialer(target, d.DialContext)(ctx, network, addr)
	}
	if !c.named(addr) {
		d.Control = c.control
	}
	return d.DialContext(ctx, network, addr)
}

// control judges an address after its name is resolved and before a connection to it is
// made: nothing can change in between.
func (c *Client) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return &BlockedError{Host: address, Why: "it is no address"}
	}
	return c.checkAddr(a.Addr(), fmt.Sprint(a.Port()))
}

// named reports whether the operator named the host of HOST:PORT.
func (c *Client) named(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return err == nil && (c.hosts[host] || c.hosts[net.JoinHostPort(host, port)])
}

// bounded ends a body with an error where there is more than was asked for.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLong
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLong
	}
	return n, err
}

// Get asks for a URL; see Do.
func (c *Client) Get(ctx context.Context, target string) (*http.Response, error) {
	if err := c.Check(target); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}
