package schema

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// RemoteConfig says where a Remote is.
type RemoteConfig struct {
	// URL is the address under which /schemas is: http or https.
	URL string
	// Token goes along as a bearer token, when there is one.
	Token string
	// Headers go along with every request.
	Headers map[string]string
	// TLS says whom to trust and who we are; nil is the system's roots.
	TLS *tls.Config
	// Timeout is for one request. 0 is 5 s.
	Timeout time.Duration
	// Retries is how often a question is asked again when there was no answer.
	Retries int
	// Keys are those that sign schemas. A schema without a signature by one of
	// them is refused, unless AllowUnsigned.
	Keys []crypto.PublicKey
	// AllowUnsigned takes schemas without a signature. A wrong one is refused
	// whenever there are keys.
	AllowUnsigned bool
	// Log gets what an operator should know.
	Log *slog.Logger
}

const (
	remoteTimeout = 5 * time.Second
	// maxRetries bounds RemoteConfig.Retries.
	maxRetries = 5
	// firstPause is how long to wait before the first retry; it doubles.
	firstPause = 100 * time.Millisecond
	// longestPause bounds what a server may ask for by Retry-After.
	longestPause = 2 * time.Second
	// maxAnswer is how long an answer may be, in bytes.
	maxAnswer = 8 << 20
	// maxListed is how many schemas a registry may have.
	maxListed = 100_000
	// saidBytes is how much of a refusal is passed on.
	saidBytes = 300
)

// Remote is a registry on another server, spoken to over HTTP as agentry does,
// and written to if it lets us.
type Remote struct {
	cfg    RemoteConfig
	told   *told
	client *http.Client
}

// NewRemote checks the configuration; it asks nothing.
func NewRemote(cfg RemoteConfig) (*Remote, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("schema registry %q: want https://host/path", clip(cfg.URL))
	}
	if len(cfg.Keys) == 0 && !cfg.AllowUnsigned {
		return nil, errors.New("schema registry: name the keys that sign its schemas, or allow unsigned ones")
	}
	for _, key := range cfg.Keys {
		if err := usable(key); err != nil {
			return nil, fmt.Errorf("schema registry: %w", err)
		}
	}
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	cfg.Timeout = cmp.Or(cfg.Timeout, remoteTimeout)
	cfg.Retries = max(0, min(cfg.Retries, maxRetries))
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS.Clone(), ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	return &Remote{cfg: cfg, told: newTold(), client: &http.Client{
		Transport: transport, Timeout: cfg.Timeout,
		// A redirect would take the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// answered is what a server said.
type answered struct {
	status int
	body   []byte
	retry  time.Duration
}

// said is the beginning of the text, for an error.
func (a answered) said() string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	text := ""
	if json.Unmarshal(a.body, &e) == nil {
		if text = e.Message; text == "" {
			_ = json.Unmarshal(e.Error, &text) // an object says nothing in a word
		}
	}
	if len(text) > saidBytes {
		text = text[:saidBytes]
	}
	return strconv.Quote(text)
}

// once makes one request.
func (r *Remote) once(ctx context.Context, method, path string, body []byte, header http.Header) (answered, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.cfg.URL+path, bytes.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	for name, value := range r.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.cfg.Token)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	a := answered{status: resp.StatusCode, body: text}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.retry = min(time.Duration(seconds)*time.Second, longestPause)
	}
	return a, err
}

