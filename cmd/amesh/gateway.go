package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"amesh/gateway"
	"amesh/gateway/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// gatewayFile is a gateway's database in --data, where there is no other.
const gatewayFile = "gateway.db"

type gatewayOptions struct {
	listen, domain, publicURL, data, database, metrics, config, adminKeys, compat, encrypt, printAddresses string
	resolvers, set                                                                                         []string
	tls                                                                                                    tlsOptions
	version, healthCheck                                                                                   bool
}

func (a *app) gatewayCommand() *cobra.Command {
	var o gatewayOptions
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run a gateway: AMTP messages for the agents of a domain",
		Long: `Runs the AMTP 1.0 gateway of a domain: its agents send to agents of any domain and get
their messages here, in an inbox or pushed to a URL. What was accepted is delivered, or
is a dead letter with its reason; it is kept in an SQLite file, or in PostgreSQL, which
several gateways can share.

It reads agentry's configuration: the YAML file (--config), the AMTP_* variables and the
file of admin keys. Everything is closed that need not be open; --compat agentry opens
what is open there. TLS is on: give --tls-cert and --tls-key, or --acme, or --tls off
where a proxy in front speaks it. "amesh gateway quickstart" says which DNS records to
make.`,
		Example: `  amesh gateway --domain example.com --acme amtp.example.com --admin-key-file admin.keys
  amesh gateway --listen 127.0.0.1:0 --tls off --data /tmp/gateway --print-addrs /tmp/gateway.json
  amesh gateway --config /etc/agentry/config.yaml --database postgres://amesh@db.example/amesh
  amesh gateway --compat agentry --tls off --listen :8080`,
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.gateway(cmd, o) },
	}
	cmd.AddCommand(a.gatewayAgentCommand(), a.gatewaySchemaCommand(), a.gatewayInboxCommand(), a.gatewayMessageCommand(),
		a.gatewayQueueCommand(), a.gatewayDeadLetterCommand(), a.gatewayDomainCommand(), a.gatewayKeyCommand(), a.gatewayQuickstartCommand())
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "`ADDR` for HTTP (default :8443)")
	f.StringVar(&o.domain, "domain", "", "the AMTP `DOMAIN` whose agents are here (default localhost)")
	f.StringVar(&o.publicURL, "public-url", "", "`URL` under which other gateways reach it, where --acme does not say")
	f.StringVar(&o.data, "data", "", "`DIR` for the database file, keys and certificates (default gateway in the home)")
	f.StringVar(&o.database, "database", "", "`URL` of the database, postgres://…, sqlite://PATH, or memory")
	f.StringVar(&o.metrics, "metrics", "", "`ADDR` for Prometheus, GET /metrics (default none)")
	f.StringVar(&o.config, "config", "", "`FILE` with a configuration, in agentry's YAML")
	f.StringVar(&o.adminKeys, "admin-key-file", "", "`FILE` with the keys of administrators, one a line")
	f.StringVar(&o.compat, "compat", "", "agentry: open what is open in agentry")
	f.StringVar(&o.encrypt, "tls", "", "on or off (default on)")
	f.StringSliceVar(&o.resolvers, "resolver", nil, "ask the DNS resolver at `ADDR` (repeatable; default those of the system)")
	f.StringArrayVar(&o.set, "set", nil, "`KEY=VALUE` of the configuration, such as unknown_local=pull (repeatable)")
	f.StringVar(&o.printAddresses, "print-addrs", "", "write the addresses to `FILE` as JSON when ready")
	f.BoolVar(&o.version, "version", false, "print the version")
	f.BoolVar(&o.healthCheck, "health-check", false, "ask the gateway that runs with this configuration whether it lives")
	o.tls.flagsNamed(f, "acme")
	return cmd
}

// oneDash gives agentry's flags of a gateway, which have one dash, a second one.
func oneDash(args []string) []string {
	if len(args) == 0 || args[0] != "gateway" {
		return args
	}
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if slices.Contains([]string{"config", "admin-key-file", "version", "health-check", "help", "gateway-url"}, name) {
			out[i] = "-" + arg
		}
	}
	return out
}

