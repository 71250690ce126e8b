package outward

import (
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"amesh/internal/proxy"
)

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// door counts who connects to it.
type door struct {
	net.Listener
	connects atomic.Int32
}

func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err == nil {
		d.connects.Add(1)
	}
	return conn, err
}

func listen(t *testing.T, addr string) *door {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &door{Listener: l}
}

// serve serves h at a listener and returns its port.
func serve(t *testing.T, l net.Listener, h http.Handler) string {
	t.Helper()
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func quiet(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// T80: 120 spellings and more, by every kind of client: nothing is contacted.
func TestInternalHostsAreBlocked(t *testing.T) {
	t.Parallel()
	inside := listen(t, "127.0.0.1:0")
	port := serve(t, inside, http.HandlerFunc(quiet))
	way := listen(t, "127.0.0.1:0")
	serve(t, way, http.HandlerFunc(quiet))
	out, err := proxy.New(proxy.Config{Setting: "http://" + way.Addr().String(), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	number := netip.MustParseAddrPort("127.0.0.1:" + port).Port()
	clients := map[string]*Client{
		"https":                newClient(t, Config{Ports: []uint16{443, number}}),
		"http too":             newClient(t, Config{HTTP: true, Ports: []uint16{80, 443, number}}),
		"behind a proxy":       newClient(t, Config{HTTP: true, Ports: []uint16{80, 443, number}, Proxy: out}),
		"another prefix named": newClient(t, Config{HTTP: true, Ports: []uint16{number}, Allowed: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}),
	}
	if len(internalHosts) < 120 {
		t.Fatalf("only %d spellings", len(internalHosts))
	}
	for name, c := range clients {
		for _, host := range internalHosts {
			if name == "another prefix named" && localName(host) {
				continue // such a name is resolved there, by a DNS that is not this test's
			}
			for _, target := range []string{"https://" + host + ":" + port + "/", "http://" + host + "/"} {
				if _, err := c.Get(t.Context(), target); !errors.Is(err, ErrBlocked) {
					t.Errorf("%s: %s: err = %v, want ErrBlocked", name, target, err)
				}
			}
		}
	}
	if n := inside.connects.Load() + way.connects.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestWhatIsRefusedBeforeAnyNameIsResolved(t *testing.T) {
	t.Parallel()
	c := newClient(t, Config{AllowedHosts: []string{"peer:8080", "Friend.Example"}})
	for target, why := range map[string]string{
		"http://example.com/":                      "scheme",
		"ftp://example.com/":                       "scheme",
		"file:///etc/passwd":                       "scheme",
		"gopher://example.com":                     "scheme",
		"//example.com/":                           "scheme",
		"https:example.com":                        "host",
		"https:///x":                               "host",
		"https://u:p@example.com/":                 "user",
		"https://example.com:/":                    "port",
		"https://example.com:22/":                  "port 22",
		"https://example.com:80/":                  "port 80",
		"http://peer:8081/":                        "scheme",
		"https://93.184.215.14:6379/":              "port",
		"https://[2606:4700::1]:25/":               "port",
		"https://x/" + strings.Repeat("a", maxURL): "too long",
		"https://exa\x7fmple.com/":                 "no URL",
	} {
		if err := c.Check(target); !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60q: %v, want %q", target, err, why)
		}
	}
	for _, target := range []string{"https://example.com", "https://EXAMPLE.com:443/x?y", "https://93.184.215.14/", "https://[2606:4700::1]/",
		"https://a_b.example.com/", "http://peer:8080/hook", "https://friend.example.:9999/", "http://FRIEND.example/"} {
		if err := c.Check(target); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestAllowedHostsAreHosts(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"", "http://a", "a/b", "u@a", "a:b:c", ":80"} {
		if _, err := New(Config{AllowedHosts: []string{host}}); err == nil {
			t.Errorf("%q is taken", host)
		}
	}
}

func TestNamedPrefixIsContacted(t *testing.T) {
	t.Parallel()
	inside := listen(t, "127.0.0.1:0")
	port := serve(t, inside, http.HandlerFunc(quiet))
	for name, cfg := range map[string]Config{
		"prefix":        {HTTP: true, Allowed: loopback},
		"host":          {AllowedHosts: []string{"127.0.0.1"}},
		"host and port": {AllowedHosts: []string{"127.0.0.1:" + port}},
	} {
		resp, err := newClient(t, cfg).Get(t.Context(), "http://127.0.0.1:"+port)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = resp.Body.Close()
	}
}

// T82.
func TestRedirectsAreHandedToTheCaller(t *testing.T) {
	t.Parallel()
	aim := listen(t, "127.0.0.1:0")
	to := serve(t, aim, http.HandlerFunc(quiet))
	for _, location := range []string{"http://127.0.0.1:" + to, "https://127.0.0.1:" + to, "/elsewhere", "file:///etc/passwd", "http://localhost/"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			}))
			c := newClient(t, Config{HTTP: true, Allowed: loopback})
			resp, err := c.Get(t.Context(), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != status || aim.connects.Load() != 0 {
				t.Errorf("%d to %s: status %d, %d connections", status, location, resp.StatusCode, aim.connects.Load())
			}
			_ = resp.Body.Close()
			server.Close()
		}
	}
}

// T82: 10 MB, an endless body, and one that swells when it is unpacked.
func TestAnswersEndAtTheLimit(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"10 MB": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for _, err := w.Write(make([]byte, 4096)); err == nil; _, err = w.Write(make([]byte, 4096)) {
			}
		},
		"one byte more": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1001)) },
	} {
		server := httptest.NewServer(answer)
		resp, err := newClient(t, Config{HTTP: true, Allowed: loopback, Limits: Limits{Body: 1000}}).Get(t.Context(), server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if len(body) != 1000 || !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %d bytes, %v", name, len(body), err)
		}
		_ = resp.Body.Close()
		server.Close()
	}
}

