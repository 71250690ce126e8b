package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Client is what a provider gave the operator.
type Client struct {
	ID     string
	Secret string
}

// Config says who may sign humans in, and where they come back to.
type Config struct {
	// Base is how browsers reach the registry, without a path of the API:
	// https://registry.example. Every provider must know it.
	Base string
	// GitHub and Google are listed even without credentials, as disabled.
	GitHub, Google Client
	Issuers        []Issuer
	// AgentsPerPerson is how many agents one account may vouch for; 0: AgentsPerPerson.
	AgentsPerPerson int
	// Transport asks the providers; nil: http.DefaultTransport.
	Transport http.RoundTripper
	Now       func() time.Time
}

// Configured says whether any provider has credentials.
func (c *Config) Configured() bool {
	return c.GitHub != Client{} || c.Google != Client{} || len(c.Issuers) > 0
}

// FromEnvironment reads what the 0.2 registry reads: GITHUB_CLIENT_ID,
// GITHUB_CLIENT_SECRET, GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET and
// OAUTH_CALLBACK_BASE_URL.
func FromEnvironment(getenv func(string) string) Config {
	return Config{
		Base:   getenv("OAUTH_CALLBACK_BASE_URL"),
		GitHub: Client{getenv("GITHUB_CLIENT_ID"), getenv("GITHUB_CLIENT_SECRET")},
		Google: Client{getenv("GOOGLE_CLIENT_ID"), getenv("GOOGLE_CLIENT_SECRET")},
	}
}

// issuerForm is the text that ParseIssuer reads.
const issuerForm = "name=NAME,issuer=URL,client-id=ID,client-secret-file=FILE[,display=TEXT][,email=any]"

// ParseIssuer reads an issuer as it stands on a command line, and its secret from
// the file named there.
func ParseIssuer(text string) (Issuer, error) {
	var i Issuer
	secret := ""
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || value == "" || seen[key] {
			return Issuer{}, fmt.Errorf("issuer %q: write %s", text, issuerForm)
		}
		seen[key] = true
		switch key {
		case "name":
			i.Name = value
		case "issuer":
			i.URL = value
		case "client-id":
			i.ID = value
		case "client-secret-file":
			secret = value
		case "display":
			i.Display = value
		case "email":
			if value != "any" {
				return Issuer{}, fmt.Errorf("issuer %q: email is any, or not given", text)
			}
			i.AnyEmail = true
		default:
			return Issuer{}, fmt.Errorf("issuer %q: %q is unknown; write %s", text, key, issuerForm)
		}
	}
	if i.Name == "" || i.URL == "" || i.ID == "" || secret == "" {
		return Issuer{}, fmt.Errorf("issuer %q: write %s", text, issuerForm)
	}
	raw, err := os.ReadFile(secret)
	if err != nil {
		return Issuer{}, fmt.Errorf("issuer %s: %w", i.Name, err)
	}
	if i.Secret = strings.TrimSpace(string(raw)); i.Secret == "" {
		return Issuer{}, fmt.Errorf("issuer %s: %s is empty", i.Name, secret)
	}
	return i, nil
}

var issuerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// newProviders checks a configuration and makes its providers, in the order in
// which they are listed.
func newProviders(c *Config) ([]Provider, *url.URL, error) {
	base, err := parseBase(c)
	if err != nil {
		return nil, nil, err
	}
	client := newClient(c.Transport)
	list := []Provider{newGitHub(c.GitHub, base, client), newGoogle(c.Google, base, client, c.Now)}
	for what, half := range map[string]Client{"GITHUB": c.GitHub, "GOOGLE": c.Google} {
		if (half.ID == "") != (half.Secret == "") {
			return nil, nil, fmt.Errorf("%s_CLIENT_ID and %s_CLIENT_SECRET belong together; only one is set", what, what)
		}
	}
	for _, i := range c.Issuers {
		if !issuerName.MatchString(i.Name) {
			return nil, nil, fmt.Errorf("issuer %q: a name is 1 to 32 of a-z, 0-9 and -", i.Name)
		}
		if slices.ContainsFunc(list, func(p Provider) bool { return p.Name() == i.Name }) {
			return nil, nil, fmt.Errorf("issuer %q: the name is taken", i.Name)
		}
		if err := checkEndpoint("issuer", i.URL); err != nil {
			return nil, nil, err
		}
		if i.ID == "" || i.Secret == "" {
			return nil, nil, fmt.Errorf("issuer %q has no credentials", i.Name)
		}
		list = append(list, newOpenID(i, base, client, c.Now))
	}
	return list, base, nil
}

func parseBase(c *Config) (*url.URL, error) {
	if c.Base == "" {
		if c.Configured() {
			return nil, errors.New("providers are configured, but not where they send browsers back: set OAUTH_CALLBACK_BASE_URL, such as https://registry.example")
		}
		return &url.URL{}, nil
	}
	if err := checkEndpoint("OAUTH_CALLBACK_BASE_URL", c.Base); err != nil {
		return nil, err
	}
	base, err := url.Parse(c.Base)
	if err != nil {
		return nil, err
	}
	if base.RawQuery != "" || strings.Contains(base.Path, callbackPath) {
		return nil, fmt.Errorf("OAUTH_CALLBACK_BASE_URL %q: give it without %s and without a query", c.Base, callbackPath)
	}
	return base, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