// gateway is the verb.
func (a *app) gateway(cmd *cobra.Command, o gatewayOptions) error {
	if o.version {
		return a.showVersion()
	}
	cfg, warnings, err := a.gatewayConfig(cmd.Flags(), &o)
	if err != nil {
		return err
	}
	if o.healthCheck {
		return a.gatewayHealth(cmd.Context(), cfg)
	}
	for _, line := range warnings {
		fmt.Fprintln(a.err, plain(line))
	}
	return a.runGateway(cmd.Context(), o, cfg)
}

// gatewayConfig reads the configuration, and completes the options by it.
func (a *app) gatewayConfig(f *pflag.FlagSet, o *gatewayOptions) (config.Config, []string, error) {
	s := config.Sources{FileName: o.config, Getenv: a.getenv, Variables: variables()}
	if o.config != "" {
		raw, err := os.ReadFile(o.config)
		if err != nil {
			return config.Config{}, nil, fmt.Errorf("--config: %w", err)
		}
		s.File = raw
	}
	var err error
	if s.Settings, err = o.settings(); err != nil {
		return config.Config{}, nil, err
	}
	cfg, warnings, err := config.Load(s)
	if err != nil {
		return cfg, nil, usagef("%v", err).next("mend what it names; docs/operations/gateway.md has every key")
	}
	if f.Changed("log-level") || a.logLevel != "info" {
		cfg.Logging.Level = a.logLevel
	}
	if o.data == "" {
		o.data = filepath.Join(a.home, "gateway")
	}
	if key := cfg.Auth.AdminKeyFile; key != "" {
		if _, err := os.Stat(key); err != nil {
			return cfg, nil, fmt.Errorf("the admin key file: %w", err)
		}
	}
	o.tls.cert, o.tls.key = cfg.TLS.CertFile, cfg.TLS.KeyFile
	if !cfg.TLS.Enabled {
		o.tls.cert, o.tls.key = "", ""
	}
	return cfg, warnings, nil
}

// variables are the names of the environment's variables.
func variables() []string {
	var names []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	return names
}

// settings are the flags as keys of the configuration.
func (o *gatewayOptions) settings() ([]config.Setting, error) {
	var all []config.Setting
	known := config.Keys()
	for _, text := range o.set {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--set %s: want KEY=VALUE", text)
		}
		if !slices.Contains(known, key) {
			return nil, usagef("--set %s: unknown key %q%s", text, key, didYouMean("", key, known)).next("docs/operations/gateway.md has every key")
		}
		all = append(all, config.Setting{Key: key, Value: value, Flag: "--set " + key})
	}
	add := func(flag, key, value string) {
		if value != "" {
			all = append(all, config.Setting{Key: key, Value: value, Flag: flag})
		}
	}
	if o.encrypt != "" && o.encrypt != "on" && o.encrypt != off {
		return nil, usagef("--tls %s: want on or off", o.encrypt)
	}
	if o.encrypt == off && (len(o.tls.domains) > 0 || o.tls.cert != "") {
		return nil, usagef("--tls off: want no --acme and no --tls-cert with it")
	}
	if o.encrypt == "" && (len(o.tls.domains) > 0 || o.tls.cert != "") {
		o.encrypt = "on"
	}
	if o.database == config.StorageMemory {
		add("--database", "storage.type", config.StorageMemory)
	} else {
		add("--database", "storage.database.url", o.database)
	}
	add("--listen", "server.address", o.listen)
	add("--domain", "server.domain", o.domain)
	add("--public-url", "server.public_url", o.publicURL)
	add("--metrics", "metrics.address", o.metrics)
	add("--admin-key-file", "auth.admin_key_file", o.adminKeys)
	add("--compat", "compat.mode", o.compat)
	add("--tls", "tls.enabled", o.encrypt)
	add("--tls-cert", "tls.cert_file", o.tls.cert)
	add("--tls-key", "tls.key_file", o.tls.key)
	add("--resolver", "dns.resolvers", strings.Join(o.resolvers, ","))
	return all, nil
}

// gatewayParts is what a gateway is made of, in the order in which it is opened.
type gatewayParts struct {
	log  *slog.Logger
	tell func(line string) // to the person at the terminal

	door    net.Listener
	numbers net.Listener // for Prometheus; nil: none
	secured secured
	server  *gateway.Server

	opened   []io.Closer
	services []func(context.Context) error
}