func TestAnswersAtTheLimitAreWhole(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1000)) }))
	defer server.Close()
	resp, err := newClient(t, Config{HTTP: true, Allowed: loopback, Limits: Limits{Body: 1000}}).Get(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); len(body) != 1000 || err != nil {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestNothingIsUnpacked(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asked for %s", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(make([]byte, 1<<20))
		_ = z.Close()
	}))
	defer server.Close()
	resp, err := newClient(t, Config{HTTP: true, Allowed: loopback}).Get(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) > 8<<10 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// T82: whatever the other side does not do, it ends.
func TestSlowAnswersEndAtTheTimeout(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half a body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		server := httptest.NewServer(answer)
		resp, err := newClient(t, Config{HTTP: true, Allowed: loopback, Limits: Limits{Timeout: 100 * time.Millisecond}}).Get(t.Context(), server.URL)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if wait, ok := errors.AsType[net.Error](err); !ok || !wait.Timeout() {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server, min uint16
		fits        bool
	}{
		"1.1":                     {tls.VersionTLS11, 0, false},
		"1.2":                     {tls.VersionTLS12, 0, true},
		"1.3":                     {tls.VersionTLS13, 0, true},
		"1.2 where 1.3 is wanted": {tls.VersionTLS12, tls.VersionTLS13, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(quiet))
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: c.server}
			server.Config.ErrorLog = nil
			server.StartTLS()
			defer server.Close()
			roots := x509.NewCertPool()
			roots.AddCert(server.Certificate())
			resp, err := newClient(t, Config{Allowed: loopback, Roots: roots, MinTLS: c.min}).Get(t.Context(), server.URL)
			if (err == nil) != c.fits {
				t.Fatalf("err = %v", err)
			}
			if err == nil {
				_ = resp.Body.Close()
				if resp.TLS.Version != c.server {
					t.Errorf("version %x", resp.TLS.Version)
				}
			}
		})
	}
}

func TestUnknownCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(quiet))
	server.StartTLS()
	defer server.Close()
	if _, err := newClient(t, Config{Allowed: loopback}).Get(t.Context(), server.URL); err == nil {
		t.Error("a stranger's certificate was taken")
	}
}

func TestServersLearnWhoWeAre(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || r.Header.Get("User-Agent") != "AMTP/1.0 (amesh)" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	ours := &server.TLS.Certificates[0]
	c := newClient(t, Config{Allowed: loopback, Roots: roots, UserAgent: "AMTP/1.0 (amesh)",
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return ours, nil }})
	resp, err := c.Get(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("status %d by %s", resp.StatusCode, resp.Proto)
	}
}

// Behind a proxy, the proxy resolves: the way is taken for names, and for what is named.
func TestProxyGetsNamesOnly(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	way := listen(t, "127.0.0.1:0")
	serve(t, way, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusForbidden)
	}))
	out, err := proxy.New(proxy.Config{Setting: "http://" + way.Addr().String(), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Config{Proxy: out, Allowed: loopback})
	if _, err := c.Get(t.Context(), "https://example.com/"); err == nil {
		t.Error("the proxy refused, and there is an answer")
	}
	if got := <-asked; got != "CONNECT example.com:443" {
		t.Errorf("asked %q", got)
	}
	for _, target := range []string{"https://localhost/", "https://redis.local/", "https://10.1.2.3/", "https://example.com:22/"} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CheckURL(u); !errors.Is(err, ErrBlocked) && target != "https://localhost/" {
			t.Errorf("%s: %v", target, err)
		}
	}
}
