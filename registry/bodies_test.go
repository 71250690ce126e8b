package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

// slowBody is a body that hangs in the middle.
type slowBody struct {
	begin io.Reader
	begun chan<- struct{}
	end   <-chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if n, err := b.begin.Read(p); err == nil {
		return n, nil
	}
	if b.begun != nil {
		close(b.begun)
		b.begun = nil
	}
	<-b.end
	return 0, io.EOF
}

func TestBodiesInMemoryAreBounded(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{
		"of one address": func(t *testing.T, url string) {
			testBodies(t, url, "192.0.2.1:1", map[string]int{"192.0.2.1:2": 503, "192.0.2.2:1": 400}, func(l *Limits) { l.BodiesPerAddress = 1000 })
		},
		"of all": func(t *testing.T, url string) {
			testBodies(t, url, "192.0.2.1:1", map[string]int{"192.0.2.2:1": 503, "198.51.100.1:1": 503}, func(l *Limits) { l.BodiesBytes = 1000 })
		},
		"exempt addresses have all": func(t *testing.T, url string) {
			testBodies(t, url, "198.51.100.1:1", map[string]int{"198.51.100.1:2": 400}, func(l *Limits) { l.BodiesPerAddress = 1000 })
		},
	})
}

// testBodies has one address send most of 1,000 bytes, and others 400 bytes meanwhile.
func testBodies(t *testing.T, url, first string, others map[string]int, change func(*Limits)) {
	h := start(t, url, func(c *Config) {
		c.Limits = DefaultLimits()
		change(&c.Limits)
		c.Exempt = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	send := func(from string, body io.Reader) answer {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/registry/status", body)
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.server.Handler().ServeHTTP(w, r)
		return answer{t: t, status: w.Code, header: w.Header(), raw: w.Body.String()}
	}
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		send(first, &slowBody{strings.NewReader(strings.Repeat(" ", 900)), begun, end})
	}()
	<-begun
	for from, status := range others {
		if a := send(from, strings.NewReader(strings.Repeat(" ", 400))); a.status != status || status == 503 && a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, want %d: %s", from, a.status, status, a.raw)
		}
	}
	close(end)
	<-ended
	for from := range others {
		send(from, strings.NewReader(strings.Repeat(" ", 400))).want(400)
	}
	if b := &h.server.bodies; b.all != 0 || len(b.by) != 0 {
		t.Errorf("%d bytes of %d addresses are counted when all is over", b.all, len(b.by))
	}
}

// A body of the size that the longest valid requests have is taken, and no more.
func TestBodiesAreShort(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url)
		key := testKey(t, 1)
		body := profile(key)
		list := make([]string, 64)
		for i := range list {
			list[i] = strings.Repeat("\u2028", 42) // six bytes each in JSON
		}
		body["capabilities"] = list
		h.post("/v1/registry/register", key, strictly, body).want(201)
		body["more"] = strings.Repeat("x", 64<<10)
		h.post("/v1/registry/register", key, strictly, body).want(413).code(wire.CodeTooLarge)
	}})
}
