package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"amesh/gateway"
	"amesh/gateway/agents"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/config"
	"amesh/gateway/delivery"
	"amesh/gateway/discovery"
	"amesh/gateway/signature"
	"amesh/gateway/store"
	"amesh/internal/trim"
)

// remoteWait is how long an answer waits for another gateway in compat mode: agentry's
// clients expect to hear at once what became of a message, as far as that is known. Who is
// known to be silent is not waited for.
const remoteWait = 50 * time.Millisecond

// openGateway opens the listeners and makes the server.
func (a *app) openGateway(p *gatewayParts, o gatewayOptions, cfg config.Config) (err error) {
	trim.Busy()
	listen, isDefault := a.gatewayListen(o, cfg)
	if p.door, err = listenTCP(listen, isDefault, p.tell); err != nil {
		return err
	}
	p.opened = append(p.opened, p.door)
	if cfg.Metrics.Address != "" {
		if p.numbers, err = listenTCP(cfg.Metrics.Address, false, p.tell); err != nil {
			return err
		}
		p.opened = append(p.opened, p.numbers)
	}
	gc, err := gatewayServer(o, cfg, p.log)
	if err != nil {
		return err
	}
	if err := p.sign(&gc, o, cfg.Signature); err != nil {
		return err
	}
	gc.Peers.Certificate = p.ownCertificate(o)
	if p.server, err = gateway.New(gc); err != nil {
		return err
	}
	p.secured, err = openTLS(o.tls, o.data, p.door, p.log, p.tell)
	p.opened = append(p.opened, p.secured.opened...)
	return err
}

// ownCertificate shows the door's certificate to gateways that want to see one.
func (p *gatewayParts) ownCertificate(o gatewayOptions) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if p.secured.config == nil {
			return new(tls.Certificate), nil
		}
		hello := new(tls.ClientHelloInfo)
		if len(o.tls.domains) > 0 {
			hello.ServerName = o.tls.domains[0]
		}
		return p.secured.config.GetCertificate(hello)
	}
}

// keysEvery is how often the folder of signing keys is looked at.
const keysEvery = 5 * time.Second

// sign gives the gateway its domain's keys: one that the configuration names, as agentry
// has it, or those of "amesh gateway key".
func (p *gatewayParts) sign(gc *gateway.Config, o gatewayOptions, s config.Signature) error {
	if s.PrivateKeyFile != "" {
		key, err := signature.LoadKey(s.KeyID, s.PrivateKeyFile)
		if err != nil {
			return explainRing(fmt.Errorf("signature.private_key_file: %w", err))
		}
		gc.Signer = signature.FixedRing(key)
		return nil
	}
	ring, err := signature.OpenRing(filepath.Join(o.data, gatewayKeys))
	if err != nil {
		return explainRing(err)
	}
	gc.Signer = ring
	p.services = append(p.services, func(ctx context.Context) error { return p.rereadKeys(ctx, ring) })
	return nil
}

// rereadKeys takes over what "amesh gateway key" changes.
func (p *gatewayParts) rereadKeys(ctx context.Context, ring *signature.Ring) error {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := ring.Reload()
		if err != nil && !told {
			p.log.Warn("signing keys not read again", "err", err)
		}
		told = err != nil
	}
}

// gatewayServer makes a server's configuration of what was told.
func gatewayServer(o gatewayOptions, cfg config.Config, log *slog.Logger) (gateway.Config, error) {
	compat := cfg.Compat.Mode == config.ModeAgentry
	gc := gateway.Config{
		Domain: cfg.Server.Domain, Open: gatewayStore(o, cfg.Storage),
		Retention: cfg.Storage.Retention, KeyTTL: cfg.Message.IdempotencyTTL, DerivedWindow: cfg.Message.DerivedWindow,
		Admins: auth.NewAdminKeys(cfg.Auth.AdminKeyFile, time.Now), AdminOpen: cfg.AdminOpenWhenUnconfigured, AdminHeader: cfg.Auth.AdminAPIKeyHeader,
		PublicReads: cfg.PublicRead, TakeUnknown: cfg.UnknownLocal == config.Pull, Lenient: cfg.Message.Lenient, FirstAnswer: compat,
		StatusCodes: gateway.StatusCodes(cfg.StatusCodeMode), ReplyWindow: cfg.Message.ReplyWindow,
		AnyOrigin: slices.Contains(cfg.CORSOrigins, "*"), Origins: cfg.CORSOrigins,
		Metrics: cfg.Metrics.Enabled, MetricsKey: cfg.Metrics.RequireKey,
		Limits: gatewayLimits(cfg), Logger: log,
	}
	if compat {
		gc.RemoteWait = remoteWait
	}
	if cfg.Logging.Access {
		gc.Access = log
	}
	if cfg.TLS.MinVersion == "1.2" {
		gc.MinTLS = tls.VersionTLS12
	}
	gc.Schemas, gc.Registry = schemaConfig(cfg.Schema), schemaRegistry(cfg.Schema, log)
	gc.Agents = agents.Config{Salt: cfg.Auth.APIKeySalt, ShortKeys: compat, BareNames: compat, PlainTargets: cfg.PushInternal}
	gc.Delivery = delivery.Limits{
		MinRetry: cfg.Delivery.FirstRetry, MaxRetry: cfg.Delivery.LongestRetry, MaxAge: cfg.Delivery.GiveUp, InFlight: cfg.Delivery.Workers,
	}
	gc.Discovery = discovery.Config{
		Resolvers: cfg.DNS.Resolvers, Timeout: cfg.DNS.Timeout, MaxTTL: cfg.DNS.CacheTTL, AllowHTTP: cfg.DNS.AllowHTTP,
		Mock: cfg.DNS.MockMode, MockRecords: cfg.DNS.MockRecords, Own: amtp.Record{Gateway: publicURL(o, cfg)},
	}
	var err error
	if gc.Proxies, err = parsePrefixes("server.trusted_proxies", cfg.Server.TrustedProxies); err != nil {
		return gc, err
	}
	if gc.ClientRoots, err = clientRoots(cfg); err != nil {
		return gc, err
	}
	if gc.Peers, gc.Hooks, err = outwardConfigs(cfg); err != nil {
		return gc, err
	}
	gc.PublicAgents, gc.Inbox = cfg.PublicAgents, inboxConfig(cfg, compat)
	gc.Rates = ratesOf(cfg.Rates)
	if gc.Auth, err = authConfig(cfg, gc.Peers); err != nil {
		return gc, err
	}
	gc.Credentials, err = peerCredentials(cfg.PeerCredentials, gc.Peers)
	return gc, err
}

