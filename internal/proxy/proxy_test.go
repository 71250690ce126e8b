package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/internal/proxy/proxytest"

	"github.com/google/go-cmp/cmp"
)

// env is an environment.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func newProxy(t *testing.T, cfg Config) *Proxy {
	t.Helper()
	if cfg.Getenv == nil {
		cfg.Getenv = env()
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWaysAreThoseOfOtherPrograms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		setting      string
		env          []string
		scheme, addr string
		want         string
	}{
		{"nothing is said", Auto, nil, "wss", "relay.example:443", ""},
		{"HTTPS_PROXY for wss", Auto, []string{"HTTPS_PROXY", "http://p:3128"}, "wss", "relay.example:443", "http://p:3128"},
		{"and not for ws", Auto, []string{"HTTPS_PROXY", "http://p:3128"}, "ws", "relay.example:80", ""},
		{"lower case", Auto, []string{"https_proxy", "http://p:3128"}, "https", "r.example:443", "http://p:3128"},
		{"HTTP_PROXY for ws", Auto, []string{"HTTP_PROXY", "p"}, "ws", "relay.example:80", "http://p:80"},
		{"ALL_PROXY for what is left", Auto, []string{"ALL_PROXY", "socks5h://p", "HTTP_PROXY", "q:1"}, "https", "r.example:443", "socks5h://p:1080"},
		{"the narrower one first", Auto, []string{"ALL_PROXY", "socks5h://p", "HTTP_PROXY", "q:1"}, "http", "r.example:80", "http://q:1"},
		{"a URL for all", "https://p", nil, "ws", "relay.example:8765", "https://p:443"},
		{"the owner over the environment", "socks5://p:9", []string{"HTTPS_PROXY", "http://q:1"}, "wss", "relay.example:443", "socks5://p:9"},
		{"none over the environment", None, []string{"HTTPS_PROXY", "http://q:1"}, "wss", "relay.example:443", ""},
		{"NO_PROXY", Auto, []string{"HTTPS_PROXY", "q:1", "NO_PROXY", "other, .example"}, "wss", "Relay.Example:443", ""},
		{"NO_PROXY for a URL of the owner", "http://p:1", []string{"no_proxy", "10.0.0.0/8"}, "wss", "10.1.2.3:443", ""},
		{"NO_PROXY names a port", "http://p:1", []string{"no_proxy", "relay.example:80"}, "wss", "relay.example:443", "http://p:1"},
		{"localhost", "http://p:1", nil, "ws", "LOCALHOST:8765", ""},
		{"loopback", "http://p:1", nil, "ws", "127.3.2.1:8765", ""},
		{"loopback in IPv6", "http://p:1", nil, "ws", "[::1]:8765", ""},
		{"loopback in disguise", "http://p:1", nil, "ws", "[::ffff:127.0.0.1]:8765", ""},
		{"credentials are not shown", "http://user:secret@p:1", nil, "wss", "relay.example:443", "http://p:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, Config{Setting: c.setting, Getenv: env(c.env...)})
			if got := p.Way(c.scheme + "://" + c.addr + "/v1/connect"); got != c.want {
				t.Errorf("goes through %q, want %q", got, c.want)
			}
		})
	}
}

func TestWrongSettingsAreNamedAndKeepTheirSecrets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"another kind", Config{Setting: "ftp://user:secret@p"}, "want http, https or socks5"},
		{"a path", Config{Setting: "http://user:secret@p/path"}, "proxy http://p: want http://HOST:PORT"},
		{"no host", Config{Setting: "http://"}, "want http://HOST:PORT"},
		{"no URL", Config{Setting: "http://user:secret@p:port"}, "not a URL"},
		{"in the environment", Config{Getenv: env("HTTPS_PROXY", "gopher://user:secret@p")}, "no kind of proxy"},
		{"the secret as its place", Config{Credentials: "user:secret"}, "want file:PATH or command:TEXT"},
		{"no file", Config{Credentials: "file:"}, "want file:PATH or command:TEXT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q and no secret", err, c.want)
			}
		})
	}
}

// world is a server behind the name far.test:443.
func world(t *testing.T) map[string]string {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(web.Close)
	return map[string]string{"far.test:443": web.Listener.Addr().String()}
}

