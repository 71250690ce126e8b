package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/signature"
	"amesh/internal/outward"
)

// AuthConfig says who must show what, and who is believed.
type AuthConfig struct {
	// LocalSenders says what senders of our own domain must show. Default RequireKey.
	LocalSenders LocalSenders
	// Require refuses messages of every sender who proves nothing.
	Require bool
	// Methods are the ways to prove something that count: auth.ByAPIKey, to which the agents'
	// own keys belong, auth.ByOAuth and auth.ByCertificate; none: all of them. A domain's
	// signature always counts.
	Methods []auth.Method
	// KeyHeader is where an API key may stand instead of in Authorization. Default X-API-Key.
	KeyHeader string
	// Issuers are authorization servers whose tokens are believed, and Tokens is how they
	// are reached.
	Issuers []auth.Issuer
	Tokens  outward.Config
	// Verify says what follows when a message of another domain is not signed, or not
	// well. Default signature.Flag.
	Verify signature.Policy
	// Resolver finds the addresses of other gateways' hosts; nil for the system's.
	Resolver *net.Resolver
}

// check completes a configuration.
func (a AuthConfig) check() (AuthConfig, error) {
	switch a.LocalSenders {
	case "":
		a.LocalSenders = RequireKey
	case RequireKey, FlagKey, NoKey:
	default:
		return a, fmt.Errorf("local senders %.20q: want require, flag or off", a.LocalSenders)
	}
	for _, m := range a.Methods {
		if m != auth.ByAPIKey && m != auth.ByOAuth && m != auth.ByCertificate && m != auth.BySignature {
			return a, fmt.Errorf("authentication method %.20q: want apikey, oauth, domain or signature", m)
		}
	}
	if len(a.Issuers) > 0 && !a.allows(auth.ByOAuth) {
		return a, errors.New("issuers of tokens are named, and oauth is not among the authentication methods: add it, or name none")
	}
	if a.KeyHeader == "" {
		a.KeyHeader = "X-API-Key"
	}
	if a.Resolver == nil {
		a.Resolver = net.DefaultResolver
	}
	var err error
	a.Verify, err = signature.ParsePolicy(string(a.Verify))
	return a, err
}

func (a AuthConfig) allows(m auth.Method) bool {
	return len(a.Methods) == 0 || slices.Contains(a.Methods, m)
}

func (a AuthConfig) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return a.Resolver.LookupNetIP(ctx, "ip", host)
}

// tells reports whether a message's status says of an unsigned one that it is.
func (c Config) tells() bool { return c.Auth.Verify != signature.Accept }

// identify makes what finds out who asks.
func (s *Server) identify() error {
	client, err := outward.New(s.cfg.Auth.Tokens)
	if err != nil {
		return fmt.Errorf("authorization servers: %w", err)
	}
	if s.oauth, err = auth.NewOAuth(s.cfg.Auth.Issuers, client, s.cfg.Clock); err != nil {
		return err
	}
	s.addresses = auth.NewAddresses(s.locate, s.cfg.Clock)
	s.signatures, err = signature.NewVerifier(signature.Config{Resolver: s.discovery, Policy: s.cfg.Auth.Verify})
	return err
}

// caller says who asks: nobody where the request shows nothing. What is shown and not
// good is an error, for the answer.
func (s *Server) caller(r *request) (auth.Caller, error) {
	by, err := s.credential(r)
	if err != nil {
		return auth.Caller{}, s.failed(r, credentialRefusal(err))
	}
	if names := auth.CertificateNames(r.TLS); by.Kind == auth.Nobody && names != nil && s.cfg.Auth.allows(auth.ByCertificate) {
		return auth.Proven(names[0], auth.ByCertificate), nil
	}
	return by, nil
}

// credential is who holds the key or the token of a request. Its errors are those of package
// auth.
func (s *Server) credential(r *request) (auth.Caller, error) {
	if key := r.Header.Get(s.cfg.AdminHeader); key != "" && s.cfg.Admins.Configured() {
		if err := s.cfg.Admins.Check(key); err != nil {
			return auth.Caller{}, err
		}
		return auth.Caller{Kind: auth.Admin, Method: auth.ByAdminKey}, nil
	}
	return s.sendersOwn(r)
}

// sendersOwn is who holds the key or the token of a request, where an administrator's key
// counts for nothing.
func (s *Server) sendersOwn(r *request) (auth.Caller, error) {
	if token := auth.Bearer(r.Header); token != "" {
		return s.bearer(r, token)
	}
	if key := r.Header.Get(s.cfg.Auth.KeyHeader); key != "" {
		return s.apiKey(r, key)
	}
	return auth.Caller{}, nil
}

// bearer is who holds what stands in Authorization: a key that is known here, or else a token.
func (s *Server) bearer(r *request, token string) (auth.Caller, error) {
	by, err := s.apiKey(r, token)
	if !errors.Is(err, auth.ErrWrong) || !s.cfg.Auth.allows(auth.ByOAuth) {
		return by, err
	}
	by, err = s.oauth.Caller(r.Context(), token, r.TLS)
	if errors.Is(err, auth.ErrNotConfigured) {
		return by, auth.ErrWrong
	}
	return by, err
}

// apiKey is who has a key: an agent, or a client for whom an administrator made it.
func (s *Server) apiKey(r *request, key string) (auth.Caller, error) {
	if !s.cfg.Auth.allows(auth.ByAPIKey) {
		return auth.Caller{}, auth.ErrWrong
	}
	a, ok := r.agents.Authenticate(key)
	if !ok {
		by, err := r.keys.Caller(key)
		if !errors.Is(err, auth.ErrWrong) {
			return by, err
		}
		// Nobody's yet: it may be that of an agent who was registered elsewhere.
		if a, ok = r.agents.Identify(r.Context(), key); !ok {
			return by, err
		}
	}
	return auth.Caller{Kind: auth.Agent, Method: auth.ByAPIKey, Agent: a.Address, Domain: s.cfg.Domain, Since: a.Created, ID: a.Address}, nil
}

// credentialRefusal is what a client is told whose credential is not good. Why it is not, it
// is not told.
func credentialRefusal(err error) *amtp.Error {
	switch {
	case errors.Is(err, auth.ErrExpired):
		return amtp.Errorf(http.StatusUnauthorized, amtp.CodeTokenExpired, "the credential has expired: get a new one")
	case errors.Is(err, auth.ErrUnavailable):
		e := amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeServiceUnavailable, "the credential cannot be checked now: try again")
		e.RetryAfter = auth.KeysPause
		return e
	}
	return amtp.Errorf(http.StatusUnauthorized, amtp.CodeInvalidCredentials, "the credential is not accepted here")
}
