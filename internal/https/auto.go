package https

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// AutoConfig says which certificates are wanted, and how to get them.
type AutoConfig struct {
	// Domains are the names, lower case. At least one.
	Domains []string
	// Folder keeps keys, certificates and the account. Nobody else may read it.
	Folder string
	// Directory is the authority's ACME directory; empty is Let's Encrypt.
	Directory string
	// Email is where the authority writes to; may be empty.
	Email string
	// Roots are trusted for the connection to the authority; nil for the system's.
	Roots *x509.CertPool
	// TLSPort is where the server listens, to which the authority's challenge on 443
	// gets. HTTPPort is the same for 80; 0 if nobody listens there.
	TLSPort, HTTPPort int
	// Host is the address of these listeners, empty for all.
	Host string
	// Logger gets what becomes of the certificates; nil is silence.
	Logger *slog.Logger
}

// Auto gets certificates and renews them, as long as it is open.
type Auto struct {
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
	stop   context.CancelFunc
}

// OpenAuto begins to get what is missing and returns at once: the first connections
// may come before there is a certificate, and fail.
func OpenAuto(cfg AutoConfig) (*Auto, error) {
	if len(cfg.Domains) == 0 || len(cfg.Domains) > maxDomains || cfg.Folder == "" {
		return nil, fmt.Errorf("automatic certificates: want 1 to %d domains, and a folder", maxDomains)
	}
	for _, d := range cfg.Domains {
		if err := CheckDomain(d); err != nil {
			return nil, err
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Directory == "" {
		cfg.Directory = certmagic.LetsEncryptProductionCA
	}
	// Its own log has another form than ours; what matters in it are events too.
	quiet := zap.NewNop()
	a := &Auto{}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: checkEvery, Logger: quiet,
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: cfg.Folder}, Logger: quiet,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			tell(cfg.Logger, event, data)
			return nil
		},
	})
	a.issuer = certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA: cfg.Directory, Email: cfg.Email, Agreed: true, TrustedRoots: cfg.Roots,
		ListenHost: cfg.Host, AltTLSALPNPort: cfg.TLSPort, AltHTTPPort: cfg.HTTPPort,
		DisableHTTPChallenge: cfg.HTTPPort == 0, DisableDistributedSolvers: true, Logger: quiet,
	})
	a.config.Issuers = []certmagic.Issuer{a.issuer}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	if err := a.config.ManageAsync(ctx, cfg.Domains); err != nil {
		return nil, errors.Join(fmt.Errorf("automatic certificates: %w", err), a.Close())
	}
	return a, nil
}

// ErrDomain reports a name for which there are no automatic certificates.
var ErrDomain = errors.New("no automatic certificate for this name")

// CheckDomain accepts what an authority can certify by looking at our ports: a full
// name in lower case that others can resolve.
func CheckDomain(d string) error {
	if !certmagic.SubjectQualifiesForPublicCert(d) || strings.ContainsAny(d, "*:/_") || d != strings.ToLower(d) || !strings.Contains(d, ".") {
		return fmt.Errorf("%w: %q", ErrDomain, d)
	}
	if _, err := netip.ParseAddr(d); err == nil {
		return fmt.Errorf("%w: %q is an address", ErrDomain, d)
	}
	return nil
}

// tell writes to our log what an owner wants to know.
func tell(log *slog.Logger, event string, data map[string]any) {
	switch event {
	case "cert_obtained":
		log.Info("certificate obtained", "domain", data["identifier"], "renewal", data["renewal"])
	case "cert_failed":
		log.Warn("certificate not obtained", "domain", data["identifier"], "err", data["error"])
	}
}

// TLS is the configuration for the listener on TLSPort. It answers challenges, too.
func (a *Auto) TLS() *tls.Config {
	c := a.config.TLSConfig()
	c.MinVersion = tls.VersionTLS12
	return c
}

// Challenges answers the authority's requests on HTTPPort, and leaves others to h.
func (a *Auto) Challenges(h http.Handler) http.Handler { return a.issuer.HTTPChallengeHandler(h) }

// Close ends renewal. What was obtained stays in the folder.
func (a *Auto) Close() error {
	a.stop()
	a.cache.Stop()
	return nil
}
