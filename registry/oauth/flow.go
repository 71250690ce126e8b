package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"amesh/identity"
)

// State is one flow under way. Its hash is all that is kept of the text that the
// link carries.
type State struct {
	Hash     [sha256.Size]byte
	AMID     identity.AMID
	Provider string
	Expires  time.Time
	// Browser is the hash of the secret of the browser that opened the link; zero
	// until one did.
	Browser [sha256.Size]byte
}

// States keeps flows for all instances of a registry; a transaction of its database
// does. A state is unknown once it has expired.
type States interface {
	// PutOAuthState adds a state and drops the one that the agent had at this provider.
	PutOAuthState(s State) error
	// OAuthState returns ErrState when there is none.
	OAuthState(hash [sha256.Size]byte, now time.Time) (State, error)
	// OpenOAuthState gives a state to a browser. It returns ErrState when there is none
	// or when another browser has it.
	OpenOAuthState(hash, browser [sha256.Size]byte, now time.Time) error
	// TakeOAuthState removes and returns the state of a browser: once, to one caller. It
	// returns ErrState to all others, and leaves the state of another browser alone.
	TakeOAuthState(hash, browser [sha256.Size]byte, now time.Time) (State, error)
}

// Flow takes humans from an agent's link to a Person. It may be used concurrently
// and by several processes whose States are one.
type Flow struct {
	providers []Provider
	base      *url.URL
	perPerson int
	now       func() time.Time
}

// New checks the configuration. It asks no provider.
func New(c Config) (*Flow, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	providers, base, err := newProviders(&c)
	if err != nil {
		return nil, err
	}
	if c.AgentsPerPerson < 0 {
		return nil, errors.New("an account cannot vouch for fewer than no agents")
	}
	if c.AgentsPerPerson == 0 {
		c.AgentsPerPerson = AgentsPerPerson
	}
	return &Flow{perPerson: c.AgentsPerPerson, providers: providers, base: base, now: c.Now}, nil
}

// AgentsPerPerson is how many agents one account may vouch for.
func (f *Flow) AgentsPerPerson() int { return f.perPerson }

// Providers lists all providers, the disabled ones too.
func (f *Flow) Providers() []Provider { return slices.Clone(f.providers) }

// Secure says whether browsers reach the registry over TLS, so that cookies can
// insist on it.
func (f *Flow) Secure() bool { return f.base.Scheme == "https" }

func (f *Flow) provider(name string) (Provider, error) {
	for _, p := range f.providers {
		if p.Name() == name {
			if !p.Enabled() {
				return nil, &checkError{ErrNotConfigured, name}
			}
			return p, nil
		}
	}
	return nil, &checkError{ErrUnknownProvider, name}
}

// Link is what an agent gives its human.
type Link struct {
	URL   string
	State string
}

// Begin makes a link for an agent that has proved that it asks. It returns
// ErrUnknownProvider or ErrNotConfigured.
func (f *Flow) Begin(states States, agent identity.AMID, provider string) (Link, error) {
	p, err := f.provider(provider)
	if err != nil {
		return Link{}, err
	}
	state := newSecret()
	s := State{Hash: hash("state", state), AMID: agent, Provider: p.Name(), Expires: f.now().Add(StateLife)}
	if err := states.PutOAuthState(s); err != nil {
		return Link{}, err
	}
	u := f.base.JoinPath("/v1/auth/oauth/start")
	u.RawQuery = url.Values{"state": {state}}.Encode()
	return Link{URL: u.String(), State: state}, nil
}

// Page is what a human is shown before anything happens.
type Page struct {
	AMID     identity.AMID
	Provider Provider
	// Cookie is the name and Secret the value of what the browser must keep.
	Cookie, Secret string
	// Confirm is what the page's form must send: another site, which does not see
	// the page, cannot send it for the human.
	Confirm string
}

// Open looks a link up for a browser that shows the cookies given by cookie, a
// function from a name to a value or nothing. It changes nothing, so that programs
// which follow links in messages do no harm.
func (f *Flow) Open(states States, state string, cookie func(name string) string) (Page, error) {
	s, err := states.OAuthState(hash("state", state), f.now())
	if err != nil {
		return Page{}, err
	}
	p, err := f.provider(s.Provider)
	if err != nil {
		return Page{}, err
	}
	name := f.cookieName(s.Hash)
	secret := cookie(name)
	if !isSecret(secret) {
		secret = newSecret()
	}
	if s.Browser != [sha256.Size]byte{} && s.Browser != hash("browser", secret) {
		return Page{}, &checkError{ErrState, "opened in another browser"}
	}
	return Page{AMID: s.AMID, Provider: p, Cookie: name, Secret: secret, Confirm: derive("confirm", secret)}, nil
}