// runGateway opens what a gateway is made of and serves until ctx ends.
func (a *app) runGateway(ctx context.Context, o gatewayOptions, cfg config.Config) (err error) {
	started := time.Now()
	if err := checkGatewayTLS(o, cfg); err != nil {
		return err
	}
	log, err := a.gatewayLog(cfg.Logging)
	if err != nil {
		return err
	}
	if err := dropFile(o.printAddresses); err != nil {
		return err
	}
	p := &gatewayParts{log: log, tell: func(line string) { fmt.Fprintln(a.err, line) }}
	defer func() { err = errors.Join(err, closeAll(p.opened)) }()
	if err := a.openGateway(p, o, cfg); err != nil {
		return err
	}
	p.serve()
	p.services = append(p.services, func(ctx context.Context) error { return a.gatewayReady(ctx, o, cfg, p, started) })
	return together(ctx, p.services...)
}

// checkGatewayTLS refuses to speak TLS without a certificate, and says what there is to do.
func checkGatewayTLS(o gatewayOptions, cfg config.Config) error {
	if err := o.tls.check(); err != nil {
		return err
	}
	if cfg.TLS.Enabled && !o.tls.on() {
		return usagef("TLS is on, and there is no certificate").
			next("give --tls-cert and --tls-key, or --acme HOST to get one by itself, or --tls off where a proxy in front speaks TLS")
	}
	return nil
}

// gatewayLog is the log in the form that the configuration names.
func (a *app) gatewayLog(l config.Logging) (*slog.Logger, error) {
	a.logLevel = l.Level
	log, err := a.logger()
	if err != nil || l.Format == "" {
		return log, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return nil, err
	}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level})), nil
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})), nil
}

// serve makes the services of what was opened.
func (p *gatewayParts) serve() {
	// Requests end before what they ask: the door closes first.
	p.services = append(p.services, func(ctx context.Context) error {
		inside, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		ran := make(chan error, 1)
		outside, leave := context.WithCancel(ctx)
		defer leave()
		go func() { ran <- p.server.Run(inside); leave() }()
		err := p.server.Serve(outside, p.door, p.secured.config)
		end()
		return errors.Join(err, <-ran)
	})
	if plain := p.secured.plain; plain != nil {
		p.services = append(p.services, func(ctx context.Context) error { return serveChallenges(ctx, plain, p.secured.challenges, p.log) })
	}
	if p.numbers != nil {
		p.services = append(p.services, func(ctx context.Context) error { return p.server.Exporter().Serve(ctx, p.numbers) })
	}
}

// gatewayAddresses is what --print-addrs writes.
type gatewayAddresses struct {
	Gateway string `json:"gateway"`
	// Metrics is the URL under which /metrics is.
	Metrics string `json:"metrics,omitempty"`
}

// gatewayReady says where the gateway is when its database is there, and waits for the
// end.
func (a *app) gatewayReady(ctx context.Context, o gatewayOptions, cfg config.Config, p *gatewayParts, started time.Time) error {
	select {
	case <-p.server.Ready():
	case <-ctx.Done():
		return nil
	}
	hosts := reachable(p.door)
	if len(o.tls.domains) > 0 {
		hosts = []string{net.JoinHostPort(o.tls.domains[0], strconv.Itoa(portNumber(p.door)))}
	}
	addrs := gatewayAddresses{Gateway: registryURL(hosts[0], o.tls.on())}
	if p.numbers != nil {
		addrs.Metrics = "http://" + reachable(p.numbers)[0]
	}
	err := a.show(addrs, func(w io.Writer) { writeGatewayReady(w, o, cfg, hosts, addrs, started) })
	if err != nil {
		return err
	}
	if err := writeAddresses(o.printAddresses, addrs); err != nil {
		return err
	}
	return managerOf(a.getenv).run(ctx, func() {})
}

// keyless reports whether there is a file of keys and no key in it.
func keyless(path string) bool {
	_, err := firstKey("--admin-key-file", path)
	_, empty := errors.AsType[*failure](err)
	return empty
}

