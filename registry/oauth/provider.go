package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"golang.org/x/oauth2"
)

var (
	// ErrState reports a link or a return that belongs to no flow of this browser:
	// unknown, used, too old, or opened elsewhere.
	ErrState = errors.New("the link is not valid")
	// ErrDenied reports a human who said no at the provider.
	ErrDenied = errors.New("the sign-in was refused")
	// ErrToken reports an answer of the provider that does not hold: a code it does
	// not know, or a token that is not for us.
	ErrToken = errors.New("the provider's answer is not valid")
	// ErrUnverified reports an account without a verified e-mail address.
	ErrUnverified = errors.New("the account has no verified e-mail address")
	// ErrProvider reports a provider that cannot be asked now.
	ErrProvider = errors.New("the provider does not answer")
	// ErrUnknownProvider reports a name that no provider has.
	ErrUnknownProvider = errors.New("unknown provider")
	// ErrNotConfigured reports a provider of which the operator gave no credentials.
	ErrNotConfigured = errors.New("provider not configured")
)

// Person is an account at a provider. Only Provider and ID are ever stored.
type Person struct {
	Provider string
	ID       string // the provider's own, which stays when names change
	Username string // may be empty
	Name     string // may be empty
}

// Handshake is what one flow says to a provider.
type Handshake struct {
	State    string // comes back with the browser
	Nonce    string // comes back in an ID token
	Verifier string // of PKCE; its SHA-256 goes out first
}

// Answer is what the browser brings back from a provider.
type Answer struct {
	Code   string
	Issuer string // RFC 9207; empty: not given
}

// Provider signs humans in. Its methods may be called concurrently.
type Provider interface {
	// Name is a word of [a-z0-9-]; DisplayName is for people.
	Name() string
	DisplayName() string
	// Enabled says whether the operator gave credentials.
	Enabled() bool
	// Begin returns the provider's page for a human. It may ask the provider, and
	// returns ErrProvider when that fails.
	Begin(ctx context.Context, h Handshake) (string, error)
	// Finish redeems what the browser brought. It returns ErrToken, ErrUnverified or
	// ErrProvider.
	Finish(ctx context.Context, h Handshake, a Answer) (Person, error)
}

// TokenChecker is a provider of which an access token can be traced to the client
// it was issued to.
type TokenChecker interface {
	// Claims says whether a token looks like one of this provider, so that no token
	// is shown to another.
	Claims(token string) bool
	// CheckToken returns whose token it is. It returns ErrToken for one that is not
	// valid or was issued to another client, ErrUnverified or ErrProvider.
	CheckToken(ctx context.Context, token string) (Person, error)
}

// callbackPath is where browsers come back. GitHub and Google, which the 0.2 API
// knows, share it; every other issuer has its own below it, so that a code which
// one of them gave is never taken to another (RFC 9700 §4.4.2.2).
const callbackPath = "/v1/auth/oauth/callback"

func callbackURL(base *url.URL, name string) string {
	if name == nameGitHub || name == nameGoogle {
		return base.JoinPath(callbackPath).String()
	}
	return base.JoinPath(callbackPath, name).String()
}

func challenge(verifier string) oauth2.AuthCodeOption {
	return oauth2.S256ChallengeOption(verifier)
}

// exchange redeems a code. A refusal is the code's fault, everything else the
// provider's.
func exchange(ctx context.Context, c *oauth2.Config, h Handshake, code string) (*oauth2.Token, error) {
	if code == "" || len(code) > maxCode {
		return nil, &checkError{ErrToken, "no code, or a very long one"}
	}
	token, err := c.Exchange(ctx, code, oauth2.VerifierOption(h.Verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && (refused.ErrorCode != "" || refused.Response.StatusCode/100 == 4):
		return nil, &checkError{ErrToken, "the provider refuses the code: " + refused.ErrorCode}
	case err != nil:
		return nil, &checkError{ErrProvider, "token endpoint: " + err.Error()}
	case len(token.AccessToken) > maxToken:
		return nil, &checkError{ErrToken, "access token too long"}
	}
	return token, nil
}

// checkError is one of the sentinels with the check that failed, which is for the
// operator's log and for nobody else.
type checkError struct {
	kind   error
	detail string
}

// Error repeats little of what a provider said: its answer may be a page long.
func (e *checkError) Error() string { return fmt.Sprintf("%s: %.*s", e.kind, maxDetail, e.detail) }
func (e *checkError) Unwrap() error { return e.kind }