// publicURL is where others reach the gateway: what the operator says, else the name of
// its certificate, else what its own mock record says. It is empty if nothing does.
func publicURL(o gatewayOptions, cfg config.Config) string {
	switch {
	case cfg.Server.PublicURL != "":
		return strings.TrimSuffix(cfg.Server.PublicURL, "/")
	case len(o.tls.domains) > 0:
		return "https://" + o.tls.domains[0]
	case cfg.DNS.MockMode:
		for domain, text := range cfg.DNS.MockRecords {
			if r, err := amtp.ParseRecord(text); err == nil && strings.EqualFold(domain, cfg.Server.Domain) {
				return r.Gateway
			}
		}
	}
	return ""
}

// clientRoots are the authorities whose certificates prove a domain: the system's, and
// those of a file. Nobody is asked where certificates prove nothing.
func clientRoots(cfg config.Config) (*x509.CertPool, error) {
	if !slices.Contains(cfg.Auth.Methods, "domain") && !slices.Contains(cfg.Auth.Methods, "cert") {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if path := cfg.TLS.ClientCAFile; path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("tls.client_ca_file: %w", err)
		}
		if !roots.AppendCertsFromPEM(raw) {
			return nil, usagef("tls.client_ca_file: %s: there is no certificate in it", path).next("give the authority's certificate in PEM")
		}
	}
	return roots, nil
}

func gatewayLimits(cfg config.Config) gateway.Limits {
	l := gateway.DefaultLimits()
	l.MessageBytes = cfg.Message.MaxSize
	l.BodyWait, l.WriteWait, l.IdleWait = cfg.Server.ReadTimeout, max(cfg.Server.WriteTimeout, l.WriteWait), cfg.Server.IdleTimeout
	if n, ok := fileLimit(); ok {
		l.Connections = min(l.Connections, max(n/2, 1))
	}
	return l
}

// gatewayStore opens what the configuration names: a database, a file in --data, or
// memory.
func gatewayStore(o gatewayOptions, s config.Storage) func(context.Context) (*store.Store, error) {
	return func(ctx context.Context) (*store.Store, error) {
		switch {
		case s.Type == config.StorageMemory:
			return store.OpenMemory(ctx, "")
		case s.Database != "":
			return store.OpenBounded(ctx, s.Database, store.Bounds{Connections: s.MaxConnections, IdleTime: s.MaxIdleTime})
		}
		if err := os.MkdirAll(o.data, 0o700); err != nil {
			return nil, err
		}
		return store.Open(ctx, filepath.Join(o.data, gatewayFile))
	}
}

// serveChallenges answers the certificates' authority on the plain door, and sends
// everybody else to the right one.
func serveChallenges(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	limits := gateway.DefaultLimits()
	srv := &http.Server{
		Handler: h, ReadTimeout: limits.HeaderWait, WriteTimeout: limits.WriteWait, MaxHeaderBytes: limits.HeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve challenges: %w", err)
	case <-ctx.Done():
	}
	err := srv.Close()
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// healthPatience is how long a gateway may take to say that it lives.
const healthPatience = 2 * time.Second

// gatewayHealth asks the gateway that runs with this configuration whether it lives.
func (a *app) gatewayHealth(ctx context.Context, cfg config.Config) error {
	host, port, _ := net.SplitHostPort(cfg.Server.Address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http://"
	if cfg.TLS.Enabled {
		scheme = "https://"
	}
	url := scheme + net.JoinHostPort(host, port) + "/health"
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// Its certificate is for its own name, not for this one; and nothing secret is said.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return &failure{exit: exitFailed, code: "not_healthy", message: fmt.Sprintf("%s: %v", url, reason(err)), hint: "look at its log"}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &failure{exit: exitFailed, code: "not_healthy", message: fmt.Sprintf("%s: %s", url, resp.Status), hint: "look at its log"}
	}
	return nil
}
