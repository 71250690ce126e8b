package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"amesh/node/api"
)

// access says who may call a route.
type access int

const (
	ownerOnly access = iota // the zero value, so that a route which does not say is the owner's
	ownerOrAgent
	anybody
)

// caller is who calls, and the agent that the call is about.
type caller struct {
	owner bool
	agent string
}

type callerKey struct{}

// agentIn is the agent that a request is about; empty is the only one.
func agentIn(ctx context.Context) string {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who.agent
}

// door is how callers come in and how they are known there.
type door struct {
	check func(*http.Request) *api.Problem           // on every request, before anything else
	known func(*http.Request) (caller, *api.Problem) // who calls
}

// through is the handler of one door.
func (s *Server) through(d door) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctl := http.NewResponseController(w)
		// What the last request on this connection left behind.
		_ = ctl.SetWriteDeadline(time.Time{})
		a := newAnswer()
		if p := s.handle(d, a, w, r); p != nil {
			a.set(p)
		}
		_ = ctl.SetWriteDeadline(time.Now().Add(s.cfg.Limits.WriteTimeout))
		a.send(w)
	})
}

// handle puts the answer to a request into a, or returns the problem with it.
func (s *Server) handle(d door, a *answer, w http.ResponseWriter, r *http.Request) (p *api.Problem) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		s.cfg.Logger.ErrorContext(r.Context(), "local api: panic", "panic", v, "stack", string(debug.Stack()))
		p = internal()
	}()
	_, pattern := s.mux.Handler(r)
	who, p := s.admit(d, pattern, r)
	if p != nil {
		s.cfg.Logger.DebugContext(r.Context(), "local api: refused", "path", r.URL.Path, "code", p.Code)
		return p
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	if pattern != "" && r.Method != http.MethodGet && r.Method != http.MethodHead {
		if p := s.takeBody(w, r); p != nil {
			return p
		}
	}
	r.Header.Del("Accept") // there is one format; huma would call it by the caller's name for it
	s.mux.ServeHTTP(a, r)
	return a.foreign(r)
}

// admit says who calls, or why not.
func (s *Server) admit(d door, pattern string, r *http.Request) (caller, *api.Problem) {
	if p := d.check(r); p != nil {
		return caller{}, p
	}
	need := s.routes[pattern]
	if need == anybody {
		return caller{}, nil
	}
	who, p := d.known(r)
	if p != nil {
		return caller{}, p
	}
	// Without a pattern there is no such path, and that is not the owner's secret.
	if need == ownerOnly && pattern != "" && !who.owner {
		return caller{}, api.Problemf(http.StatusForbidden, api.CodeForbidden, "only the owner may do this").
			WithHint("ask the owner: an agent's token does not reach it")
	}
	return bind(who, r.URL.RawQuery)
}

// bind settles which agent the call is about. An agent is always itself.
func bind(who caller, rawQuery string) (caller, *api.Problem) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return caller{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "the query is malformed").
			WithHint("parameters are joined with & and percent-encoded")
	}
	for name, values := range query {
		// Whoever reads the first value and whoever reads the last would disagree.
		if len(values) > 1 {
			return caller{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "query parameter %.40q is given twice", name).
				WithHint("name it once")
		}
	}
	asked := query.Get("agent")
	switch {
	case who.owner:
		who.agent = asked
	case asked != "" && asked != who.agent:
		return caller{}, api.Problemf(http.StatusForbidden, api.CodeForbidden, "this token is agent %q's", who.agent).
			WithHint("leave out the agent, or use the other agent's own token")
	}
	return who, nil
}

// byToken knows callers by their bearer token.
func (s *Server) byToken(r *http.Request) (caller, *api.Problem) {
	const hint = "send the line of owner.token or agents/NAME/token as `Authorization: Bearer …`"
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return caller{}, api.Problemf(http.StatusUnauthorized, api.CodeUnauthorized, "no token was sent").WithHint(hint)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if who, known := s.cfg.Credentials.find(token); known && strings.EqualFold(scheme, "Bearer") {
		return who, nil
	}
	return caller{}, api.Problemf(http.StatusUnauthorized, api.CodeUnauthorized, "the token is not one of this node's").WithHint(hint)
}

// bySocket knows callers by what the kernel said about the connection. A token
// that is sent all the same takes away rights, it never adds any.
func (s *Server) bySocket(r *http.Request) (caller, *api.Problem) {
	if own, _ := r.Context().Value(ownUserKey{}).(bool); !own {
		return caller{}, api.Problemf(http.StatusForbidden, api.CodeForbidden, "this socket is another user's").
			WithHint("use the node as the user who started it, or by its TCP address with a token")
	}
	if len(r.Header.Values("Authorization")) > 0 {
		return s.byToken(r)
	}
	return caller{owner: true}, nil
}

// fromHere refuses what a web page of a stranger can make a browser send: a name
// that was pointed at this machine (T94), or a request from a page that is not
// ours (T95).
func (s *Server) fromHere(r *http.Request) *api.Problem {
	if !slices.Contains(s.cfg.Hosts, r.Host) {
		return api.Problemf(http.StatusForbidden, api.CodeHost, "this node does not go by the name %.80q", r.Host).
			WithHint("call it as %s", strings.Join(s.cfg.Hosts, " or "))
	}
	origin, named := r.Header["Origin"]
	if named && (len(origin) != 1 || origin[0] != "http://"+r.Host) {
		return foreignPage()
	}
	// A page on another port of this machine is same-site, and yet a stranger.
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return foreignPage()
		}
	}
	return nil
}

func foreignPage() *api.Problem {
	return api.Problemf(http.StatusForbidden, api.CodeOrigin, "the request comes from a web page that is not this node's").
		WithHint("web pages cannot use the local API")
}

// takeBody reads a request's body into memory. The deadline is taken back after
// it: when there is no body, the server watches the connection already, and a
// deadline that passes while the handler works looks like a caller who left.
func (s *Server) takeBody(w http.ResponseWriter, r *http.Request) *api.Problem {
	// A form of a stranger's page can send other types without asking first (T95).
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return api.Problemf(http.StatusUnsupportedMediaType, api.CodeInvalid, "a write needs Content-Type: application/json").
			WithHint("also when the body is empty")
	}
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(s.cfg.Limits.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.Limits.MaxRequest))
	_ = ctl.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return api.Problemf(http.StatusRequestEntityTooLarge, api.CodeTooLarge, "the request has more than %d bytes", tooLarge.Limit).
			WithHint("a message holds at most %d bytes: split it, or send a link to it", api.MaxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return api.Problemf(http.StatusRequestTimeout, api.CodeInvalid, "the request did not arrive in time").
			WithHint("send the body at once")
	case err != nil:
		return api.Problemf(http.StatusBadRequest, api.CodeInvalid, "the request did not arrive whole").
			WithHint("send it again")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}
