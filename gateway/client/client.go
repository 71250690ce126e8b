package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// longest is the longest answer that is read, in bytes: a page of an inbox with the
	// largest messages.
	longest = 256 << 20
	// longestError is how much of an answer is looked at that is no JSON error.
	longestError = 512
	// patience is how long a gateway may take.
	patience = 30 * time.Second
)

// AdminHeader is the header of the admin key, unless the gateway was told another.
const AdminHeader = "X-Admin-Key"

// Config says which gateway is asked, and as whom.
type Config struct {
	URL         string // http:// or https://, without a path
	AdminKey    string // may be empty
	AdminHeader string // empty: AdminHeader
	AgentKey    string // bearer token of an agent, may be empty
	Roots       *x509.CertPool
	Timeout     time.Duration // zero: half a minute
}

// Client asks one gateway. It is safe for concurrent use.
type Client struct {
	base   *url.URL
	config Config
	http   *http.Client
}

// ErrURL reports a URL that is none of a gateway.
var ErrURL = errors.New("gateway URL")

// New checks the configuration and connects to nobody. It returns ErrURL.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %.100q: want one such as https://amtp.example.com", ErrURL, c.URL)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if c.AdminHeader == "" {
		c.AdminHeader = AdminHeader
	}
	if c.Timeout == 0 {
		c.Timeout = patience
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}
	return &Client{base: u, config: c, http: &http.Client{
		Transport: transport, Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is a gateway's refusal.
type Error struct {
	Status     int
	Code       string // as AGENT_NOT_FOUND; empty if the answer was no error of AMTP
	Message    string
	Details    map[string]any
	RetryAfter time.Duration

	body []byte
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the gateway answers %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
	}
	if why, ok := e.Details["error"].(string); ok && why != "" {
		return fmt.Sprintf("%s: %s (%s)", e.Message, why, e.Code)
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Code)
}

// ErrAnswer reports an answer that is none of a gateway.
var ErrAnswer = errors.New("unexpected answer")

// call is one request: a method, the parts of a path, which are escaped, and what
// belongs to it.
type call struct {
	method string
	path   []string
	query  url.Values
	body   any    // nil: none
	prefer string // header Prefer; empty: none
}

// do makes a request and puts the answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, q call, out any) error {
	req, err := c.request(ctx, q)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longest+1))
	if err != nil {
		return fmt.Errorf("%s: %w", c.base.Host, err)
	}
	if len(body) > longest {
		return fmt.Errorf("%w: more than %d bytes", ErrAnswer, longest)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal(resp, body)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w: %d with a body that is not what was asked for", ErrAnswer, resp.StatusCode)
	}
	return nil
}

func (c *Client) request(ctx context.Context, q call) (*http.Request, error) {
	u := *c.base
	raw := strings.Builder{}
	raw.WriteString(u.EscapedPath())
	for _, part := range q.path {
		raw.WriteString("/" + url.PathEscape(part))
	}
	u.RawPath = raw.String()
	var err error
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, err
	}
	u.RawQuery = q.query.Encode()
	var body io.Reader
	if q.body != nil {
		raw, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.prefer != "" {
		req.Header.Set("Prefer", q.prefer)
	}
	if c.config.AdminKey != "" {
		req.Header.Set(c.config.AdminHeader, c.config.AdminKey)
	}
	if c.config.AgentKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.config.AgentKey)
	}
	return req, nil
}

// refusal reads the error that a gateway answers with.
func refusal(resp *http.Response, body []byte) error {
	e := &Error{Status: resp.StatusCode, body: body}
	var said struct {
		Error struct {
			Code    string         `json:"code"`
			Message string         `json:"message"`
			Details map[string]any `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) == nil && said.Error.Code != "" {
		e.Code, e.Message, e.Details = said.Error.Code, said.Error.Message, said.Error.Details
	} else {
		e.Message = strings.TrimSpace(string(body[:min(len(body), longestError)]))
	}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// ask is do with an answer of a type.
func ask[T any](ctx context.Context, c *Client, q call) (T, error) {
	var out T
	err := c.do(ctx, q, &out)
	return out, err
}

// get is ask for a path that begins with v1.
func get[T any](ctx context.Context, c *Client, query url.Values, path ...string) (T, error) {
	return ask[T](ctx, c, call{method: http.MethodGet, path: append([]string{"v1"}, path...), query: query})
}

// Health asks whether the gateway is up, as a probe does: with nobody's key.
func (c *Client) Health(ctx context.Context) error {
	var said struct {
		Healthy bool   `json:"healthy"`
		Status  string `json:"status"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: []string{"health"}}, &said); err != nil {
		return err
	}
	if !said.Healthy {
		return fmt.Errorf("%w: it says %.40q", ErrAnswer, said.Status)
	}
	return nil
}
