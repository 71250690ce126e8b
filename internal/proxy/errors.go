package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Error is why there is no connection through a proxy.
type Error struct {
	Proxy  string // its URL, without credentials
	Status int    // of its answer in HTTP; 0: it gave none
	Err    error
	next   string
}

// Error says which proxy, what happened, and what can be done.
func (e *Error) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() + "; " + e.next }

// Unwrap is what happened.
func (e *Error) Unwrap() error { return e.Err }

// Next is what can be done, one sentence.
func (e *Error) Next() string { return e.next }

var (
	errUnauthorized = errors.New("wants other credentials")
	errNoHTTP       = errors.New("does not answer like an HTTP proxy")
	errLong         = fmt.Errorf("%w: its answer is longer than %d bytes", errNoHTTP, headBytes)
	errSlow         = fmt.Errorf("no connection within %v", openWait)
	errNoPair       = errors.New("a SOCKS5 proxy takes USER:PASSWORD and nothing else")
)

// refused is an answer in HTTP that is not yes.
type refused struct {
	status int
	what   string
	next   string
	auth   bool
}

func (r *refused) Error() string { return r.what }

func (r *refused) Is(target error) bool { return target == errUnauthorized && r.auth }

// refusal explains an answer to CONNECT. The proxy's own words are not repeated.
func refusal(resp *http.Response, addr string, secret secret) error {
	said := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	r := &refused{status: resp.StatusCode, what: "answers " + said + " to CONNECT " + addr, next: "ask whoever runs the proxy"}
	switch resp.StatusCode {
	case http.StatusProxyAuthRequired:
		r.auth = true
		switch {
		case !offersBasic(resp.Header.Values("Proxy-Authenticate")):
			r.next = "it does not take Basic; have proxy_credentials give the whole value of a Proxy-Authorization header"
		case secret == "":
			r.next = "give user and password with proxy_credentials"
		default:
			r.next = "mend the user and password that proxy_credentials gives"
		}
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		r.next = "many proxies allow port 443 only: use a server there (wss:// or https:// without another port), or ask whoever runs the proxy"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		r.next = "the proxy cannot reach it: check the address, or name it in NO_PROXY if it is on this side of the proxy"
	}
	return r
}

// offersBasic is also true where nothing is offered, which is the proxy's mistake.
func offersBasic(challenges []string) bool {
	for _, line := range challenges {
		for one := range strings.SplitSeq(line, ",") {
			scheme, _, _ := strings.Cut(strings.TrimSpace(one), " ")
			if strings.EqualFold(scheme, "basic") {
				return true
			}
		}
	}
	return len(challenges) == 0
}

// socksRefusal explains what a SOCKS5 proxy did. That our credentials were not taken it
// says by hanging up as often as by its code, so every failure may be one.
func socksRefusal(err error, secret secret) error {
	r := &refused{what: err.Error(), next: "check the address behind the proxy, and that the proxy speaks SOCKS5", auth: true}
	if secret == "" && strings.Contains(r.what, "authentication") {
		r.next = "give user and password with proxy_credentials"
	} else if strings.Contains(r.what, "authentication") {
		r.next = "mend the user and password that proxy_credentials gives"
	}
	return r
}

func unreachable(ctx context.Context, u *url.URL, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Proxy: name(u), Err: fmt.Errorf("cannot be reached: %w", err),
		next: "check the proxy setting and the network, or set proxy to none if there is no proxy any more"}
}

// failure is the Error for what went wrong behind a connection to the proxy. A caller's
// own end comes back as it is.
func failure(u *url.URL, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	e := &Error{Proxy: name(u), Err: err, next: "check that the proxy setting names an HTTP, HTTPS or SOCKS5 proxy by its right kind"}
	if r, ok := errors.AsType[*refused](err); ok {
		e.Status, e.next = r.status, r.next
	}
	if s, ok := errors.AsType[*sourceError](err); ok {
		e.next = s.next
	}
	return e
}
