// Package acmetest is a certificate authority for tests: the one that Let's Encrypt
// tests with, in the process of the test, with a resolver that knows every name as
// this machine. It needs no internet.
package acmetest

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Authority is an ACME server in this process, with names of its own.
type Authority struct {
	// Directory is the URL that clients are given, and Certificate what its server shows.
	Directory   string
	Certificate *x509.Certificate
	// Issued are the roots of what it issues.
	Issued *x509.CertPool

	orders atomic.Int32
}

// Orders is how many certificates it was asked for.
func (a *Authority) Orders() int { return int(a.orders.Load()) }

// Start runs an authority that looks for every name on this machine, on these ports.
func Start(t *testing.T, httpPort, tlsPort int) *Authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	signer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	validator := va.New(quiet, httpPort, tlsPort, false, resolver(t), store)
	front := wfe.New(quiet, store, validator, signer, []string{"ca.test"}, false, false, 1, 1)
	handler := front.Handler()
	a := &Authority{}
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			a.orders.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	a.Directory, a.Certificate, a.Issued = web.URL+wfe.DirectoryPath, web.Certificate(), x509.NewCertPool()
	if !a.Issued.AppendCertsFromPEM(signer.GetRootCert(0).PEM()) {
		t.Fatal("the authority has no root")
	}
	return a
}

// resolver knows every name as this machine.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   netip.MustParseAddr("127.0.0.1").AsSlice(),
			}}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = srv.Shutdown()
		<-done
	})
	return l.Addr().String()
}
