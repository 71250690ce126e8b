package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"amesh/node/api"
)

const problemType = "application/problem+json"

// answer holds a response until it is complete. It is the http.ResponseWriter of
// the handlers; nothing they write can fail or leave half-way.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: make(http.Header)} }

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter; the first status counts.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// set replaces the answer by a problem. The header Allow stays, since a 405 is
// no use without it.
func (a *answer) set(p *api.Problem) {
	allow := a.header.Values("Allow")
	a.header = http.Header{"Content-Type": {problemType}}
	if len(allow) > 0 {
		a.header["Allow"] = allow
	}
	if p.Status == http.StatusUnauthorized {
		a.header.Set("WWW-Authenticate", `Bearer realm="amesh"`)
	}
	a.status = p.Status
	a.body.Reset()
	enc := json.NewEncoder(&a.body)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // strings and a number always encode
}

// foreign returns the problem to put in place of an error that the mux wrote in
// its own way, or nil.
func (a *answer) foreign(r *http.Request) *api.Problem {
	switch {
	case a.status < 300, a.header.Get("Content-Type") == problemType:
		return nil
	case a.status == http.StatusMethodNotAllowed:
		return api.Problemf(a.status, api.CodeInvalid, "%s cannot be used with this path", r.Method).
			WithHint("it takes %s", a.header.Get("Allow"))
	case a.status < 400, a.status == http.StatusNotFound:
		// The mux redirects to the clean form of a path; our paths have one form.
		return api.Problemf(http.StatusNotFound, api.CodeNotFound, "there is no such path").
			WithHint("GET /v1/openapi.json lists all")
	case a.status < 500:
		return api.Problemf(a.status, api.CodeInvalid, "the request is malformed").
			WithHint("GET /v1/openapi.json says what is expected")
	}
	return internal()
}

// send gives the answer to the real writer.
func (a *answer) send(w http.ResponseWriter) {
	h := w.Header()
	maps.Copy(h, a.header)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(a.body.Len()))
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(max(a.status, http.StatusOK))
	_, _ = w.Write(a.body.Bytes()) // a caller who left cannot be told
}

// internal is all that a caller learns of our own mistakes.
func internal() *api.Problem {
	return api.Problemf(http.StatusInternalServerError, api.CodeInternal, "the node made a mistake").
		WithHint("its log says more")
}

// problemOf turns an error of the backend into what the caller is told.
func (s *Server) problemOf(ctx context.Context, err error) *api.Problem {
	var p *api.Problem
	switch {
	case errors.As(err, &p) && p.Status >= 400 && p.Status <= 599 && p.Code != "":
		if p.Title != "" {
			return p
		}
		named := *p // theirs may be shared
		named.Title = string(p.Code)
		return &named
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return api.Problemf(http.StatusServiceUnavailable, api.CodeBusy, "the node ended the request").
			WithHint("try again when it is up")
	}
	s.cfg.Logger.ErrorContext(ctx, "local api: request failed", "err", err)
	return internal()
}

// refusal makes a problem known to huma, which asks errors for status and
// content type.
type refusal struct{ *api.Problem }

// GetStatus implements huma.StatusError.
func (r refusal) GetStatus() int { return r.Status }

// ContentType implements huma.ContentTypeFilter.
func (r refusal) ContentType(string) string { return problemType }

// reshape turns the errors that huma makes by itself into problems. It is a
// transformer of one API, because huma's own hook for this is a global.
func reshape(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if m.Status >= 500 {
		return internal(), nil // huma has no 5xx but 500
	}
	var details []string
	for _, d := range m.Errors {
		// Not d.Value, which repeats what was sent.
		if d != nil {
			details = append(details, strings.TrimPrefix(fmt.Sprintf("%s: %s", d.Location, d.Message), ": "))
		}
	}
	detail := m.Detail
	if len(details) > 0 {
		detail = strings.Join(details, "; ")
	}
	return api.Problemf(m.Status, api.CodeInvalid, "%s", detail).
		WithHint("GET /v1/openapi.json says what is expected"), nil
}
