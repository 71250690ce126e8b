package auth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"amesh/gateway/amtp"
)

// Doer sends requests; *outward.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Algorithms are the signatures that a token may have. Those with a shared secret are not
// among them, and neither is none.
var Algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Issuer is an authorization server that the operator trusts to say who holds a token.
type Issuer struct {
	// URL is the issuer as it stands in its tokens.
	URL string
	// Audiences are this gateway's names in the issuer's tokens. One of them must be there:
	// a token for somebody else is no token for us.
	Audiences []string
	// Domains are those in whose name the issuer's tokens may speak. An issuer that is
	// trusted with one domain cannot make up a sender of another.
	Domains []string
	// KeysURL is where the issuer's JSON Web Key Set is; empty: where its metadata say.
	KeysURL string
	// Algorithms narrows the package's list; empty: all of it.
	Algorithms []string
	// Introspection is asked about tokens that are no JWT, and instead of KeysURL about
	// those that are. At most one issuer has it, since to ask one is to show it the token.
	Introspection Introspection
}

// Introspection is an endpoint as in RFC 7662, and what we show to it.
type Introspection struct {
	URL          string
	ClientID     string
	ClientSecret string
}

// OAuth checks access tokens. It is safe for concurrent use.
//
// What a token may do stands in its scopes: ScopeSend and ScopeRead, and for whom, as
// "amtp:domain:NAME" or "amtp:sender:ADDRESS". A token without one of the latter belongs to
// nobody and is refused.
type OAuth struct {
	issuers map[string]*issuer
	opaque  *issuer // who is asked about tokens that do not say whose they are
	now     func() time.Time
}

type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	keys       *keySet
	asked      *introspector
}

// NewOAuth checks the issuers. Nobody is asked for anything yet.
func NewOAuth(issuers []Issuer, client Doer, now func() time.Time) (*OAuth, error) {
	o := &OAuth{issuers: make(map[string]*issuer), now: now}
	for _, i := range issuers {
		checked, err := newIssuer(i, client, now)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", i.URL, err)
		}
		if o.issuers[i.URL] != nil {
			return nil, fmt.Errorf("issuer %q: named twice", i.URL)
		}
		o.issuers[i.URL] = checked
		if checked.asked == nil {
			continue
		}
		if o.opaque != nil {
			return nil, fmt.Errorf("issuer %q: only one can have an introspection endpoint, and %q has one", i.URL, o.opaque.URL)
		}
		o.opaque = checked
	}
	return o, nil
}

func newIssuer(i Issuer, client Doer, now func() time.Time) (*issuer, error) {
	if err := checkEndpoint(i.URL); err != nil {
		return nil, err
	}
	if len(i.Audiences) == 0 || slices.Contains(i.Audiences, "") {
		return nil, errors.New("an audience is missing: the name that this gateway has in the issuer's tokens")
	}
	if len(i.Domains) == 0 {
		return nil, errors.New("domains are missing: those in whose name its tokens may speak")
	}
	checked := &issuer{Issuer: i}
	checked.Domains = make([]string, len(i.Domains))
	for n, d := range i.Domains {
		var err error
		if checked.Domains[n], err = amtp.ParseDomain(d); err != nil {
			return nil, fmt.Errorf("domain %q: %w", d, err)
		}
	}
	if len(i.Algorithms) == 0 {
		checked.Algorithms = Algorithms
	}
	for _, a := range checked.Algorithms {
		if !slices.Contains(Algorithms, a) {
			return nil, fmt.Errorf("algorithm %q is none of %s", a, strings.Join(Algorithms, ", "))
		}
		checked.algorithms = append(checked.algorithms, jose.SignatureAlgorithm(a))
	}
	if i.Introspection.URL != "" {
		if err := checkEndpoint(i.Introspection.URL); err != nil {
			return nil, err
		}
		checked.asked = newIntrospector(i.Introspection, client, now)
		return checked, nil
	}
	if i.KeysURL != "" {
		if err := checkEndpoint(i.KeysURL); err != nil {
			return nil, err
		}
	}
	checked.keys = newKeySet(i.URL, i.KeysURL, client, now)
	return checked, nil
}

// checkEndpoint wants https, but for this machine, where nobody listens on the way.
func checkEndpoint(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is no URL of a server", s)
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	if u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return fmt.Errorf("%q is not https", s)
	}
	return nil
}

// claims are what a token says, whether it says so itself or its issuer does.
type claims struct {
	jwt.Claims
	Active   bool   `json:"active"`
	ClientID string `json:"client_id"`
	Scope    scopes `json:"scope"`
	// Confirm binds a token to a key that its holder must show: RFC 7800.
	Confirm map[string]any `json:"cnf"`
}

// Caller is who holds a token. It returns ErrNotConfigured if no issuer is trusted,
// ErrWrong, ErrExpired, or ErrUnavailable if the issuer does not answer. The connection's
// state is for tokens that are bound to a client certificate; any other bound token is
// refused, since to show it proves nothing.
func (o *OAuth) Caller(ctx context.Context, token string, state *tls.ConnectionState) (Caller, error) {
	if len(o.issuers) == 0 {
		return Caller{}, ErrNotConfigured
	}
	if token == "" {
		return Caller{}, ErrNone
	}
	if len(token) > TokenSize {
		return Caller{}, fmt.Errorf("%w: longer than %d bytes", ErrWrong, TokenSize)
	}
	i, parsed := o.issuerOf(token)
	if i == nil {
		return Caller{}, fmt.Errorf("%w: of no issuer that is trusted here", ErrWrong)
	}
	c, err := i.claims(ctx, token, parsed)
	if err != nil {
		return Caller{}, err
	}
	if err := i.check(c, o.now()); err != nil {
		return Caller{}, err
	}
	if err := checkBinding(c.Confirm, state); err != nil {
		return Caller{}, err
	}
	return i.caller(c)
}

