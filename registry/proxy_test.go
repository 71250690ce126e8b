package registry

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"amesh/registry/db/dbtest"
)

func TestProxies(t *testing.T)             { dbtest.SQLite(t, proxyCases) }
func TestWithPostgresProxies(t *testing.T) { dbtest.Postgres(t, proxyCases) }

var proxyCases = dbtest.Cases{
	"a proxy that nobody named does not lift the rates": testStrangeProxy,
	"behind a named proxy exempt addresses are exempt":  testExemptBehindProxy,
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// askAs asks with a header, and returns the status.
func (h *harness) askAs(path, header, value string) int {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if header != "" {
		r.Header.Set(header, value)
	}
	return h.do(r).status
}

// lines is a log as it comes.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func testStrangeProxy(t *testing.T, url string) {
	log := make(lines, 100)
	h := start(t, url, func(c *Config) {
		c.Limits = DefaultLimits()
		c.Limits.AddressBurst, c.Limits.SearchBurst, c.Exempt = 4, 2, loopback
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	for range 20 {
		if got := h.askAs("/v1/amesh/search", "", ""); got != http.StatusOK {
			t.Fatalf("a neighbour on this machine: %d", got)
		}
	}
	for i, want := range []int{200, 200, 429, 429} {
		if got := h.askAs("/v1/amesh/search", "Forwarded", "for=192.0.2.1"); got != want {
			t.Errorf("search %d through a proxy: %d, want %d", i+1, got, want)
		}
	}
	for _, header := range []string{"X-Forwarded-For", "X-Real-IP"} {
		if got := h.askAs("/v1/registry/stats", header, "192.0.2.2"); got != http.StatusTooManyRequests {
			t.Errorf("%s of another client: %d", header, got)
		}
	}
	if first := <-log; !strings.Contains(first, "--trusted-proxy") || len(log) != 0 {
		t.Errorf("%d more warnings than the one: %s", len(log), first)
	}
}

func testExemptBehindProxy(t *testing.T, url string) {
	h := start(t, url, func(c *Config) {
		c.Limits = DefaultLimits()
		c.Limits.AddressBurst, c.Proxies, c.Exempt = 1, loopback, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	for i, want := range []int{200, 429} {
		if got := h.askAs("/v1/registry/stats", "X-Forwarded-For", "198.51.100.1"); got != want {
			t.Errorf("request %d of a stranger: %d, want %d", i+1, got, want)
		}
		if got := h.askAs("/v1/registry/stats", "X-Forwarded-For", "192.0.2.1"); got != http.StatusOK {
			t.Errorf("request %d of one exempt: %d", i+1, got)
		}
	}
}
