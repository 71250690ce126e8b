package registry

import (
	"net/http"
	"sync/atomic"
)

// Stats are the numbers of a registry since it started.
type Stats struct {
	// Ready says whether the database is there, and has answered the last time.
	Ready    bool
	Database string // its kind, empty before it is there
	Requests []RequestCount
}

// RequestCount is how many requests to an endpoint were answered with a class of
// statuses: 2 for 200 to 299.
type RequestCount struct {
	Method, Path string
	Class        int
	N            uint64
}

// tally counts the answers of one route by class.
type tally [6]atomic.Uint64

// Stats are the numbers of this moment. Requests to no endpoint have no path.
func (s *Server) Stats() Stats {
	out := Stats{}
	if d := s.db.Load(); d != nil {
		out.Database, out.Ready = d.Kind(), !s.failing.Load()
	}
	add := func(method, path string, t *tally) {
		for class := range t {
			if n := t[class].Load(); n > 0 {
				out.Requests = append(out.Requests, RequestCount{method, path, class, n})
			}
		}
	}
	add("", "", &s.lost)
	for i := range s.routes {
		add(s.routes[i].method, s.routes[i].path, &s.tallies[i])
	}
	return out
}

// noting counts the answers that are written through it.
type noting struct {
	http.ResponseWriter
	tally *tally
	done  bool
}

func (n *noting) WriteHeader(status int) {
	if !n.done {
		n.done = true
		n.tally[min(status/100, len(n.tally)-1)].Add(1)
	}
	n.ResponseWriter.WriteHeader(status)
}

func (n *noting) Write(b []byte) (int, error) {
	if !n.done {
		n.WriteHeader(http.StatusOK)
	}
	return n.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }
