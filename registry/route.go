package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"amesh/internal/prefix"
	"amesh/internal/strictjson"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// route is one endpoint. It has exactly one of read, change and raw.
type route struct {
	method, path string // as in http.ServeMux

	// read answers anybody and changes nothing that belongs to an agent.
	read func(*request) (reply, error)
	// change answers a request that signer's agent has signed, in a transaction that is
	// committed when it returns no error. It may run several times. The body is read by
	// decode; who asks stands in r.by.
	change func(*db.Tx, *request) (reply, error)
	signer signer
	// prepare asks others what a change has to know, before its transaction; nil:
	// nobody. It leaves what it found in r.prepared.
	prepare func(*request) error
	// raw answers by itself, pages for instance. Only the rates by address apply to it.
	raw http.HandlerFunc

	// cost is how many requests this one counts for; 0 is 1.
	cost int
	// failure shapes a refusal where 0.2 has more than an error in it; nil: as it is.
	failure func(*request, *wire.Error) any
	// early routes answer before the database is there.
	early bool
}

// request is a request that was read.
type request struct {
	*http.Request
	raw     []byte // the body as received
	held    int64  // bytes of it that are counted
	members map[string]json.RawMessage
	from    netip.Addr // who asks, as far as proxies can be trusted
	now     time.Time
	db      *db.DB // nil for early routes before it is open
	by      caller // of a change

	prepared any // what the route's prepare found
	// counted: the caller is new, and counted as such.
	counted bool
}

// reply is an answer in JSON.
type reply struct {
	status      int // 0 is 200
	contentType string
	body        any
}

// routes that are never limited by address: health is asked by machines.
const free = -1

// serveRoutes makes the handler of all routes.
func (s *Server) serveRoutes() (http.Handler, error) {
	mux := http.NewServeMux()
	methods := map[string]bool{}
	s.tallies = make([]tally, len(s.routes))
	for i, rt := range s.routes {
		kinds := 0
		for _, has := range []bool{rt.read != nil, rt.change != nil, rt.raw != nil} {
			if has {
				kinds++
			}
		}
		if kinds != 1 || (rt.change != nil) != (rt.signer != signer{}) {
			return nil, fmt.Errorf("route %s %s: want one of read, change and raw, and a signer with change", rt.method, rt.path)
		}
		methods[rt.method] = true
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			s.gate.RLock()
			defer s.gate.RUnlock()
			s.serve(rt, &noting{ResponseWriter: w, tally: &s.tallies[i]}, r)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.noRoute(mux, methods, &noting{ResponseWriter: w, tally: &s.lost}, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// noRoute says 405 where another method would do, and 404 elsewhere.
func (s *Server) noRoute(mux *http.ServeMux, methods map[string]bool, w http.ResponseWriter, r *http.Request) {
	var allow []string
	for m := range methods {
		other := *r
		other.Method = m
		if _, pattern := mux.Handler(&other); pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		s.write(w, reply{}, wire.Errorf(http.StatusNotFound, wire.CodeNoRoute, "no such endpoint"), nil)
		return
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	s.write(w, reply{}, wire.Errorf(http.StatusMethodNotAllowed, wire.CodeNoRoute, "method not allowed, want %s", strings.Join(allow, " or ")), nil)
}

func (s *Server) serve(rt route, w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr, from: s.from(hr), now: s.cfg.Clock(), db: s.db.Load()}
	if rt.cost != free && !s.unlimited(r) && !s.addresses.Take(r.from, max(rt.cost, 1), r.now) {
		s.write(w, reply{}, tooMany(), nil)
		return
	}
	if rt.raw != nil {
		rt.raw(w, hr)
		return
	}
	ctx, cancel := context.WithTimeout(hr.Context(), s.limits.AnswerWait)
	defer cancel()
	r.Request = hr.WithContext(ctx)
	out, err := s.answer(rt, w, r)
	var shape func(*wire.Error) any
	if rt.failure != nil {
		shape = func(e *wire.Error) any { return rt.failure(r, e) }
	}
	s.write(w, out, s.refusal(r, err), shape)
}

func tooMany() *wire.Error {
	e := wire.Errorf(http.StatusTooManyRequests, wire.CodeRateLimited, "too many requests: wait a little")
	e.RetryAfter = time.Second
	return e
}

// answer reads the request and finds the answer.
func (s *Server) answer(rt route, w http.ResponseWriter, r *request) (reply, error) {
	if r.db == nil && !rt.early {
		return reply{status: http.StatusServiceUnavailable, body: wire.Starting{
			Error: "Service is starting up", Status: "starting", Message: "the database is not there yet", Code: wire.CodeStarting,
		}}, nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		defer s.release(r)
		if err := s.readBody(w, r); err != nil {
			return reply{}, err
		}
	}
	if rt.change != nil {
		return s.changed(rt, r)
	}
	return rt.read(r)
}

// readBody reads a JSON object.
func (s *Server) readBody(w http.ResponseWriter, r *request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return wire.Errorf(http.StatusUnsupportedMediaType, wire.CodeMediaType, "want Content-Type: application/json")
	}
	if err := s.readRaw(w, r, s.limits.BodyBytes); err != nil {
		return err
	}
	list, err := strictjson.Object(r.raw)
	if err != nil {
		return wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "the body is not one JSON object: %.200s", err)
	}
	r.members = make(map[string]json.RawMessage, len(list))
	for _, m := range list {
		r.members[m.Name] = m.Value
	}
	return nil
}

// decode reads the body into a struct. Members that it has not are ignored.
func decode[T any](r *request) (T, error) {
	var v T
	err := json.Unmarshal(r.raw, &v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return v, wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "%.100s: want %s and not %s", wrong.Field, wrong.Type, wrong.Value)
	}
	if err != nil {
		return v, wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "the body has a value that cannot be read")
	}
	return v, nil
}

