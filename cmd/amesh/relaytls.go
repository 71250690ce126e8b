package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"amesh/internal/https"

	"github.com/spf13/pflag"
)

// Ports that the authority's challenges come to.
const (
	httpsPort = "443"
	httpPort  = "80"
)

// tlsOptions say where a server's certificates come from. Without any it speaks plain
// HTTP.
type tlsOptions struct {
	domains          []string
	cert, key        string
	directory, email string
	http             string
}

func (o *tlsOptions) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.domains, "domain", nil, "get certificates for `NAME` by itself (repeatable); accepts the authority's terms")
	f.StringVar(&o.http, "http", "", "`ADDR` for the authority's requests and a redirect, with --domain, or off (default :80)")
	f.StringVar(&o.email, "acme-email", "", "`ADDRESS` to which the authority may write")
	f.StringVar(&o.directory, "acme-directory", "", "`URL` of the authority (default Let's Encrypt)")
	f.StringVar(&o.cert, "tls-cert", "", "certificate `FILE`, with its chain, in PEM; read again when it changes")
	f.StringVar(&o.key, "tls-key", "", "key `FILE` of that certificate")
}

// on reports whether TLS is spoken.
func (o *tlsOptions) on() bool { return len(o.domains) > 0 || o.cert != "" }

func (o *tlsOptions) check() error {
	switch {
	case (o.cert == "") != (o.key == ""):
		return usagef("--tls-cert and --tls-key belong together")
	case o.cert != "" && len(o.domains) > 0:
		return usagef("--domain and --tls-cert: want one of the two")
	case len(o.domains) == 0 && (o.directory != "" || o.email != "" || o.http != ""):
		return usagef("--acme-directory, --acme-email and --http: want --domain with them")
	case o.directory != "" && !strings.HasPrefix(o.directory, "https://"):
		return usagef("--acme-directory %s: want an https URL", o.directory)
	}
	for _, d := range o.domains {
		if err := https.CheckDomain(d); err != nil {
			return usagef("--domain: %v", err).next("give a name that leads to this machine, such as relay.example")
		}
	}
	if o.http != "" && o.http != off {
		return checkHostPort("--http", o.http, ":80, or off")
	}
	return nil
}

// openTLS gets the certificates of the relay's door, and what has to be open for that.
func (p *relayParts) openTLS(o relayOptions) error {
	if o.tls.cert != "" {
		files, err := https.NewFiles(o.tls.cert, o.tls.key, p.log)
		if err != nil {
			return fmt.Errorf("--tls-cert: %w", err)
		}
		p.tls = files.TLS()
		return nil
	}
	if len(o.tls.domains) == 0 {
		return nil
	}
	host, port, _ := net.SplitHostPort(p.door.Addr().String())
	if port != httpsPort {
		p.tell(fmt.Sprintf("the authority will come to port %s of %s: let it lead to port %s here", httpsPort, o.tls.domains[0], port))
	}
	plain, err := p.listenHTTP(o.tls.http, host)
	if err != nil {
		return err
	}
	cfg := https.AutoConfig{
		Domains: o.tls.domains, Folder: filepath.Join(o.data, "tls"), Directory: o.tls.directory, Email: o.tls.email,
		Host: host, TLSPort: portNumber(p.door), Logger: p.log,
	}
	if plain != nil {
		cfg.HTTPPort = portNumber(plain)
		p.opened = append(p.opened, plain)
	}
	auto, err := https.OpenAuto(cfg)
	if err != nil {
		return err
	}
	p.opened = append(p.opened, auto)
	p.tls = auto.TLS()
	if plain != nil {
		h := auto.Challenges(redirect(o.tls.domains, port))
		p.services = append(p.services, func(ctx context.Context) error { return p.server.ServeBeside(ctx, plain, h) })
	}
	return nil
}

// listenHTTP opens the door for the authority's requests. It can be done without:
// the other challenge comes to the relay's own port.
func (p *relayParts) listenHTTP(addr, host string) (net.Listener, error) {
	if addr == off {
		return nil, nil
	}
	if addr != "" {
		return listenTCP(addr, false, p.tell)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, httpPort))
	if err != nil {
		p.tell(fmt.Sprintf("without port %s, which is only the second way to a certificate: %v", httpPort, errors.Unwrap(err)))
		return nil, nil
	}
	return l, nil
}

func portNumber(l net.Listener) int {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	return n
}

// redirect sends a browser that came without TLS to the same place with it. Names
// that are not ours lead nowhere.
func redirect(domains []string, port string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.ToLower(r.Host)
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !slices.Contains(domains, host) || r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		if port != httpsPort {
			host = net.JoinHostPort(host, port)
		}
		http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusPermanentRedirect)
	})
}

// names are those under which clients dial the relay (relay.md §2.2).
func (p *relayParts) names(o relayOptions) []string {
	var all []string
	if o.name != "" {
		all = append(all, o.name)
	}
	_, port, _ := net.SplitHostPort(p.door.Addr().String())
	for _, d := range o.tls.domains {
		if name := net.JoinHostPort(d, port); !slices.Contains(all, name) {
			all = append(all, name)
		}
		// What agents dial when the door is behind another port.
		if name := net.JoinHostPort(d, httpsPort); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
