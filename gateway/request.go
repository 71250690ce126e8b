package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/ijson"
	"amesh/internal/prefix"
)

// request is a request that is being answered.
type request struct {
	// Request has a context that ends with Limits.AnswerWait; that of client ends when the
	// client is gone, for what is meant to wait longer.
	*http.Request
	client context.Context
	*parts // nil for early routes before Run has them
	w      *observed
	id     string     // X-Request-ID
	from   netip.Addr // who asks, as far as proxies can be trusted
	now    time.Time
	raw    []byte // the body as received
	held   int64  // bytes of it that are counted
}

// serve answers one request of a route.
func (s *Server) serve(rt *route, w *observed, hr *http.Request) {
	if !rt.early {
		s.awaitStart(hr.Context())
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	ctx, cancel := context.WithTimeout(hr.Context(), s.limits.AnswerWait)
	defer cancel()
	r := &request{Request: hr.WithContext(ctx), client: hr.Context(), parts: s.parts.Load(), w: w, id: w.id, from: s.from(hr), now: w.begun}
	r.TLS = connection(hr)
	defer s.release(r)
	out, err := s.answer(rt, r)
	if err != nil {
		s.refuse(w, s.refusal(r, err))
		return
	}
	if out.handler != nil {
		out.handler.ServeHTTP(w, r.Request)
		return
	}
	s.write(w, out)
}

// startWait is how long a request is held that comes while the store is being opened.
const startWait = time.Second

// awaitStart spares who comes right after the start, because /health has answered, to be
// sent away: that the store is there is a matter of milliseconds.
func (s *Server) awaitStart(ctx context.Context) {
	if s.parts.Load() != nil {
		return
	}
	patience := time.NewTimer(startWait)
	defer patience.Stop()
	select {
	case <-s.ready:
	case <-patience.C:
	case <-ctx.Done():
	}
}

func (s *Server) answer(rt *route, r *request) (reply, error) {
	if r.parts == nil && !rt.early {
		e := amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeServiceUnavailable, "the gateway is starting, or its database is away: try again")
		e.RetryAfter = s.limits.RetryAfter
		return reply{}, e
	}
	if err := rt.may(r); err != nil {
		return reply{}, err
	}
	if r.Body != http.NoBody && r.Method != http.MethodGet && r.Method != http.MethodHead {
		limit := rt.body
		if limit == 0 {
			limit = s.limits.BodyBytes
		}
		if err := s.readBody(r, limit); err != nil {
			return reply{}, err
		}
	}
	return rt.answer(r)
}

// decode reads the body into a struct. Members that it has not are ignored; encoding/json
// finds those that it has in any case of letters, so two that differ in that only are one
// name twice.
func decode[T any](r *request) (T, error) {
	var v T
	members, err := ijson.Object(r.raw, amtp.MaxDepth)
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		name := strings.ToLower(strings.ToUpper(m.Name)) // the long s is an s there
		if seen[name] {
			err = fmt.Errorf("%w: %.100q stands there twice", ijson.ErrMalformed, m.Name)
		}
		seen[name] = true
	}
	if err == nil {
		err = json.Unmarshal(r.raw, &v)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return v, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "%.100s: want %s and not %s", wrong.Field, wrong.Type, wrong.Value)
	}
	if err != nil {
		return v, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "the body is not one JSON object: %.200s", err)
	}
	return v, nil
}

// remote is the address at the other end of the connection.
func remote(hr *http.Request) netip.Addr {
	if a, err := netip.ParseAddrPort(hr.RemoteAddr); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	host, _, err := net.SplitHostPort(hr.RemoteAddr)
	if err != nil {
		host = hr.RemoteAddr
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap().WithZone("")
}

// from is the address that asks, behind proxies that we trust.
func (s *Server) from(hr *http.Request) netip.Addr {
	ip := remote(hr)
	if contains(s.cfg.Proxies, ip) {
		return prefix.ForwardedFor(ip, hr.Header.Values("X-Forwarded-For"), s.cfg.Proxies)
	}
	return ip
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}
