// Package proxy finds the way of outgoing connections: directly, through an HTTP proxy
// (CONNECT), or through a SOCKS5 proxy. Which one, the environment says as it does for
// other programs (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), or the owner.
//
// A Proxy opens connections and nothing else: whoever speaks HTTP, TLS or WebSocket over
// them does so as over a direct one. Every proxy is a stranger: the opening of a
// connection has an end, and what is read of a proxy's answer has one, too. What is
// said about a proxy in errors never has its credentials.
package proxy

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Values of Config.Setting that are no URL.
const (
	Auto = "auto" // what the environment says
	None = "none" // no proxy, whatever the environment says
)

// Config is what a Proxy needs.
type Config struct {
	// Setting is Auto, None, or the URL of a proxy: http, https, socks5 or socks5h, with
	// HOST:PORT. Empty is Auto. What NO_PROXY names goes directly in any case, and so do
	// this machine's own addresses.
	Setting string
	// Credentials is where user and password are read, now and again when the proxy
	// asks for others: "file:PATH" or "command:TEXT", which a shell runs. What is read
	// is USER:PASSWORD or the whole value of a Proxy-Authorization header. Empty: those
	// of the proxy's URL, if it has some.
	Credentials string
	// Getenv looks into the environment; nil means os.Getenv.
	Getenv func(string) string
	// Roots are whom the proxy's own TLS is believed by; nil means the system's.
	Roots *x509.CertPool
}

// DialFunc opens a connection.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Proxy knows the ways. It is safe for concurrent use.
type Proxy struct {
	choose      func(*url.URL) (*url.URL, error)
	credentials credentials
	roots       *x509.CertPool
}

const (
	// openWait is the time for a connection through a proxy to be there, the proxy's
	// own TLS and a second try with new credentials included.
	openWait = 10 * time.Second
	// headBytes is the longest answer of a proxy to CONNECT that is read.
	headBytes = 16 << 10
)

// New checks the configuration. It opens and runs nothing.
func New(cfg Config) (*Proxy, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	p := &Proxy{roots: cfg.Roots}
	ways := httpproxy.Config{NoProxy: first(cfg.Getenv, "NO_PROXY", "no_proxy")}
	switch cfg.Setting {
	case None:
	case Auto, "":
		all := first(cfg.Getenv, "ALL_PROXY", "all_proxy")
		ways.HTTPSProxy = cmp.Or(first(cfg.Getenv, "HTTPS_PROXY", "https_proxy"), all)
		ways.HTTPProxy = cmp.Or(first(cfg.Getenv, "HTTP_PROXY", "http_proxy"), all)
	default:
		ways.HTTPSProxy, ways.HTTPProxy = cfg.Setting, cfg.Setting
	}
	for _, at := range []*string{&ways.HTTPSProxy, &ways.HTTPProxy} {
		if *at == "" {
			continue
		}
		u, err := parse(*at)
		if err != nil {
			return nil, err
		}
		*at = u.String()
	}
	var err error
	if p.credentials.source, err = parseSource(cfg.Credentials); err != nil {
		return nil, err
	}
	p.choose = ways.ProxyFunc()
	return p, nil
}

func first(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if v := getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// ports are where proxies of a kind are when nobody says another.
var ports = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// parse checks a proxy's address. Without a kind it is one of HTTP, as curl has it.
func parse(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil { // whose text may have a password
		return nil, fmt.Errorf("proxy: not a URL: want http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	port, known := ports[u.Scheme]
	switch {
	case !known:
		return nil, fmt.Errorf("proxy: %.20q is no kind of proxy: want http, https or socks5", u.Scheme)
	case u.Hostname() == "", u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("proxy %s: want %s://HOST:PORT and nothing behind it", name(u), u.Scheme)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	u.Path = ""
	return u, nil
}

// name is how a proxy is called in front of people: without credentials.
func name(u *url.URL) string { return u.Scheme + "://" + u.Host }

// Shown is a Setting as it may be shown to people: without credentials.
func Shown(setting string) string {
	switch setting {
	case Auto, None, "":
		return setting
	}
	u, err := parse(setting)
	if err != nil {
		return "(wrong)" // and its text may have a password anywhere
	}
	return name(u)
}

// Way names the proxy, without credentials, through which a URL is reached: http, https,
// ws or wss. It is empty where no proxy is used.
func (p *Proxy) Way(target string) string {
	to, err := url.Parse(target)
	if p == nil || err != nil {
		return ""
	}
	if u := p.way(to.Scheme, to.Host); u != nil {
		return name(u)
	}
	return ""
}

// way is nil for the direct one.
func (p *Proxy) way(scheme, addr string) *url.URL {
	if scheme == "wss" || scheme == "https" {
		scheme = "https"
	} else {
		scheme = "http"
	}
	u, err := p.choose(&url.URL{Scheme: scheme, Host: strings.ToLower(addr)})
	if err != nil { // only in a CGI program
		return nil
	}
	return u
}

// Dialer opens the connections for a URL, whose scheme is http, https, ws or wss. under
// opens those to proxies and where there is none; nil means the network. A nil Proxy
// goes directly.
func (p *Proxy) Dialer(target string, under DialFunc) DialFunc {
	if under == nil {
		under = new(net.Dialer).DialContext
	}
	if p == nil {
		return under
	}
	scheme, _, _ := strings.Cut(target, ":")
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		u := p.way(scheme, addr)
		if u == nil {
			return under(ctx, network, addr)
		}
		return p.open(ctx, under, u, addr)
	}
}
