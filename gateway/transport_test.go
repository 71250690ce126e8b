package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/gateway/auth"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	cert := authority{}.sign(t, template)
	return authority{cert: cert.Leaf, key: cert.PrivateKey.(*ecdsa.PrivateKey)}
}

// sign makes a certificate; that of an authority without a key is its own.
func (a authority) sign(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if signer == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// of makes a certificate for a name.
func (a authority) of(t *testing.T, name string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	return a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// secured serves a gateway with TLS, whose /names says what a client's certificate proves.
func secured(t *testing.T, ca authority, change func(*Config)) (url string) {
	t.Helper()
	s := closed(t, change)
	s.routes = append(s.routes, route{method: http.MethodGet, path: "/names", may: anyone, early: true, answer: func(r *request) (reply, error) {
		return reply{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Join(auth.CertificateNames(r.TLS), " "))
		})}, nil
	}})
	s.handler = s.serveRoutes()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ours := ca.of(t, "a.test", x509.ExtKeyUsageServerAuth)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{ours}, NextProtos: []string{"acme-tls/1"}})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "https://" + l.Addr().String()
}

// get asks with a TLS configuration, and returns the body.
func get(t *testing.T, url string, ca authority, c *tls.Config) (*http.Response, string, error) {
	t.Helper()
	c.RootCAs, c.ServerName = ca.pool(), "a.test"
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body), nil
}

// Promise 9: TLS 1.3 and HTTP/2, older ones where the operator says so.
func TestListenerSpeaksTheVersionThatIsConfigured(t *testing.T) {
	ca := newAuthority(t)
	for _, c := range []struct {
		name     string
		min, max uint16
		fits     bool
	}{
		{"1.3", 0, tls.VersionTLS13, true},
		{"1.2", 0, tls.VersionTLS12, false},
		{"1.2, allowed", tls.VersionTLS12, tls.VersionTLS12, true},
		{"1.1", tls.VersionTLS12, tls.VersionTLS11, false},
	} {
		url := secured(t, ca, func(cfg *Config) { cfg.MinTLS = c.min })
		resp, _, err := get(t, url+"/health", ca, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: c.max})
		if (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (resp.TLS.Version != c.max || resp.ProtoMajor != 2) {
			t.Errorf("%s: %x by %s", c.name, resp.TLS.Version, resp.Proto)
		}
	}
}

// T86: a certificate proves a domain when an authority that the operator trusts signed it.
func TestClientCertificatesProveWhatAnAuthoritySigned(t *testing.T) {
	ca, friends, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	old := friends.sign(t, &x509.Certificate{SerialNumber: big.NewInt(3), DNSNames: []string{"b.test"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	url := secured(t, ca, func(cfg *Config) { cfg.ClientRoots = friends.pool() })
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		want string
	}{
		{"none", nil, ""},
		{"a client's", new(friends.of(t, "b.test", x509.ExtKeyUsageClientAuth)), "b.test"},
		{"a server's", new(friends.of(t, "b.test", x509.ExtKeyUsageServerAuth)), "b.test"},
		{"for signing code", new(friends.of(t, "b.test", x509.ExtKeyUsageCodeSigning)), ""},
		{"a stranger's", new(strangers.of(t, "b.test", x509.ExtKeyUsageClientAuth)), ""},
		{"one that is over", &old, ""},
		{"its own", new(authority{}.of(t, "b.test", x509.ExtKeyUsageClientAuth)), ""},
	} {
		for _, protos := range [][]string{{"h2"}, {"http/1.1"}} {
			config := &tls.Config{NextProtos: protos, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if c.cert == nil {
					return new(tls.Certificate), nil
				}
				return c.cert, nil
			}}
			_, body, err := get(t, url+"/names", ca, config)
			if err != nil || body != c.want {
				t.Errorf("%s, %s: %q, %v", c.name, protos, body, err)
			}
		}
	}
}

func TestNobodyIsAskedForACertificateWithoutAuthorities(t *testing.T) {
	ca := newAuthority(t)
	url := secured(t, ca, nil)
	_, body, err := get(t, url+"/names", ca, &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		t.Error("asked for a certificate")
		return new(tls.Certificate), nil
	}})
	if err != nil || body != "" {
		t.Errorf("%q, %v", body, err)
	}
}

// Challenges of an ACME authority are a protocol of their own.
func TestSecureConfigKeepsWhatTheCertificatesNeed(t *testing.T) {
	c := closed(t, nil).secureConfig(&tls.Config{NextProtos: []string{"acme-tls/1"}})
	if want := []string{"h2", "http/1.1", "acme-tls/1"}; !slices.Equal(c.NextProtos, want) || c.ClientAuth != tls.NoClientCert {
		t.Errorf("%q, %v", c.NextProtos, c.ClientAuth)
	}
}
