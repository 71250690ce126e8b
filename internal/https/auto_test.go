package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/internal/https/acmetest"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// speak serves TLS on a listener, shaking hands and nothing more.
func speak(t *testing.T, l net.Listener, cfg *tls.Config) {
	t.Helper()
	l = tls.NewListener(l, cfg)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = c.(*tls.Conn).HandshakeContext(context.Background())
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
}

// certified dials until a certificate for the name comes that the authority signed.
func certified(t *testing.T, a *acmetest.Authority, addr, name string, events *lockedBuffer) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: a.Issued, ServerName: name})
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no certificate: %v\n%s", err, events)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func trusting(ca *acmetest.Authority) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	return roots
}

func open(t *testing.T, cfg AutoConfig) *Auto {
	t.Helper()
	a, err := OpenAuto(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestACertificateComesByItselfAndIsKept(t *testing.T) {
	l, port := listen(t)
	ca := acmetest.Start(t, 1, port) // nobody answers HTTP
	var events lockedBuffer
	folder := t.TempDir()
	cfg := AutoConfig{
		Domains: []string{"relay.example.test", "other.example.test"}, Folder: folder, Directory: ca.Directory,
		Roots: trusting(ca), Host: "127.0.0.1", TLSPort: port, Logger: slog.New(slog.NewTextHandler(&events, nil)),
	}
	a := open(t, cfg)
	speak(t, l, a.TLS())
	for _, name := range cfg.Domains {
		certified(t, ca, l.Addr().String(), name, &events)
	}
	if !strings.Contains(events.String(), `msg="certificate obtained" domain=relay.example.test`) {
		t.Errorf("log: %s", &events)
	}
	if c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "stranger.example.test"}); err == nil {
		_ = c.Close()
		t.Error("a certificate for a name that nobody asked for")
	}
	_ = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if fi, infoErr := d.Info(); err != nil || infoErr != nil || strings.HasSuffix(path, ".key") && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, fi, err)
		}
		return nil
	})

	// The next process has it without asking.
	orders := ca.Orders()
	l2, _ := listen(t)
	speak(t, l2, open(t, cfg).TLS())
	certified(t, ca, l2.Addr().String(), cfg.Domains[0], &events)
	if n := ca.Orders(); n != orders || orders != 2 {
		t.Errorf("%d orders, and %d after a restart", orders, n)
	}
}

func TestACertificateComesOverHTTP(t *testing.T) {
	l, _ := listen(t)
	h, port := listen(t)
	ca := acmetest.Start(t, port, 1) // nobody answers TLS
	var events lockedBuffer
	a := open(t, AutoConfig{
		Domains: []string{"relay.example.test"}, Folder: t.TempDir(), Directory: ca.Directory,
		Roots: trusting(ca), Host: "127.0.0.1", TLSPort: 1, HTTPPort: port, Logger: slog.New(slog.NewTextHandler(&events, nil)),
	})
	web := &http.Server{Handler: a.Challenges(http.NotFoundHandler())}
	go func() { _ = web.Serve(h) }()
	t.Cleanup(func() { _ = web.Close() })
	speak(t, l, a.TLS())
	certified(t, ca, l.Addr().String(), "relay.example.test", &events)
	resp, err := http.Get("http://" + h.Addr().String() + "/")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatalf("what is no challenge: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

func TestWhatNobodyCertifies(t *testing.T) {
	for _, name := range []string{"", "localhost", "relay", "127.0.0.1", "2001:db8::1", "*.example.com", "Relay.example.com", "a b.example", "relay.example:443", "relay.local"} {
		if err := CheckDomain(name); !errors.Is(err, ErrDomain) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := CheckDomain("relay.example.com"); err != nil {
		t.Error(err)
	}
	for _, cfg := range []AutoConfig{{}, {Domains: []string{"relay.example.com"}}, {Domains: []string{"localhost"}, Folder: "x"}} {
		if _, err := OpenAuto(cfg); err == nil {
			t.Errorf("opened %+v", cfg)
		}
	}
}
