package gateway

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
	"amesh/internal/prefix"
)

// bodies counts the bytes of all bodies that are in memory, which is before it is known
// who sends them: many at once, slowly sent, are what a stranger can fill it with.
type bodies struct {
	mu  sync.Mutex
	all int64
	by  map[netip.Prefix]int64
}

func newBodies() bodies { return bodies{by: map[netip.Prefix]int64{}} }

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

var errNoRoom = errors.New("too many bodies are being read or answered")

// hold counts n more bytes of a request's body; release gives all back.
func (s *Server) hold(r *request, n int64) error {
	r.held += n
	all, own := s.bodies.hold(prefix.Of(r.from), n)
	if all > s.limits.BodiesBytes || own > s.limits.BodiesPerAddress && !contains(s.cfg.Proxies, r.from) {
		return errNoRoom
	}
	return nil
}

// noRoom is errNoRoom for the client.
func (s *Server) noRoom() *amtp.Error {
	e := amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeServiceUnavailable, "%s: try again", errNoRoom)
	e.RetryAfter = s.limits.RetryAfter
	return e
}

// holdPage counts messages that go out as a body that came in: who reads slowly, many at once,
// fills the memory as well.
func (s *Server) holdPage(r *request, page []store.Stored) error {
	size := 0
	for _, m := range page {
		size += len(m.Document) + store.RecipientBytes*len(m.Recipients)
	}
	if err := s.hold(r, int64(size)); err != nil {
		return s.noRoom()
	}
	return nil
}

func (s *Server) release(r *request) {
	if r.held != 0 {
		s.bodies.hold(prefix.Of(r.from), -r.held)
		r.held = 0
	}
}

// wholeBody is the longest body for which room is made by what its length is said to be;
// for longer ones it is made as they arrive.
const wholeBody = 64 << 10

// readBody reads a body of at most limit bytes into r.raw.
func (s *Server) readBody(r *request, limit int64) error {
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	err := s.readRaw(r, limit)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoRoom):
		return s.noRoom()
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	return amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "the body broke off")
}

func (s *Server) readRaw(r *request, limit int64) (err error) {
	body := http.MaxBytesReader(r.w.ResponseWriter, r.Body, limit)
	if n := r.ContentLength; n >= 0 && n <= wholeBody {
		if err := s.hold(r, n); err != nil {
			return err
		}
		r.raw = make([]byte, n)
		_, err = io.ReadFull(body, r.raw)
		return err
	}
	r.raw, err = io.ReadAll(metered{body, s, r})
	return err
}

func tooLarge(limit int64) *amtp.Error {
	e := amtp.Errorf(http.StatusRequestEntityTooLarge, amtp.CodePayloadTooLarge, "the body is longer than %d bytes", limit)
	e.Details = map[string]any{"max_size": limit}
	return e
}

// metered is a body that is counted while it is read.
type metered struct {
	io.Reader
	s *Server
	r *request
}

func (m metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if full := m.s.hold(m.r, int64(n)); full != nil {
		return n, full
	}
	return n, err
}
