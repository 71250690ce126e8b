package gateway

import (
	"log/slog"
	"maps"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"time"

	"amesh/gateway/amtp"
)

// observed is an answer of which status and size are known afterwards.
type observed struct {
	http.ResponseWriter
	id     string // of the request
	begun  time.Time
	route  *route // nil: none
	status int
	bytes  int64
	code   amtp.Code // of the error in it
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Write(p []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	n, err := o.ResponseWriter.Write(p)
	o.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// observe is around all endpoints: every request has an id, every answer its fixed
// headers, and what went wrong is an error in JSON, even where code broke.
func (s *Server) observe(mux *http.ServeMux) http.Handler {
	mux.HandleFunc("/", func(w http.ResponseWriter, hr *http.Request) { s.noRoute(mux, w.(*observed), hr) })
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		o := &observed{ResponseWriter: w, id: requestID(hr), begun: s.cfg.Clock()}
		h := w.Header()
		maps.Copy(h, s.fixed)
		h["X-Request-Id"] = []string{o.id}
		if hr.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		}
		s.allowOrigin(h, hr)
		s.metrics.Begin()
		defer s.noteRequest(o, hr)
		defer s.caught(o, hr)
		if hr.Method == http.MethodOptions {
			o.WriteHeader(http.StatusNoContent)
			return
		}
		if p := hr.URL.Path; p != "/" && p != path.Clean(p) {
			s.refuse(o, noEndpoint()) // the mux would send it elsewhere, and the body would be lost
			return
		}
		mux.ServeHTTP(o, hr)
	})
}

// caught answers for code that broke. The gateway goes on: one request must not end
// what serves all.
func (s *Server) caught(o *observed, hr *http.Request) {
	broke := recover()
	if broke == nil {
		return
	}
	if broke == http.ErrAbortHandler {
		panic(broke)
	}
	s.log.Error("request broke", "method", hr.Method, "request_id", o.id, "panic", broke, "stack", string(debug.Stack()))
	if o.status == 0 {
		s.refuse(o, amtp.Errorf(http.StatusInternalServerError, amtp.CodeProcessingFailed, "internal error"))
	}
}

// noteRequest counts a request that was answered, and writes it to the access log: no
// query, no header but the agent's name, nothing of a body, so no secret.
func (s *Server) noteRequest(o *observed, hr *http.Request) {
	now, pattern := s.cfg.Clock(), ""
	if o.route != nil {
		pattern = o.route.path
	}
	s.metrics.End(hr.Method, pattern, o.status, now.Sub(o.begun), o.code)
	if s.cfg.Access != nil {
		s.cfg.Access.LogAttrs(hr.Context(), slog.LevelInfo, "request", accessLine(o, hr, s.from(hr), now)...)
	}
}

// requestIDBytes is the longest id of a request that a client may choose.
const requestIDBytes = 128

// requestID is the id that the client gave a request, or a new one.
func requestID(hr *http.Request) string {
	id := hr.Header.Get("X-Request-ID")
	if id == "" || len(id) > requestIDBytes || slices.ContainsFunc([]byte(id), func(b byte) bool { return b < '!' || b > '~' }) {
		return amtp.NewKey()
	}
	return id
}

// fixedHeaders are in every answer.
func fixedHeaders(cfg Config) http.Header {
	h := http.Header{
		"X-Content-Type-Options": {"nosniff"},
		"X-Frame-Options":        {"DENY"},
		"X-Xss-Protection":       {"1; mode=block"},
		"Referrer-Policy":        {"strict-origin-when-cross-origin"},
		"Cache-Control":          {"no-store"},
	}
	if cfg.AnyOrigin {
		maps.Copy(h, corsHeaders)
	}
	if len(cfg.Origins) > 0 || cfg.AnyOrigin {
		h["Vary"] = []string{"Origin"}
	}
	return h
}

// corsHeaders say what a browser's page of another origin may do.
var corsHeaders = http.Header{
	"Access-Control-Allow-Methods":  {"GET, POST, PUT, PATCH, DELETE, OPTIONS"},
	"Access-Control-Allow-Headers":  {"Content-Type, Authorization, Prefer, X-Request-ID, X-AMTP-Version, X-Admin-Key"},
	"Access-Control-Expose-Headers": {"X-Request-ID, Retry-After"},
	"Access-Control-Max-Age":        {"86400"},
}

// allowOrigin lets a page of an allowed origin read the answer. Cookies are never used,
// so no origin is allowed to send any.
func (s *Server) allowOrigin(h http.Header, hr *http.Request) {
	origin := hr.Header.Get("Origin")
	if origin == "" || !s.cfg.AnyOrigin && !slices.Contains(s.cfg.Origins, origin) {
		return
	}
	maps.Copy(h, corsHeaders)
	h["Access-Control-Allow-Origin"] = []string{origin}
}
