package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"
)

// newClient is how providers are asked: no redirects, which nothing here needs
// and which could lead credentials elsewhere; bounded in time and in size.
func newClient(t http.RoundTripper) *http.Client {
	if t == nil {
		t = http.DefaultTransport
	}
	return &http.Client{
		Timeout:       providerTimeout,
		Transport:     bounded{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// withClient carries the client to x/oauth2 and go-oidc, which take it so.
func withClient(ctx context.Context, c *http.Client) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c)
}

type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxAnswer}
	}
	return resp, err
}

var errTooLong = errors.New("the answer is too long")

// boundedBody fails where an io.LimitReader would make a cut answer look whole.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// ask does one request and decodes its JSON answer. It returns ErrToken for a 4xx,
// by which providers say that a token is not good, and ErrProvider else.
func ask(c *http.Client, r *http.Request, into any) error {
	r.Header.Set("Accept", "application/json")
	resp, err := c.Do(r)
	if err != nil {
		return &checkError{ErrProvider, err.Error()}
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return &checkError{ErrProvider, "the provider is busy"}
	case resp.StatusCode/100 == 4:
		return &checkError{ErrToken, fmt.Sprintf("%s %s: %d", r.Method, r.URL.Path, resp.StatusCode)}
	case resp.StatusCode != http.StatusOK:
		return &checkError{ErrProvider, fmt.Sprintf("%s %s: %d", r.Method, r.URL.Path, resp.StatusCode)}
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return &checkError{ErrProvider, err.Error()}
	}
	return nil
}

// checkEndpoint refuses what would carry codes and secrets in clear. Plain HTTP is
// for a provider on this machine.
func checkEndpoint(what, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%s %q is not an https URL", what, text)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return fmt.Errorf("%s %q is not an https URL", what, text)
	}
	return nil
}
