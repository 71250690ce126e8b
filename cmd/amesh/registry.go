package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"amesh/internal/exporter"
	"amesh/registry"
	"amesh/registry/db"
	"amesh/registry/metrics"

	"github.com/spf13/cobra"
)

const (
	// registryDefault is where a registry listens without being told.
	registryDefault = ":8080"
	// registryFile is its database in --data, where there is no other.
	registryFile = "registry.db"
)

type registryOptions struct {
	listen, data, database, name, metrics, printAddresses string
	proxies                                               []string
	prefixedKeys                                          bool
	proof                                                 proofOptions
	tls                                                   tlsOptions
}

func (a *app) registryCommand() *cobra.Command {
	var o registryOptions
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Run a registry: a directory of agents, with their prekeys and reputation",
		Long: `Runs a registry for AgentMesh agents: who they are, what they can do, where their
relays are. It speaks the API of AgentMesh 0.2 and keeps its data in an SQLite file,
or in PostgreSQL, which several registries can share.

Without --listen it is HOST and PORT of the environment, else :8080; without
--database it is DATABASE_URL, else registry.db in --data.

With --domain it speaks HTTPS on port 443 and gets its certificates by itself, from
Let's Encrypt, whose terms of use that accepts; or give --tls-cert and --tls-key.
Behind a proxy, give the address that agents use with --name.`,
		Example: `  amesh registry
  amesh registry --listen 127.0.0.1:0 --data /tmp/registry --print-addrs /tmp/registry.json
  amesh registry --name registry.example:443 --trusted-proxy 10.0.0.0/8
  amesh registry --domain registry.example --database postgres://amesh@db.example/amesh`,
		Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.registry(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "`ADDR` for HTTP (default :8080)")
	f.StringVar(&o.data, "data", "", "`DIR` for the database file and certificates (default registry in the home)")
	f.StringVar(&o.database, "database", "", "`URL` of the database, postgres://… or sqlite://PATH")
	f.StringVar(&o.name, "name", "", "`HOST:PORT` under which agents reach it, where that is not --listen")
	f.StringVar(&o.metrics, "metrics", "", "`ADDR` for Prometheus, GET /metrics (default none)")
	f.StringSliceVar(&o.proxies, "trusted-proxy", nil, "believe X-Forwarded-For from `CIDR` (repeatable)")
	f.BoolVar(&o.prefixedKeys, "prefixed-keys", false, "write keys with ed25519: and x25519: in front, as other registries do")
	f.StringVar(&o.printAddresses, "print-addrs", "", "write the addresses to `FILE` as JSON when ready")
	o.proof.flags(f)
	o.tls.flags(f)
	return cmd
}

// registryParts is what a registry is made of, in the order in which it is opened.
type registryParts struct {
	log  *slog.Logger
	tell func(line string) // to the person at the terminal

	door    net.Listener
	numbers net.Listener // for Prometheus; nil: none
	secured secured
	server  *registry.Server

	opened   []io.Closer
	services []func(context.Context) error
}

