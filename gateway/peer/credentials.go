package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Credential is what a domain's gateway gets to see of us beside a signature.
type Credential struct {
	APIKey string // "" if there is none
	OAuth  *OAuth // nil if there is none
}

// OAuth is how a token is had that a gateway believes: with the client's credentials
// (RFC 6749 §4.4).
type OAuth struct {
	TokenURL, ClientID, ClientSecret string
	Scopes                           []string
	Audience                         string // "" if the issuer wants none
}

// String hides the secrets.
func (Credential) String() string { return "(hidden)" }

// String hides the secret.
func (OAuth) String() string { return "(hidden)" }

// Tokens are credentials by domain. It is safe for concurrent use.
type Tokens struct {
	keys    map[string]string
	sources map[string]oauth2.TokenSource
}

// NewTokens checks credentials. Tokens are asked for with client when they are needed,
// and kept until shortly before they expire.
func NewTokens(client Client, byDomain map[string]Credential) (*Tokens, error) {
	t := &Tokens{keys: make(map[string]string), sources: make(map[string]oauth2.TokenSource)}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: roundTrip{client}})
	for domain, c := range byDomain {
		if c.APIKey == "" && c.OAuth == nil {
			return nil, fmt.Errorf("credentials for %s: neither an API key nor OAuth", domain)
		}
		if c.APIKey != "" {
			t.keys[domain] = c.APIKey
		}
		if o := c.OAuth; o != nil {
			if o.TokenURL == "" || o.ClientID == "" {
				return nil, fmt.Errorf("credentials for %s: OAuth needs a token URL and a client id", domain)
			}
			cfg := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes}
			if o.Audience != "" {
				cfg.EndpointParams = map[string][]string{"audience": {o.Audience}}
			}
			t.sources[domain] = cfg.TokenSource(ctx)
		}
	}
	return t, nil
}

// Token implements Credentials. Where there is both, the API key goes to gateways whose
// record names apikey and not oauth.
func (t *Tokens) Token(_ context.Context, domain string, auth []string) (string, error) {
	key, source := t.keys[domain], t.sources[domain]
	if key != "" && (source == nil || slices.Contains(auth, "apikey") && !slices.Contains(auth, "oauth")) {
		return key, nil
	}
	if source == nil {
		return "", nil
	}
	token, err := source.Token()
	if err != nil {
		return "", errors.New("the token endpoint gave none") // its answer may have anything in it
	}
	return token.AccessToken, nil
}

// roundTrip makes a Client the transport of an http.Client.
type roundTrip struct{ Client }

// RoundTrip implements http.RoundTripper.
func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r.Do(req) }