// Continue is the human's yes: it gives the state to this browser and returns the
// provider's page.
func (f *Flow) Continue(ctx context.Context, states States, state, confirm string, cookie func(name string) string) (string, error) {
	h := hash("state", state)
	secret := cookie(f.cookieName(h))
	if !isSecret(secret) || subtle.ConstantTimeCompare([]byte(derive("confirm", secret)), []byte(confirm)) != 1 {
		return "", &checkError{ErrState, "the form is not this browser's"}
	}
	now := f.now()
	s, err := states.OAuthState(h, now)
	if err != nil {
		return "", err
	}
	p, err := f.provider(s.Provider)
	if err != nil {
		return "", err
	}
	if err := states.OpenOAuthState(h, hash("browser", secret), now); err != nil {
		return "", err
	}
	return p.Begin(ctx, handshake(state, secret))
}

// Return is what comes back from a provider.
type Return struct {
	Path   string // the last element below the callback; empty: none
	State  string
	Denied bool // the provider says that it did not sign the human in
	Answer
}

// Done is a finished flow: this person vouches for this agent.
type Done struct {
	AMID     identity.AMID
	Provider string
	Person   Person
	// Cookie is the name of the cookie that has served.
	Cookie string
}

// Finish redeems a return. It asks the provider, so no transaction should be open. Done names agent and provider as soon as the state was
// good, also beside an error: ErrState, ErrDenied, ErrToken, ErrUnverified or
// ErrProvider. The state has served from then on, whatever came out.
func (f *Flow) Finish(ctx context.Context, states States, r Return, cookie func(name string) string) (Done, error) {
	h := hash("state", r.State)
	name := f.cookieName(h)
	secret := cookie(name)
	if !isSecret(secret) {
		return Done{}, &checkError{ErrState, "no cookie"}
	}
	s, err := states.TakeOAuthState(h, hash("browser", secret), f.now())
	if err != nil {
		return Done{}, err
	}
	done := Done{AMID: s.AMID, Provider: s.Provider, Cookie: name}
	p, err := f.provider(s.Provider)
	if err != nil {
		return done, err
	}
	if callbackURL(f.base, s.Provider) != f.base.JoinPath(callbackPath, r.Path).String() {
		return done, &checkError{ErrState, "came back where another provider does"}
	}
	if r.Denied {
		return done, ErrDenied
	}
	done.Person, err = p.Finish(ctx, handshake(r.State, secret), r.Answer)
	return done, err
}

// CheckToken says whose access token it is, if it was issued to our client at one
// of the providers. A token is shown to the one provider that it looks like.
func (f *Flow) CheckToken(ctx context.Context, token string) (Person, error) {
	if len(token) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Person{}, &checkError{ErrToken, "not the text of a token"}
	}
	for _, p := range f.providers {
		if c, ok := p.(TokenChecker); ok && c.Claims(token) {
			return c.CheckToken(ctx, token)
		}
	}
	return Person{}, &checkError{ErrToken, "no provider has such tokens"}
}

// handshake is derived from the secret of the browser, so that a code which was
// caught on its way is worth nothing in another one, nor to a reader of the
// database.
func handshake(state, secret string) Handshake {
	return Handshake{State: state, Nonce: derive("nonce", secret), Verifier: derive("verifier", secret)}
}

func (f *Flow) cookieName(state [sha256.Size]byte) string {
	name := "amesh-proof-" + hex.EncodeToString(state[:8])
	if f.Secure() {
		return "__Host-" + name
	}
	return name
}

func newSecret() string {
	b := make([]byte, secretSize)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func isSecret(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == secretSize
}

func hash(purpose, text string) [sha256.Size]byte {
	return sha256.Sum256([]byte("amesh/1 oauth " + purpose + "\x00" + text))
}

func derive(purpose, secret string) string {
	h := hash(purpose, secret)
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// Code is the word on the wire for an error of this package, or "" for none of
// them.
func Code(err error) string {
	for kind, code := range map[error]string{
		ErrState: "oauth_state_invalid", ErrDenied: "oauth_denied", ErrToken: "oauth_token_invalid",
		ErrUnverified: "oauth_email_unverified", ErrProvider: "oauth_provider_unavailable",
		ErrUnknownProvider: "oauth_provider_unknown", ErrNotConfigured: "oauth_not_configured",
	} {
		if errors.Is(err, kind) {
			return code
		}
	}
	return ""
}
