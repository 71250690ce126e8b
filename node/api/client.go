package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ClientConfig says how to reach a node. Discover makes one from a home folder.
type ClientConfig struct {
	Socket string // path of the unix socket; used when URL is empty
	URL    string // http://host:port of the TCP API
	Token  string // bearer token; TCP always needs one
	Agent  string // the agent that is meant when a call names none
}

// Client is a node seen through its local API. It implements Backend, is safe for
// concurrent use, and returns *Problem for everything but the end of the caller's
// own context, which comes back as it is.
type Client struct {
	cfg  ClientConfig
	base string
	http *http.Client
}

var _ Backend = (*Client)(nil)

// NewClient makes a client; it connects when it is used.
func NewClient(cfg ClientConfig) *Client {
	// No proxy, ever: the token and the mail are for this machine.
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}
	base := strings.TrimSuffix(cfg.URL, "/")
	if base == "" {
		base = "http://amesh"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", cfg.Socket)
		}
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{
		Transport: transport,
		// A node never redirects, and its token is not shown to whoever else does.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes idle connections. Calls under way are not disturbed, and the client
// can be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request to the node.
type call struct {
	method string
	path   []string // segments below /v1, not escaped
	query  url.Values
	key    string        // idempotency key
	in     any           // body of a write
	wait   time.Duration // how long the node was asked to wait
}

// do makes the call and decodes the answer into out.
func (c *Client) do(ctx context.Context, agent string, k call, out any) error {
	own, cancel := context.WithTimeout(ctx, timeout(k.wait))
	defer cancel()
	req, err := c.request(own, agent, k)
	if err != nil {
		return err
	}
	err = c.exchange(req, out)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case own.Err() != nil:
		return Problemf(http.StatusGatewayTimeout, CodeBusy, "the node did not answer in %s", timeout(k.wait)).
			WithHint("it runs but is stuck or overloaded: look at its log")
	}
	return err
}

func timeout(wait time.Duration) time.Duration {
	if wait <= 0 {
		return answerIn
	}
	return max(wait+waitSlack, answerIn)
}

func (c *Client) request(ctx context.Context, agent string, k call) (*http.Request, error) {
	if agent == "" {
		agent = c.cfg.Agent
	}
	query := k.query
	if query == nil {
		query = url.Values{}
	}
	if agent != "" {
		query.Set("agent", agent)
	}
	target := c.base + "/v1"
	for _, segment := range k.path {
		target += "/" + url.PathEscape(segment)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body io.Reader
	if k.method != http.MethodGet {
		raw, err := json.Marshal(k.in)
		if err != nil {
			return nil, Problemf(http.StatusBadRequest, CodeInvalid, "encode the request: %v", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, Problemf(http.StatusBadRequest, CodeInvalid, "the node's address %q is not an http URL", c.cfg.URL)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.key != "" {
		if !printable(k.key) {
			return nil, Problemf(http.StatusBadRequest, CodeInvalid, "an idempotency key is printable ASCII without spaces")
		}
		req.Header.Set("Idempotency-Key", k.key)
	}
	if c.cfg.Token != "" {
		if !printable(c.cfg.Token) {
			return nil, Problemf(http.StatusUnauthorized, CodeUnauthorized, "the token is not one of this node's making").
				WithHint("it is the one line of the file owner.token, or of agents/NAME/token")
		}
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	return req, nil
}

// printable reports whether s can be sent in a header and arrives unchanged.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (c *Client) exchange(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return c.noAnswer(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.noAnswer(err)
	}
	if len(raw) > maxAnswer {
		return strange(resp, "its answer is too long")
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return problemIn(resp, raw)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return strange(resp, err.Error())
	}
	return nil
}

// problemIn reads the problem of an answer that is not 2xx.
func problemIn(resp *http.Response, raw []byte) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	p := new(Problem)
	if kind != "application/problem+json" || json.Unmarshal(raw, p) != nil || p.Code == "" {
		return strange(resp, "status "+resp.Status)
	}
	p.Status = resp.StatusCode
	return p
}

// strange is the problem with an answer that no node gives.
func strange(resp *http.Response, why string) *Problem {
	return Problemf(http.StatusBadGateway, CodeInternal, "%s does not answer like a node: %s", resp.Request.URL.Host, why).
		WithHint("another program listens there, or the node is of another version")
}

// noAnswer turns an error of the connection into the problem that the caller has.
func (c *Client) noAnswer(err error) *Problem {
	where := c.cfg.URL
	if where == "" {
		where = c.cfg.Socket
	}
	var why *url.Error
	if errors.As(err, &why) {
		err = why.Err // the method and URL around it say nothing to a user
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return unreachable("no node runs at %s", where)
	case errors.Is(err, fs.ErrPermission):
		return Problemf(http.StatusUnauthorized, CodeUnauthorized, "%s belongs to another user", where).
			WithHint("use the node as the user who started it, or by its TCP address with a token")
	}
	return unreachable("no answer from %s: %v", where, err)
}

func unreachable(format string, args ...any) *Problem {
	return Problemf(http.StatusServiceUnavailable, CodeUnreachable, "%s", fmt.Sprintf(format, args...)).
		WithHint("start it with `amesh up`")
}
