package registry

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"

	"amesh/internal/prefix"
	"amesh/registry/wire"
)

// bodies counts the bytes of all bodies that are in memory, which is before it is known
// who sends them: many at once, slowly sent, are what a stranger can fill it with.
type bodies struct {
	mu  sync.Mutex
	all int64
	by  map[netip.Prefix]int64
}

// hold counts n more bytes of an address and returns how many those of all are, and its own.
func (b *bodies) hold(from netip.Prefix, n int64) (all, own int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all += n
	if own = b.by[from] + n; own == 0 {
		delete(b.by, from)
	} else {
		b.by[from] = own
	}
	return b.all, own
}

var errNoRoom = errors.New("too many bodies are being read")

// metered is a body that is counted while it is read.
type metered struct {
	io.Reader
	s *Server
	r *request
}

func (m metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.r.held += int64(n)
	all, own := m.s.bodies.hold(prefix.Of(m.r.from), int64(n))
	if all > m.s.limits.BodiesBytes || own > m.s.limits.BodiesPerAddress && !m.s.unlimited(m.r) {
		return n, errNoRoom
	}
	return n, err
}

// readRaw reads a body of at most max bytes. It counts until release.
func (s *Server) readRaw(w http.ResponseWriter, r *request, max int64) error {
	var err error
	r.raw, err = io.ReadAll(metered{http.MaxBytesReader(w, r.Body, max), s, r})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return wire.Errorf(http.StatusRequestEntityTooLarge, wire.CodeTooLarge, "body of more than %d bytes", max)
	}
	if errors.Is(err, errNoRoom) {
		e := wire.Errorf(http.StatusServiceUnavailable, wire.CodeUnavailable, "%s: try again", errNoRoom)
		e.RetryAfter = s.limits.RetryAfter
		return e
	}
	if err != nil {
		return wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "the body broke off")
	}
	return nil
}

// release ends the counting of a request's body.
func (s *Server) release(r *request) {
	s.bodies.hold(prefix.Of(r.from), -r.held)
	r.held = 0
}