// fetch has p open a connection to far.test:443, and speaks HTTP over it.
func fetch(t *testing.T, p *Proxy, addr string) error {
	t.Helper()
	conn, err := p.Dialer("wss://far.test", nil)(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	all, err := io.ReadAll(conn)
	if err == nil && !strings.HasSuffix(string(all), "hello") {
		t.Errorf("the other end says %q", all)
	}
	return err
}

func TestShownSettingsHaveNoCredentials(t *testing.T) {
	for setting, want := range map[string]string{
		"": "", Auto: Auto, None: None, "proxy.example:3128": "http://proxy.example:3128",
		"ann:hunter2@proxy.example:3128": "http://proxy.example:3128", "socks5://ann:h@nter'2@proxy.example": "socks5://proxy.example:1080",
		"http://ann:hunter/2@proxy.example": "(wrong)", "hunter2://x": "(wrong)",
	} {
		if got := Shown(setting); got != want {
			t.Errorf("%s is shown as %s, want %s", setting, got, want)
		}
	}
}

func TestConnectionsGoThroughProxies(t *testing.T) {
	t.Parallel()
	far := world(t)
	secure := proxytest.HTTP(t, far)
	tlsAddr, roots := withTLS(t, secure.Addr)
	for name, c := range map[string]struct {
		setting string
		proxy   *proxytest.Proxy
		secret  string
	}{
		"http":                       {"http://", proxytest.HTTP(t, far), ""},
		"http with a password":       {"http://ann:b%3Ac%40@", proxytest.HTTP(t, far), "ann:b:c@"},
		"https":                      {"https://" + tlsAddr, secure, ""},
		"socks5":                     {"socks5://", proxytest.SOCKS(t, far), ""},
		"socks5h with a password":    {"socks5h://ann:pw@", proxytest.SOCKS(t, far), "ann:pw"},
		"socks5 that wants no names": {"socks5://ann:pw@", proxytest.SOCKS(t, far), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.proxy.Require(c.secret)
			if !strings.HasPrefix(c.setting, "https") {
				c.setting += c.proxy.Addr
			}
			if err := fetch(t, newProxy(t, Config{Setting: c.setting, Roots: roots}), "far.test:443"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"far.test:443 200"}, c.proxy.Asked()); diff != "" {
				t.Errorf("the proxy was asked for (-want +got):\n%s", diff)
			}
		})
	}
}

// withTLS puts TLS in front of an address.
func withTLS(t *testing.T, addr string) (string, *x509.CertPool) {
	web := httptest.NewTLSServer(nil)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	conf := web.TLS
	web.Close()
	return listenTLS(t, conf, addr), roots
}