// ask makes a request that changes nothing, and makes it again when there was no
// answer or the server was busy.
func (r *Remote) ask(ctx context.Context, method, path string, body []byte) (answered, error) {
	pause := firstPause
	for try := 0; ; try++ {
		a, err := r.once(ctx, method, path, body, nil)
		if err == nil && a.status != http.StatusTooManyRequests && a.status < 500 {
			return a, nil
		}
		if try >= r.cfg.Retries || ctx.Err() != nil {
			if err == nil {
				err = fmt.Errorf("status %d", a.status)
			}
			return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		wait := time.NewTimer(max(a.retry, pause/2+rand.N(pause/2)))
		pause *= 2
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return a, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// odd is the error for an answer that is none to the question.
func (r *Remote) odd(a answered, path string) error {
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		r.cfg.Log.Warn("schema registry refuses our token", "path", path, "status", a.status)
	}
	return fmt.Errorf("%w: status %d", ErrUnavailable, a.status)
}

func pathOf(id ID) string { return "/schemas/" + url.PathEscape(id.String()) }

// Get implements Registry.
func (r *Remote) Get(ctx context.Context, id ID) (Schema, error) {
	a, err := r.ask(ctx, http.MethodGet, pathOf(id), nil)
	switch {
	case err != nil:
		return Schema{}, err
	case a.status == http.StatusNotFound:
		return Schema{}, ErrNotFound
	case a.status != http.StatusOK:
		return Schema{}, r.odd(a, pathOf(id))
	}
	// agentry's registries answer with the schema, gateways with an object around it.
	var wrapped struct {
		Schema *Schema `json:"schema"`
	}
	var s Schema
	if err = json.Unmarshal(a.body, &wrapped); err == nil {
		if wrapped.Schema != nil {
			s = *wrapped.Schema
		} else {
			err = json.Unmarshal(a.body, &s)
		}
	}
	if err != nil || s.ID != id || len(s.Definition) == 0 {
		if r.told.first(id, "something else") {
			r.cfg.Log.Warn("schema registry answers with something else", "schema", id.String(), "err", err)
		}
		return Schema{}, fmt.Errorf("%w: %s", ErrDamaged, id)
	}
	if err := r.trust(s); err != nil {
		if r.told.first(id, err.Error()) {
			r.cfg.Log.Warn("schema refused", "schema", id.String(), "err", err)
		}
		return Schema{}, err
	}
	return s, nil
}

// trust returns nil when s may be used.
func (r *Remote) trust(s Schema) error {
	if r.cfg.AllowUnsigned && (s.Signature == "" || len(r.cfg.Keys) == 0) {
		return nil
	}
	return Verify(r.cfg.Keys, s)
}

// List implements Registry.
func (r *Remote) List(ctx context.Context, p Pattern) ([]ID, error) {
	path := "/schemas"
	if p.text != "" {
		path += "?pattern=" + url.QueryEscape(p.text)
	}
	a, err := r.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, r.odd(a, path)
	}
	var list struct {
		Schemas []json.RawMessage `json:"schemas"`
	}
	if err := json.Unmarshal(a.body, &list); err != nil || len(list.Schemas) > maxListed {
		return nil, fmt.Errorf("%w: its list cannot be read", ErrUnavailable)
	}
	var ids []ID
	for _, text := range list.Schemas {
		var id ID
		// What is no identifier, and what was not asked for, is not ours.
		if json.Unmarshal(text, &id) == nil && p.Match(id) {
			ids = append(ids, id)
		}
	}
	return InOrder(ids), nil
}

// Put implements Registry. A schema that could not be read again is refused.
func (r *Remote) Put(ctx context.Context, s Schema, replace bool) error {
	if err := r.trust(s); err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Definition json.RawMessage `json:"definition"`
		Published  time.Time       `json:"published_at"`
		Signature  string          `json:"signature,omitempty"`
		Force      bool            `json:"force,omitempty"`
	}{s.Definition, s.Published, s.Signature, replace})
	if err != nil {
		return err
	}
	header := http.Header{}
	if !replace {
		header.Set("If-None-Match", "*")
	}
	a, err := r.once(ctx, http.MethodPut, pathOf(s.ID), body, header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if (a.status == http.StatusPreconditionFailed || a.status == http.StatusConflict) && !replace {
		return ErrExists
	}
	return r.changed(a, pathOf(s.ID))
}

// Remove implements Registry.
func (r *Remote) Remove(ctx context.Context, id ID) error {
	a, err := r.once(ctx, http.MethodDelete, pathOf(id), nil, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if a.status == http.StatusNotFound || a.status == http.StatusGone {
		return ErrNotFound
	}
	return r.changed(a, pathOf(id))
}

// changed says what became of a change.
func (r *Remote) changed(a answered, path string) error {
	switch {
	case a.status >= 200 && a.status < 300:
		return nil
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, notOffered(a.status):
		return fmt.Errorf("%w: status %d", ErrReadOnly, a.status)
	case a.status == http.StatusBadRequest, a.status == http.StatusConflict, a.status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s", ErrRefused, a.said())
	}
	return r.odd(a, path)
}

func notOffered(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// Judge implements Judge: it asks the registry what it thinks of a definition.
func (r *Remote) Judge(ctx context.Context, s Schema) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	a, err := r.ask(ctx, http.MethodPost, "/schemas/validate", body)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK, notOffered(a.status):
		return nil
	case a.status == http.StatusBadRequest, a.status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s", ErrRefused, a.said())
	}
	return r.odd(a, "/schemas/validate")
}

// Compatible implements Comparer.
func (r *Remote) Compatible(ctx context.Context, from, to ID) (bool, string, error) {
	body, err := json.Marshal(map[string]ID{"current": from, "new": to})
	if err != nil {
		return false, "", err
	}
	a, err := r.ask(ctx, http.MethodPost, "/schemas/compatibility", body)
	switch {
	case err != nil:
		return false, "", err
	case notOffered(a.status):
		return true, "", nil
	case a.status != http.StatusOK:
		return false, "", r.odd(a, "/schemas/compatibility")
	}
	var verdict struct {
		Compatible bool   `json:"compatible"`
		Reason     string `json:"reason"`
	}
	if err := json.Unmarshal(a.body, &verdict); err != nil {
		return false, "", fmt.Errorf("%w: its verdict cannot be read", ErrUnavailable)
	}
	return verdict.Compatible, clip(verdict.Reason), nil
}