// issuerOf finds out whose a token claims to be; nil if nobody's. Nothing of it is believed
// yet.
func (o *OAuth) issuerOf(token string) (*issuer, *jwt.JSONWebToken) {
	all := make([]jose.SignatureAlgorithm, len(Algorithms))
	for n, a := range Algorithms {
		all[n] = jose.SignatureAlgorithm(a)
	}
	parsed, err := jwt.ParseSigned(token, all)
	if err != nil {
		return o.opaque, nil
	}
	var says struct {
		Issuer string `json:"iss"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&says); err != nil {
		return nil, nil
	}
	if i := o.issuers[says.Issuer]; i != nil {
		return i, parsed
	}
	return nil, nil
}

// claims are what is true about a token: signed by its issuer, or told by it.
func (i *issuer) claims(ctx context.Context, token string, parsed *jwt.JSONWebToken) (claims, error) {
	if i.asked != nil {
		return i.asked.ask(ctx, token)
	}
	head := parsed.Headers[0]
	if !slices.Contains(i.algorithms, jose.SignatureAlgorithm(head.Algorithm)) {
		return claims{}, fmt.Errorf("%w: algorithm %.20q", ErrWrong, head.Algorithm)
	}
	// A token of another purpose, such as an event or a proof, is signed with the same keys.
	switch typ, _ := head.ExtraHeaders[jose.HeaderType].(string); strings.ToLower(typ) {
	case "", "jwt", "at+jwt", "application/at+jwt":
	default:
		return claims{}, fmt.Errorf("%w: not an access token", ErrWrong)
	}
	keys, err := i.keys.find(ctx, head.KeyID, head.Algorithm)
	if err != nil {
		return claims{}, err
	}
	for _, k := range keys {
		var c claims
		if err := parsed.Claims(k.Key, &c); err == nil {
			c.Active = true
			return c, nil
		}
	}
	return claims{}, fmt.Errorf("%w: signed by no key of the issuer", ErrWrong)
}

func (i *issuer) check(c claims, now time.Time) error {
	if !c.Active {
		return fmt.Errorf("%w: not active", ErrWrong)
	}
	if c.Expiry == nil {
		return fmt.Errorf("%w: without an end", ErrWrong)
	}
	// An endpoint that was asked need not repeat who it is; what it says must fit.
	if c.Issuer != i.URL && (c.Issuer != "" || i.asked == nil) {
		return fmt.Errorf("%w: of another issuer", ErrWrong)
	}
	err := c.ValidateWithLeeway(jwt.Expected{AnyAudience: i.Audiences, Time: now}, Leeway)
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return ErrExpired
	case err != nil:
		return fmt.Errorf("%w: %v", ErrWrong, err)
	}
	return nil
}

// caller reads the scopes.
func (i *issuer) caller(c claims) (Caller, error) {
	who := Caller{Kind: Client, Method: ByOAuth, ID: c.Subject}
	if who.ID == "" {
		who.ID = c.ClientID
	}
	bound := 0
	for _, s := range c.Scope {
		switch {
		case slices.Contains(Scopes, s):
			who.Scopes = append(who.Scopes, s)
		case strings.HasPrefix(s, "amtp:domain:"):
			domain, err := amtp.ParseDomain(strings.TrimPrefix(s, "amtp:domain:"))
			if err != nil {
				return Caller{}, fmt.Errorf("%w: scope %.100q: %v", ErrWrong, s, err)
			}
			who.Domain = domain
			bound++
		case strings.HasPrefix(s, "amtp:sender:"):
			sender, err := amtp.ParseAddress(strings.TrimPrefix(s, "amtp:sender:"))
			if err != nil {
				return Caller{}, fmt.Errorf("%w: scope %.100q: %v", ErrWrong, s, err)
			}
			who.Agent, who.Domain = sender.String(), sender.Domain
			bound++
		}
	}
	if bound != 1 {
		return Caller{}, fmt.Errorf("%w: its scopes name %d domains or senders, and must name one", ErrWrong, bound)
	}
	if !slices.Contains(i.Domains, who.Domain) {
		return Caller{}, fmt.Errorf("%w: its issuer is not trusted with its domain", ErrWrong)
	}
	return who, nil
}

// checkBinding compares the certificate of the connection with the one that a token is bound
// to (RFC 8705).
func checkBinding(confirm map[string]any, state *tls.ConnectionState) error {
	if len(confirm) == 0 {
		return nil
	}
	want, ok := confirm["x5t#S256"].(string)
	if !ok || len(confirm) != 1 || state == nil || len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: bound to a key that was not shown", ErrWrong)
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	if base64.RawURLEncoding.EncodeToString(sum[:]) != want {
		return fmt.Errorf("%w: bound to another certificate", ErrWrong)
	}
	return nil
}