func TestErrorsSayWhichProxyWhatAndWhatToDo(t *testing.T) {
	t.Parallel()
	far := world(t)
	locked := proxytest.HTTP(t, far)
	locked.Require("ann:right")
	lockedSOCKS := proxytest.SOCKS(t, far)
	lockedSOCKS.Require("ann:right")
	nobody := proxytest.HTTP(t, far)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	for name, c := range map[string]struct {
		setting, addr string
		status        int
		want          []string
	}{
		"another port":            {"http://" + nobody.Addr, "far.test:8765", 403, []string{nobody.Addr, "403 Forbidden", "CONNECT far.test:8765", "port 443 only"}},
		"no credentials":          {"http://" + locked.Addr, "far.test:443", 407, []string{"407 Proxy Authentication Required", "give user and password"}},
		"wrong credentials":       {"http://ann:wrong@" + locked.Addr, "far.test:443", 407, []string{"http://" + locked.Addr, "mend the user and password"}},
		"nobody there":            {"http://" + gone.Addr().String(), "far.test:443", 0, []string{"cannot be reached", "set proxy to none"}},
		"SOCKS no credentials":    {"socks5://" + lockedSOCKS.Addr, "far.test:443", 0, []string{"no acceptable authentication", "give user and password"}},
		"SOCKS other credentials": {"socks5://ann:wrong@" + lockedSOCKS.Addr, "far.test:443", 0, []string{"authentication failed", "mend the user"}},
		"SOCKS that is HTTP":      {"socks5://" + nobody.Addr, "far.test:443", 0, []string{"speaks SOCKS5"}},
		"HTTP that is SOCKS":      {"http://" + lockedSOCKS.Addr, "far.test:443", 0, []string{"does not answer like an HTTP proxy", "right kind"}},
		"https that has no TLS":   {"https://" + nobody.Addr, "far.test:443", 0, []string{"its TLS", "right kind"}},
		"SOCKS another address":   {"socks5://" + proxytest.SOCKS(t, nil).Addr, "far.test:443", 0, []string{"not allowed by ruleset"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := fetch(t, newProxy(t, Config{Setting: c.setting}), c.addr)
			var e *Error
			if !errors.As(err, &e) || e.Status != c.status || e.Next() == "" {
				t.Fatalf("%#v: status %v", err, c.status)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if strings.Contains(err.Error(), "wrong") || strings.Contains(err.Error(), "ann:") {
				t.Errorf("credentials in: %v", err)
			}
		})
	}
}

func TestCredentialsAreReadAgainWhenTheProxyWantsOthers(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http", "socks5"} {
		for _, from := range []string{"file", "command"} {
			t.Run(kind+" and "+from, func(t *testing.T) {
				proxy := proxytest.HTTP(t, world(t))
				if kind == "socks5" {
					proxy = proxytest.SOCKS(t, world(t))
				}
				path := filepath.Join(t.TempDir(), "secret")
				change := func(s string) {
					if err := os.WriteFile(path, []byte(s+"\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				source := "file:" + path
				if from == "command" {
					source = "command:cat '" + path + "'"
				}
				p := newProxy(t, Config{Setting: kind + "://" + proxy.Addr, Credentials: source})
				change("ann:one")
				proxy.Require("ann:one")
				if err := fetch(t, p, "far.test:443"); err != nil {
					t.Fatal(err)
				}
				// Changed, but the old one still serves: nothing is read.
				change("ann:two")
				if err := fetch(t, p, "far.test:443"); err != nil {
					t.Fatal(err)
				}
				proxy.Require("ann:two")
				if err := fetch(t, p, "far.test:443"); err != nil {
					t.Fatal(err)
				}
				proxy.Require("ann:three")
				if err := fetch(t, p, "far.test:443"); err == nil || strings.Contains(err.Error(), "ann") {
					t.Errorf("an old secret: %v", err)
				}
			})
		}
	}
}

func TestSecretsHaveOneFormAndAnEnd(t *testing.T) {
	t.Parallel()
	write := func(s string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ text, header string }{
		"user and password":   {"ann:pass word\r\n", "Basic YW5uOnBhc3Mgd29yZA=="},
		"no password":         {"ann:", "Basic YW5uOg=="},
		"a whole value":       {"Bearer abc:def", "Bearer abc:def"},
		"nothing":             {"\n", ""},
		"two lines":           {"ann:pw\nX-Other: 1", ""},
		"a control character": {"ann:p\x00w", ""},
		"neither":             {"secret", ""},
		"too long":            {"ann:" + strings.Repeat("x", secretBytes), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, source := range []source{{"file", write(c.text)}, {"command", "cat '" + write(c.text) + "'"}} {
				s, err := source.read(context.Background())
				if s.header() != c.header || (err == nil) != (c.header != "") {
					t.Errorf("%s: %q, %v", source.kind, s.header(), err)
				}
				if err != nil && (strings.Contains(err.Error(), "secret:") || strings.Contains(err.Error(), "pw")) {
					t.Errorf("a secret in %v", err)
				}
			}
		})
	}
	if _, err := (source{"command", "exit 3"}).read(context.Background()); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a command that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (source{"command", "cat"}).read(ctx); err == nil {
		t.Error("a command outlives who waits for it")
	}
}

// Whatever a proxy does instead of answering, the connection ends, at the latest after
// openWait, and little of it is read.
func TestHostileProxiesNeitherHangNorFillMemory(t *testing.T) {
	for name, say := range map[string]func(net.Conn){
		"never":                func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"a head without end":   func(c net.Conn) { flood(c, "HTTP/1.1 200 OK\r\nX: ", "x") },
		"a status without end": func(c net.Conn) { flood(c, "HTTP/1.1 200 ", "x") },
		"headers without end":  func(c net.Conn) { flood(c, "HTTP/1.1 200 OK\r\n", "A: b\r\n") },
		"garbage":              func(c net.Conn) { flood(c, "", "\x00\xFF\n") },
		"drop by drop":         func(c net.Conn) { drip(c) },
		"hangs up":             func(net.Conn) {},
		"speaks first": func(c net.Conn) {
			readHead(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
		},
		"an answer of its own": func(c net.Conn) {
			readHead(c)
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n")
		},
	} {
		for _, kind := range []string{"http", "socks5", "https"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var read int
					done := make(chan struct{})
					under := func(context.Context, string, string) (net.Conn, error) {
						near, far := net.Pipe()
						go func() {
							defer close(done)
							say(far)
							_ = far.Close()
						}()
						return counted{near, &read}, nil
					}
					started := time.Now()
					conn, err := newProxy(t, Config{Setting: kind + "://p:1"}).Dialer("wss://far.test", under)(context.Background(), "tcp", "far.test:443")
					if err == nil {
						_ = conn.Close()
						t.Error("there is a connection")
					}
					if took := time.Since(started); took > openWait {
						t.Errorf("took %v", took)
					}
					if len(errText(err)) > 400 {
						t.Errorf("the error is long: %v", err)
					}
					<-done
					if read > 2*headBytes {
						t.Errorf("%d bytes were read", read)
					}
				})
			})
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// counted counts what is read.
type counted struct {
	net.Conn
	n *int
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	*c.n += n
	return n, err
}

func readHead(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }

// flood says something, and then the same without end.
func flood(c net.Conn, begin, more string) {
	readHead(c)
	_, err := io.WriteString(c, begin)
	for err == nil {
		_, err = io.WriteString(c, more)
	}
}

// drip says one byte a second.
func drip(c net.Conn) {
	readHead(c)
	for {
		if _, err := c.Write([]byte("H")); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func TestCallersEndComesBackAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		under := func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			time.AfterFunc(time.Second, cancel)
			return near, nil
		}
		_, err := newProxy(t, Config{Setting: "http://p:1"}).Dialer("wss://far.test", under)(ctx, "tcp", "far.test:443")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the caller's end", err)
		}
	})
}
