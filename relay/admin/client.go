package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"amesh/relay"
	"amesh/relay/ban"
)

var (
	// ErrNoRelay reports that no relay answers in the folder.
	ErrNoRelay = errors.New("no relay runs there")
	// ErrRefused reports that the relay understood and did not do it.
	ErrRefused = errors.New("the relay refused")
)

// Client talks to the relay whose data folder it was given.
type Client struct {
	data string
	http *http.Client
}

// NewClient makes a client. It opens nothing.
func NewClient(data string) *Client {
	path := filepath.Join(data, SocketFile)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}
	return &Client{data: data, http: &http.Client{Transport: transport}}
}

// Top lists the n busiest agents and addresses.
func (c *Client) Top(ctx context.Context, n int, by relay.Order) (Top, error) {
	q := url.Values{"n": {strconv.Itoa(n)}, "by": {string(by)}}
	var t Top
	err := c.call(ctx, http.MethodGet, "/v1/top?"+q.Encode(), nil, &t)
	return t, err
}

// Bans lists the bans in force.
func (c *Client) Bans(ctx context.Context) ([]ban.Line, error) {
	var b Bans
	err := c.call(ctx, http.MethodGet, "/v1/bans", nil, &b)
	return b.Bans, err
}

// Ban bans, and returns the ban as it is in force.
func (c *Client) Ban(ctx context.Context, req BanRequest) (ban.Line, error) {
	var b Bans
	if err := c.call(ctx, http.MethodPost, "/v1/bans", req, &b); err != nil {
		return ban.Line{}, err
	}
	if len(b.Bans) != 1 {
		return ban.Line{}, fmt.Errorf("the relay answered with %d bans", len(b.Bans))
	}
	return b.Bans[0], nil
}

// Unban ends a ban and reports whether there was one.
func (c *Client) Unban(ctx context.Context, target string) (bool, error) {
	var r Removed
	err := c.call(ctx, http.MethodDelete, "/v1/bans?"+url.Values{"target": {target}}.Encode(), nil, &r)
	return r.Removed, err
}

// Drain ends the relay's work, and the relay. It waits until that is done, which takes
// up to within, and returns how many agents were still connected.
func (c *Client) Drain(ctx context.Context, within time.Duration) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, within+answerWait)
	defer cancel()
	var d Drained
	err = c.do(ctx, http.MethodPost, "/v1/drain", DrainRequest{Seconds: int64(within / time.Second)}, &d)
	return d.Left, err
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return c.do(ctx, method, path, body, into)
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, text)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if opErr, ok := errors.AsType[*net.OpError](err); ok && opErr.Op == "dial" {
		return fmt.Errorf("%w: %s: %w", ErrNoRelay, c.data, opErr.Err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p) != nil || p.Error == "" {
			p.Error = resp.Status
		}
		return fmt.Errorf("%w: %s", ErrRefused, p.Error)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
