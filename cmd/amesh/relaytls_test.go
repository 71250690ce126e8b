package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/internal/https/acmetest"

	"github.com/coder/websocket"
)

// secureDial opens a WebSocket at url on the listener at addr.
func secureDial(t *testing.T, url, addr string, roots *x509.CertPool) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	return ws, err
}

// ownCertificate writes a certificate for 127.0.0.1 and its key.
func ownCertificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", text)
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return cert, key, roots
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRelayWithItsOwnCertificate(t *testing.T) {
	cert, key, roots := ownCertificate(t)
	p := runRelay(t, short(t), nil, "--listen", "127.0.0.1:0", "--stun", off, "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(p.addrs.Relay, "wss://127.0.0.1:") {
		t.Errorf("relay at %s", p.addrs.Relay)
	}
	addr := strings.TrimSuffix(strings.TrimPrefix(p.addrs.Relay, "wss://"), relayPath)
	ws, err := secureDial(t, p.addrs.Relay, addr, roots)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	sayHello(t, ws, 1)
	if ws, err := secureDial(t, "ws://"+addr, addr, nil); err == nil {
		_ = ws.CloseNow()
		t.Error("a connection without TLS")
	}
}

// From the command line to a certificate: an authority in this process comes to the
// port that we hold for the relay, finds its answer there and certifies the name.
func TestRelayGetsItsCertificateByItself(t *testing.T) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m := newManaged(t, file)
	ca := acmetest.Start(t, 1, l.Addr().(*net.TCPAddr).Port)
	trusted := filepath.Join(m.data, "authority.pem")
	writePEM(t, trusted, "CERTIFICATE", ca.Certificate.Raw)
	m.env = []string{"SSL_CERT_FILE=" + trusted}
	m.start("--stun", off, "--http", off, "--domain", "relay.example.test", "--acme-directory", ca.Directory)
	var ws *websocket.Conn
	for end := time.Now().Add(2 * patient); ; time.Sleep(50 * time.Millisecond) {
		if ws, err = secureDial(t, "wss://relay.example.test"+relayPath, l.Addr().String(), ca.Issued); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer func() { _ = ws.CloseNow() }()
	sayHello(t, ws, 1)
	m.end()
	if n := ca.Orders(); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestWhatTLSIsAskedFor(t *testing.T) {
	for name, o := range map[string]tlsOptions{
		"a certificate without a key":  {cert: "x"},
		"a key without a certificate":  {key: "x"},
		"both ways":                    {cert: "x", key: "y", domains: []string{"relay.example"}},
		"no name":                      {domains: []string{"localhost"}},
		"an authority for nothing":     {directory: "https://ca.example"},
		"an authority without TLS":     {directory: "http://ca.example", domains: []string{"relay.example"}},
		"a door that is no address":    {http: "80", domains: []string{"relay.example"}},
		"a mail address for nothing":   {email: "ann@example.com"},
		"a door without automatic TLS": {http: ":80"},
	} {
		if err := o.check(); explain(err).exit != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range []tlsOptions{{}, {cert: "x", key: "y"}, {domains: []string{"relay.example"}, http: off}} {
		if err := o.check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestRedirectKnowsItsNames(t *testing.T) {
	for _, c := range []struct {
		method, url, port string
		status            int
		location          string
	}{
		{"GET", "http://relay.example/a?b=c", "443", 308, "https://relay.example/a?b=c"},
		{"GET", "http://RELAY.example:80/", "8443", 308, "https://relay.example:8443/"},
		{"GET", "http://evil.example/", "443", 404, ""},
		{"GET", "http://192.0.2.1/", "443", 404, ""},
		{"POST", "http://relay.example/", "443", 404, ""},
	} {
		w := httptest.NewRecorder()
		redirect([]string{"relay.example"}, c.port).ServeHTTP(w, httptest.NewRequest(c.method, c.url, nil))
		if w.Code != c.status || w.Header().Get("Location") != c.location {
			t.Errorf("%s %s: %d to %q", c.method, c.url, w.Code, w.Header().Get("Location"))
		}
	}
}
