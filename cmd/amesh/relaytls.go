package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	domainFlag       string // which names them
	cert, key        string
	directory, email string
	http             string
}

func (o *tlsOptions) flags(f *pflag.FlagSet) { o.flagsNamed(f, "domain") }

// flagsNamed is flags where --domain already means something else.
func (o *tlsOptions) flagsNamed(f *pflag.FlagSet, domain string) {
	o.domainFlag = "--" + domain
	f.StringSliceVar(&o.domains, domain, nil, "get certificates for `NAME` by itself (repeatable); accepts the authority's terms")
	f.StringVar(&o.http, "http", "", "`ADDR` for the authority's requests and a redirect, with --"+domain+", or off (default :80)")
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
		return usagef("%s and --tls-cert: want one of the two", o.domainFlag)
	case len(o.domains) == 0 && (o.directory != "" || o.email != "" || o.http != ""):
		return usagef("--acme-directory, --acme-email and --http: want %s with them", o.domainFlag)
	case o.directory != "" && !strings.HasPrefix(o.directory, "https://"):
		return usagef("--acme-directory %s: want an https URL", o.directory)
	}
	for _, d := range o.domains {
		if err := https.CheckDomain(d); err != nil {
			return usagef("%s: %v", o.domainFlag, err).next("give a name that leads to this machine, such as relay.example")
		}
	}
	if o.http != "" && o.http != off {
		return checkHostPort("--http", o.http, ":80, or off")
	}
	return nil
}

// secured is what a server's door needs to speak TLS. The zero value speaks plain HTTP.
type secured struct {
	config *tls.Config
	// plain is the door for the authority's requests, which challenges answers and where
	// everybody else is sent on; nil if there is none.
	plain      net.Listener
	challenges http.Handler
	opened     []io.Closer
}

// openTLS gets the certificates of a door, and what has to be open for that. What is
// opened is in the result also when it fails.
func openTLS(o tlsOptions, data string, door net.Listener, log *slog.Logger, tell func(line string)) (s secured, err error) {
	if o.cert != "" {
		files, err := https.NewFiles(o.cert, o.key, log)
		if err != nil {
			return s, fmt.Errorf("--tls-cert: %w", err)
		}
		s.config = files.TLS()
		return s, nil
	}
	if len(o.domains) == 0 {
		return s, nil
	}
	host, port, _ := net.SplitHostPort(door.Addr().String())
	if port != httpsPort {
		tell(fmt.Sprintf("the authority will come to port %s of %s: let it lead to port %s here", httpsPort, o.domains[0], port))
	}
	if s.plain, err = listenHTTP(o.http, host, tell); err != nil {
		return s, err
	}
	cfg := https.AutoConfig{
		Domains: o.domains, Folder: filepath.Join(data, "tls"), Directory: o.directory, Email: o.email,
		Host: host, TLSPort: portNumber(door), Logger: log,
	}
	if s.plain != nil {
		cfg.HTTPPort = portNumber(s.plain)
		s.opened = append(s.opened, s.plain)
	}
	auto, err := https.OpenAuto(cfg)
	if err != nil {
		return s, err
	}
	s.opened = append(s.opened, auto)
	s.config, s.challenges = auto.TLS(), auto.Challenges(redirect(o.domains, port))
	return s, nil
}

// openTLS is that of the relay's door.
func (p *relayParts) openTLS(o relayOptions) error {
	s, err := openTLS(o.tls, o.data, p.door, p.log, p.tell)
	p.opened = append(p.opened, s.opened...)
	if err != nil {
		return err
	}
	p.tls = s.config
	if s.plain != nil {
		p.services = append(p.services, func(ctx context.Context) error { return p.server.ServeBeside(ctx, s.plain, s.challenges) })
	}
	return nil
}

// listenHTTP opens the door for the authority's requests. It can be done without:
// the other challenge comes to the server's own port.
func listenHTTP(addr, host string, tell func(line string)) (net.Listener, error) {
	if addr == off {
		return nil, nil
	}
	if addr != "" {
		return listenTCP(addr, false, tell)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, httpPort))
	if err != nil {
		tell(fmt.Sprintf("without port %s, which is only the second way to a certificate: %v", httpPort, errors.Unwrap(err)))
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

// dialledNames are those under which clients dial a server (relay.md §2.2).
func dialledNames(name string, domains []string, door net.Listener) []string {
	var all []string
	if name != "" {
		all = append(all, name)
	}
	_, port, _ := net.SplitHostPort(door.Addr().String())
	for _, d := range domains {
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
