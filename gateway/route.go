package gateway

import (
	"net/http"
	"slices"
	"strings"

	"amesh/gateway/amtp"
)

// route is one endpoint. Each subject of the API adds its own, from its own file.
type route struct {
	method, path string // as in http.ServeMux
	// may returns why the caller may not, before the body is read: anyone, s.admins, ….
	may func(*request) error
	// answer answers. Its errors are *amtp.Error where the client is to learn more than
	// that it went wrong.
	answer func(*request) (reply, error)
	// body is the longest body; 0 is Limits.BodyBytes.
	body int64
	// early routes answer before the database is there, and while it is away.
	early bool
}

// anyone may call.
func anyone(*request) error { return nil }

// reply is an answer.
type reply struct {
	status int // 0 is 200
	// body is written as JSON; a json.RawMessage as it is; nil: nothing.
	body   any
	header http.Header // more headers; nil: none
	// handler answers instead of all this, where it is not nil.
	handler http.Handler
}

// serveRoutes makes the handler of all routes.
func (s *Server) serveRoutes() http.Handler {
	mux := http.NewServeMux()
	methods := map[string]bool{}
	for i := range s.routes {
		rt := &s.routes[i]
		methods[rt.method] = true
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, hr *http.Request) {
			o := w.(*observed)
			o.route = rt
			s.serve(rt, o, hr)
		})
	}
	s.methods = nil
	for m := range methods {
		s.methods = append(s.methods, m)
	}
	slices.Sort(s.methods)
	return s.observe(mux)
}

// noRoute says 405 where another method would do, and 404 elsewhere.
func (s *Server) noRoute(mux *http.ServeMux, w *observed, hr *http.Request) {
	var allow []string
	for _, m := range s.methods {
		other := *hr
		other.Method = m
		if _, pattern := mux.Handler(&other); pattern != "/" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		s.refuse(w, noEndpoint())
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	s.refuse(w, amtp.Errorf(http.StatusMethodNotAllowed, amtp.CodeMethodNotAllowed, "method not allowed, want %s", strings.Join(allow, " or ")))
}

func noEndpoint() *amtp.Error {
	return amtp.Errorf(http.StatusNotFound, amtp.CodeNotFound, "no such endpoint")
}