// text is a member that is a string, and empty if it is not there or none.
func (r *request) text(member string) string {
	var s string
	_ = json.Unmarshal(r.members[member], &s)
	return s
}

// peer is the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap().WithZone("")
}

// from is the address that asks, behind proxies that we trust.
func (s *Server) from(r *http.Request) netip.Addr {
	ip := peer(r)
	if contains(s.cfg.Proxies, ip) {
		return prefix.ForwardedFor(ip, r.Header.Values("X-Forwarded-For"), s.cfg.Proxies)
	}
	return ip
}

func (s *Server) exempt(ip netip.Addr) bool { return contains(s.cfg.Exempt, ip) }

// unlimited reports whether the rates by address do not apply to a request: it comes
// from an exempt address, and speaks for that. What a proxy passes on that nobody named
// as one comes from strangers, who then share the rate of the proxy's address.
func (s *Server) unlimited(r *request) bool {
	if !s.exempt(r.from) {
		return false
	}
	if contains(s.cfg.Proxies, peer(r.Request)) {
		return true
	}
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if len(r.Header.Values(name)) > 0 {
			s.strangeProxy.Do(func() {
				s.log.Warn("requests come through a proxy that is not trusted, so all its clients have one rate together: "+
					"name it with --trusted-proxy", "proxy", r.from)
			})
			return false
		}
	}
	return true
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// refusal is what a stranger is told of an error.
func (s *Server) refusal(r *request, err error) *wire.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	if db.Unavailable(err) {
		if !errors.Is(r.Context().Err(), context.Canceled) { // else it is the client who gave up
			s.storageResult(err)
		}
		e := wire.Errorf(http.StatusServiceUnavailable, wire.CodeUnavailable, "the database does not answer: try again")
		e.RetryAfter = s.limits.RetryAfter
		return e
	}
	s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	return wire.Errorf(http.StatusInternalServerError, wire.CodeInternal, "internal error")
}

// write answers, with the refusal if there is one.
func (s *Server) write(w http.ResponseWriter, out reply, refused *wire.Error, shape func(*wire.Error) any) {
	if refused != nil {
		out = reply{status: refused.Status, body: refused}
		if shape != nil {
			out.body = shape(refused)
		}
		if refused.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(max(1, int(refused.RetryAfter.Seconds()))))
		}
	}
	b, err := json.Marshal(out.body)
	if err != nil {
		s.log.Error("answer failed", "err", err)
		out.status, b = http.StatusInternalServerError, []byte(`{"error":"internal error","code":"internal"}`)
	}
	if out.contentType == "" {
		out.contentType = "application/json"
	}
	h := w.Header()
	h.Set("Content-Type", out.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if out.status == 0 {
		out.status = http.StatusOK
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}

// orNotFound turns a row that is not there into a 404 with that text.
func orNotFound(err error, text string) error {
	if errors.Is(err, db.ErrNotFound) {
		return wire.NotFound(text)
	}
	return err
}
