package oauth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Issuer is an OpenID Connect issuer that the operator trusts to know humans.
type Issuer struct {
	Client
	Name    string // a word of [a-z0-9-]
	Display string // for people; empty: Name
	URL     string // exactly as it stands in the issuer's tokens
	// AnyEmail takes accounts without a verified e-mail address. It is for issuers
	// that say nothing about addresses, and hand out accounts with care.
	AnyEmail bool
}

// openID signs in at one issuer. What the issuer publishes about itself is asked
// for when it is first needed, so that the registry starts without it.
type openID struct {
	issuer   Issuer
	redirect string
	scopes   []string
	client   *http.Client
	now      func() time.Time

	mu    sync.Mutex // held while the issuer is asked, so that one does it for all
	found *discovered
}

// discovered is what an issuer says of itself.
type discovered struct {
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
	names    bool // its answers carry iss
}

func newOpenID(i Issuer, base *url.URL, client *http.Client, now func() time.Time) *openID {
	return &openID{
		issuer: i, client: client, now: now,
		redirect: callbackURL(base, i.Name),
		scopes:   []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

func (o *openID) Name() string { return o.issuer.Name }

func (o *openID) DisplayName() string {
	if o.issuer.Display != "" {
		return o.issuer.Display
	}
	return o.issuer.Name
}

func (o *openID) Enabled() bool { return o.issuer.ID != "" && o.issuer.Secret != "" }

func (o *openID) discover(ctx context.Context) (*discovered, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.found != nil {
		return o.found, nil
	}
	ctx = withClient(ctx, o.client)
	p, err := oidc.NewProvider(ctx, o.issuer.URL)
	if err != nil {
		return nil, &checkError{ErrProvider, "discovery: " + err.Error()}
	}
	var says struct {
		Keys    string   `json:"jwks_uri"`
		Names   bool     `json:"authorization_response_iss_parameter_supported"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := p.Claims(&says); err != nil {
		return nil, &checkError{ErrProvider, "discovery: " + err.Error()}
	}
	end := p.Endpoint()
	for what, where := range map[string]string{
		"authorization_endpoint": end.AuthURL, "token_endpoint": end.TokenURL, "jwks_uri": says.Keys,
	} {
		if err := checkEndpoint(what, where); err != nil {
			return nil, &checkError{ErrProvider, "discovery: " + err.Error()}
		}
	}
	end.AuthStyle = oauth2.AuthStyleInHeader
	if len(says.Methods) > 0 && !slices.Contains(says.Methods, "client_secret_basic") {
		end.AuthStyle = oauth2.AuthStyleInParams
	}
	o.found = &discovered{
		names: says.Names,
		config: oauth2.Config{
			ClientID: o.issuer.ID, ClientSecret: o.issuer.Secret,
			Endpoint: end, RedirectURL: o.redirect, Scopes: o.scopes,
		},
		verifier: p.VerifierContext(ctx, &oidc.Config{
			ClientID: o.issuer.ID, SupportedSigningAlgs: algorithms, Now: o.now,
		}),
	}
	return o.found, nil
}

func (o *openID) Begin(ctx context.Context, h Handshake) (string, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return "", err
	}
	return d.config.AuthCodeURL(h.State, challenge(h.Verifier), oidc.Nonce(h.Nonce)), nil
}

func (o *openID) Finish(ctx context.Context, h Handshake, a Answer) (Person, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	// Before the code goes anywhere: it may be another issuer's.
	if a.Issuer != o.issuer.URL && (d.names || a.Issuer != "") {
		return Person{}, &checkError{ErrToken, "the answer comes from another issuer"}
	}
	ctx = withClient(ctx, o.client)
	token, err := exchange(ctx, &d.config, h, a.Code)
	if err != nil {
		return Person{}, err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Person{}, &checkError{ErrToken, "no ID token"}
	}
	return o.person(ctx, d, raw, h.Nonce)
}

// truth is a claim that should be a boolean and is a string with some issuers.
type truth bool

func (t *truth) UnmarshalJSON(b []byte) error {
	*t = string(b) == "true" || string(b) == `"true"`
	return nil
}

type claims struct {
	EmailVerified truth  `json:"email_verified"`
	Party         string `json:"azp"`
	Username      string `json:"preferred_username"`
	Name          string `json:"name"`
}

func (o *openID) person(ctx context.Context, d *discovered, raw, nonce string) (Person, error) {
	if err := checkTokenForm(raw); err != nil {
		return Person{}, err
	}
	token, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return Person{}, &checkError{ErrToken, err.Error()}
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return Person{}, &checkError{ErrToken, err.Error()}
	}
	if err := o.checkClaims(token, c, nonce); err != nil {
		return Person{}, err
	}
	return Person{o.issuer.Name, token.Subject, c.Username, c.Name}, nil
}

// checkClaims does what the library leaves to its caller.
func (o *openID) checkClaims(token *oidc.IDToken, c claims, nonce string) error {
	switch {
	case nonce == "" || subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1:
		return &checkError{ErrToken, "the nonce is not this browser's"}
	case len(token.Audience) > 1 && c.Party != o.issuer.ID, c.Party != "" && c.Party != o.issuer.ID:
		return &checkError{ErrToken, "issued to another client"}
	case token.IssuedAt.After(o.now().Add(clockSkew)):
		return &checkError{ErrToken, "issued in the future"}
	case token.Subject == "" || len(token.Subject) > maxSubject:
		return &checkError{ErrToken, "no subject, or a very long one"}
	case !bool(c.EmailVerified) && !o.issuer.AnyEmail:
		return ErrUnverified
	}
	return nil
}

const (
	nameGoogle   = "google"
	googleIssuer = "https://accounts.google.com"
	googleTokens = "https://oauth2.googleapis.com/tokeninfo"
)

// google is an issuer that also says to whom an access token was issued.
type google struct {
	*openID
	tokens string
}

func newGoogle(c Client, base *url.URL, client *http.Client, now func() time.Time) *google {
	return &google{
		openID: newOpenID(Issuer{Client: c, Name: nameGoogle, Display: "Google", URL: googleIssuer}, base, client, now),
		tokens: googleTokens,
	}
}

func (g *google) Claims(token string) bool {
	return g.Enabled() && strings.HasPrefix(token, "ya29.")
}

func (g *google) CheckToken(ctx context.Context, token string) (Person, error) {
	// In the body, because addresses end up in logs.
	form := strings.NewReader(url.Values{"access_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.tokens, form)
	if err != nil {
		return Person{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var info struct {
		Audience      string      `json:"aud"`
		Party         string      `json:"azp"`
		Subject       string      `json:"sub"`
		ExpiresIn     json.Number `json:"expires_in"`
		EmailVerified truth       `json:"email_verified"`
	}
	if err := ask(g.client, r, &info); err != nil {
		return Person{}, err
	}
	left, err := info.ExpiresIn.Int64()
	switch {
	case info.Audience != g.issuer.ID, info.Party != "" && info.Party != g.issuer.ID:
		return Person{}, &checkError{ErrToken, "issued to another client"}
	case err != nil || left <= 0:
		return Person{}, &checkError{ErrToken, fmt.Sprintf("expires in %q s", info.ExpiresIn)}
	case info.Subject == "" || len(info.Subject) > maxSubject:
		return Person{}, &checkError{ErrToken, "no subject"}
	case !bool(info.EmailVerified):
		return Person{}, ErrUnverified
	}
	return Person{Provider: nameGoogle, ID: info.Subject}, nil
}