// registry opens what a registry is made of and serves until ctx ends.
func (a *app) registry(ctx context.Context, o registryOptions) (err error) {
	started := time.Now()
	if err := a.checkRegistry(&o); err != nil {
		return err
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	if err := dropFile(o.printAddresses); err != nil {
		return err
	}
	p := &registryParts{log: log, tell: func(line string) { fmt.Fprintln(a.err, line) }}
	defer func() { err = errors.Join(err, closeAll(p.opened)) }()
	if err := a.openRegistry(p, o); err != nil {
		return err
	}
	if err := p.serve(); err != nil {
		return err
	}
	p.services = append(p.services, func(ctx context.Context) error { return a.registryReady(ctx, o, p, started) })
	return together(ctx, p.services...)
}

// checkRegistry looks at what was typed before anything is opened, and fills in what
// was not.
func (a *app) checkRegistry(o *registryOptions) error {
	source := "--listen"
	if o.listen == "" {
		source = "HOST and PORT make"
	}
	if err := o.tls.check(); err != nil {
		return err
	}
	addr, _ := a.serverListen(o.listen, registryDefault, o.tls)
	if err := checkHostPort(source, addr, "127.0.0.1:8080 or :8080"); err != nil {
		return err
	}
	if o.metrics != "" {
		if err := checkHostPort("--metrics", o.metrics, "127.0.0.1:9100"); err != nil {
			return err
		}
	}
	if _, err := parsePrefixes("--trusted-proxy", o.proxies); err != nil {
		return err
	}
	if o.data == "" {
		o.data = filepath.Join(a.home, "registry")
	}
	if o.database == "" {
		o.database = a.getenv("DATABASE_URL")
	}
	if o.database == "" {
		o.database = filepath.Join(o.data, registryFile)
	}
	if err := db.CheckURL(o.database); err != nil {
		return usagef("%v", err).next("write it like postgres://USER@HOST/NAME or sqlite:///var/lib/amesh/registry.db")
	}
	if err := a.checkProof(&o.proof, o.data); err != nil {
		return err
	}
	return checkName(o.name)
}

func (a *app) openRegistry(p *registryParts, o registryOptions) (err error) {
	listen, isDefault := a.serverListen(o.listen, registryDefault, o.tls)
	if p.door, err = listenTCP(listen, isDefault, p.tell); err != nil {
		return err
	}
	p.opened = append(p.opened, p.door)
	if o.metrics != "" {
		if p.numbers, err = listenTCP(o.metrics, false, p.tell); err != nil {
			return err
		}
		p.opened = append(p.opened, p.numbers)
	}
	cfg := registry.Config{
		Open:         func(ctx context.Context) (*db.DB, error) { return db.Open(ctx, o.database) },
		Names:        dialledNames(o.name, o.tls.domains, p.door),
		PrefixedKeys: o.prefixedKeys, Limits: registry.DefaultLimits(), Logger: p.log,
	}
	if n, ok := fileLimit(); ok {
		cfg.Limits.Connections = min(cfg.Limits.Connections, max(n/2, 1))
	}
	if cfg.Proxies, err = parsePrefixes("--trusted-proxy", o.proxies); err != nil {
		return err
	}
	if len(o.proxies) == 0 && onLoopback(p.door) {
		// As with a relay: by address there is nothing to tell apart.
		if cfg.Exempt, err = parsePrefixes("--exempt", loopback); err != nil {
			return err
		}
	}
	if err := openProof(&cfg, o.proof); err != nil {
		return err
	}
	if p.server, err = registry.New(cfg); err != nil {
		return err
	}
	p.secured, err = openTLS(o.tls, o.data, p.door, p.log, p.tell)
	p.opened = append(p.opened, p.secured.opened...)
	return err
}

// serve makes the services of what was opened.
func (p *registryParts) serve() error {
	p.services = append(p.services, p.server.Run,
		func(ctx context.Context) error { return p.server.Serve(ctx, p.door, p.secured.config) })
	if plain := p.secured.plain; plain != nil {
		p.services = append(p.services, func(ctx context.Context) error { return p.server.ServeBeside(ctx, plain, p.secured.challenges) })
	}
	if p.numbers != nil {
		m, err := metrics.New(p.server.Stats, p.log)
		if err != nil {
			return err
		}
		p.services = append(p.services, func(ctx context.Context) error { return m.Serve(ctx, p.numbers) })
	}
	return nil
}

// registryAddresses is what --print-addrs writes.
type registryAddresses struct {
	Registry string `json:"registry"`
	// Metrics is the URL under which /metrics is.
	Metrics string `json:"metrics,omitempty"`
}

// registryReady says where the registry is when its database is there, and waits for
// the end.
func (a *app) registryReady(ctx context.Context, o registryOptions, p *registryParts, started time.Time) error {
	select {
	case <-p.server.Ready():
	case <-ctx.Done():
		return nil
	}
	hosts := reachable(p.door)
	if o.name != "" {
		hosts = []string{o.name}
	} else if len(o.tls.domains) > 0 {
		_, port, _ := net.SplitHostPort(p.door.Addr().String())
		hosts = []string{net.JoinHostPort(o.tls.domains[0], port)}
	}
	addrs := registryAddresses{Registry: registryURL(hosts[0], o.tls.on())}
	if p.numbers != nil {
		addrs.Metrics = "http://" + reachable(p.numbers)[0]
	}
	err := a.show(addrs, func(w io.Writer) {
		for _, h := range hosts {
			fmt.Fprintf(w, "registry   %s\n", registryURL(h, o.tls.on()))
		}
		if addrs.Metrics != "" {
			fmt.Fprintf(w, "metrics    %s%s\n", addrs.Metrics, exporter.Path)
		}
		fmt.Fprintf(w, "database   %s\n", p.server.Stats().Database)
		fmt.Fprintf(w, "ready in %.1f s\n", time.Since(started).Seconds())
	})
	if err != nil {
		return err
	}
	if err := writeAddresses(o.printAddresses, addrs); err != nil {
		return err
	}
	return managerOf(a.getenv).run(ctx, func() { p.server.Stats() })
}

// registryURL is the URL of a registry at host, without a slash at its end. Behind
// port 443 there is TLS, whoever speaks it.
func registryURL(host string, secure bool) string {
	name, port, err := net.SplitHostPort(host)
	switch {
	case err == nil && port == httpsPort:
		if ip := net.ParseIP(name); ip != nil && ip.To4() == nil {
			name = "[" + name + "]"
		}
		return "https://" + name
	case secure:
		return "https://" + host
	}
	return "http://" + host
}