func writeGatewayReady(w io.Writer, o gatewayOptions, cfg config.Config, hosts []string, addrs gatewayAddresses, started time.Time) {
	fmt.Fprintf(w, "domain     %s\n", cfg.Server.Domain)
	for _, h := range hosts {
		fmt.Fprintf(w, "gateway    %s\n", registryURL(h, o.tls.on()))
	}
	if addrs.Metrics != "" {
		fmt.Fprintf(w, "metrics    %s/metrics\n", addrs.Metrics)
	}
	fmt.Fprintf(w, "storage    %s\n", storageName(o, cfg))
	if open := openSwitches(cfg); len(open) > 0 {
		fmt.Fprintf(w, "open       %s\n", strings.Join(open, ", "))
	}
	fmt.Fprintf(w, "ready in %.1f s\n", time.Since(started).Seconds())
	switch {
	case cfg.Auth.AdminKeyFile != "" && keyless(cfg.Auth.AdminKeyFile):
		fmt.Fprintf(w, "next: nobody can register agents yet: write a key into %s, on a line of its own\n", cfg.Auth.AdminKeyFile)
	case cfg.Auth.AdminKeyFile == "" && !cfg.AdminOpenWhenUnconfigured:
		fmt.Fprintln(w, "next: nobody can register agents yet: start it with --admin-key-file FILE, one key a line")
	case cfg.Server.Domain == "localhost":
		fmt.Fprintln(w, "next: this is for trying on one machine: give --domain for others to reach its agents")
	default:
		url := cmp.Or(publicURL(o, cfg), "https://"+cfg.Server.Domain)
		fmt.Fprintf(w, "next: amesh gateway quickstart --domain %s --public-url %s says which DNS records it needs\n", cfg.Server.Domain, url)
	}
}

// storageName is where messages are kept, without a password.
func storageName(o gatewayOptions, cfg config.Config) string {
	if cfg.Storage.Type == config.StorageMemory {
		return "memory: messages are gone when the gateway ends"
	}
	if u := cfg.Storage.Database; strings.HasPrefix(u, "postgres") {
		return "PostgreSQL"
	} else if u != "" {
		return strings.TrimPrefix(u, "sqlite://")
	}
	return filepath.Join(o.data, gatewayFile)
}

// openSwitches are the switches that let strangers do more than they have to.
func openSwitches(cfg config.Config) []string {
	var open []string
	add := func(is bool, name string) {
		if is {
			open = append(open, name)
		}
	}
	add(cfg.AdminOpenWhenUnconfigured && cfg.Auth.AdminKeyFile == "", "admin API without a key")
	add(cfg.PublicRead, "messages.public_read")
	add(cfg.LocalSenderAuth != config.Require, "local_sender_auth="+cfg.LocalSenderAuth)
	add(cfg.PublicAgents, "discovery.public")
	add(cfg.UnknownLocal == config.Pull, "unknown_local=pull")
	add(cfg.PushInternal, "push.internal")
	add(slices.Contains(cfg.CORSOrigins, "*"), "cors.origins=*")
	add(cfg.DNS.AllowHTTP, "dns.allow_http")
	add(cfg.DNS.MockMode, "dns.mock_mode")
	add(cfg.Outward.AllowPrivate, "outward.allow_private")
	add(everybody(cfg.Outward.Allow), "outward.allow of every address")
	add(everybody(cfg.Server.TrustedProxies), "server.trusted_proxies of every address")
	add(cfg.Schema.HTTP.TLS.InsecureSkipVerify, "schema.registry.tls.insecure_skip_verify")
	add(cfg.Rates.UnknownPerHour == 0, "no rate for unknown domains")
	return open
}

// everybody reports whether a prefix among some holds every address of its kind.
func everybody(prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasSuffix(p, "/0") })
}

// gatewayListen is where the gateway listens, and whether that is only the default.
func (a *app) gatewayListen(o gatewayOptions, cfg config.Config) (string, bool) {
	usual := config.Defaults("").Server.Address
	if cfg.Server.Address != usual || o.listen != "" {
		return cfg.Server.Address, false
	}
	if len(o.tls.domains) > 0 {
		return ":" + httpsPort, false // the one place where an authority looks
	}
	return cmp.Or(cfg.Server.Address, usual), true
}
