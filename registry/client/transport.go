package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
)

// request is one exchange with the registry.
type request struct {
	method string
	path   []string   // segments behind the base, not escaped
	query  url.Values // nil: none
	body   []byte     // nil: none
	kind   string     // content type of body; empty: JSON
	header http.Header
	limit  int64 // bytes of the answer; 0: Limits.Answer
}

// answer is what came back with a 2xx status.
type answer struct {
	status int
	kind   string // content type, without parameters
	body   []byte
}

// do makes one exchange. Everything but a 2xx is an error: a *StatusError,
// ErrUnreachable or ErrMalformed; a redirect is the last.
func (c *Client) do(ctx context.Context, r request) (answer, error) {
	own, cancel := context.WithTimeout(ctx, c.limits.Timeout)
	defer cancel()
	req, err := c.newRequest(own, r)
	if err != nil {
		return answer{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, noAnswer(ctx, err)
	}
	defer resp.Body.Close()
	limit := r.limit
	if limit == 0 {
		limit = c.limits.Answer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return answer{}, noAnswer(ctx, err)
	}
	if int64(len(body)) > limit {
		return answer{}, fmt.Errorf("%w: more than %d bytes", ErrMalformed, limit)
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return answer{}, fmt.Errorf("%w: it sends us elsewhere (%d), and nobody follows", ErrMalformed, resp.StatusCode)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	a := answer{status: resp.StatusCode, kind: kind, body: body}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return a, refusal(resp, body)
	}
	return a, nil
}

func (c *Client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.target(r), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("registry request: %w", err)
	}
	if r.body == nil {
		req.Body, req.ContentLength = nil, 0
	} else if r.kind == "" {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Header.Set("Content-Type", r.kind)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	return req, nil
}

// target is the URL of a request.
func (c *Client) target(r request) string {
	s := c.base + pathOf(r.path)
	if len(r.query) > 0 {
		s += "?" + r.query.Encode()
	}
	return s
}

func pathOf(segments []string) string {
	s := ""
	for _, one := range segments {
		s += "/" + url.PathEscape(one)
	}
	return s
}

// noAnswer says that nothing came. The end of the caller's own context comes back as
// it is.
func noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var why *url.Error
	if errors.As(err, &why) {
		err = why.Err // the method and URL around it are known
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// decode reads a JSON answer. Unknown members are ignored, as the 0.2 contract says.
func decode[T any](a answer) (T, error) {
	var out T
	if a.kind != "application/json" && a.kind != "application/did+ld+json" {
		return out, fmt.Errorf("%w: its type is %.60q", ErrMalformed, a.kind)
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		return out, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return out, nil
}

// get asks without proving who asks.
func get[T any](ctx context.Context, c *Client, r request) (T, error) {
	r.method = http.MethodGet
	a, err := c.do(ctx, r)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](a)
}

// newHTTP is a client that goes nowhere else and keeps few connections.
func newHTTP(dial func(ctx context.Context, network, addr string) (net.Conn, error), limits Limits) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: limits.Timeout,
			TLSHandshakeTimeout: limits.Timeout, ResponseHeaderTimeout: limits.Timeout, MaxResponseHeaderBytes: 64 << 10,
			DisableCompression: true, // so that the limit is one of what comes over the line
			ForceAttemptHTTP2:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
