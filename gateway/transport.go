package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"slices"
	"sync"
)

// secureConfig is the TLS of the listener: certificates come from base, which knows how
// they are renewed. Gateways of other domains may show a certificate too (T86).
//
// A certificate that proves nothing is no reason to hang up: its owner may have another
// proof, or need none. So it is looked at where somebody asks what it proves.
func (s *Server) secureConfig(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(s.cfg.MinTLS, c.MinVersion)
	for _, proto := range []string{"http/1.1", "h2"} {
		if !slices.Contains(c.NextProtos, proto) {
			c.NextProtos = slices.Insert(c.NextProtos, 0, proto)
		}
	}
	if s.cfg.ClientRoots != nil {
		// No authorities are named to the client, since the list of those of the
		// internet is longer than the rest of the handshake.
		c.ClientAuth, c.ClientCAs = tls.RequestClientCert, nil
	}
	return c
}

// chainsKey has, in the context of a connection, what its client certificate proves.
type chainsKey struct{}

// withChains makes the context of a connection. The handshake is yet to come.
func (s *Server) withChains(ctx context.Context, conn net.Conn) context.Context {
	secure, ok := conn.(*tls.Conn)
	if !ok || s.cfg.ClientRoots == nil {
		return ctx
	}
	return context.WithValue(ctx, chainsKey{}, sync.OnceValue(func() [][]*x509.Certificate {
		return s.chains(secure.ConnectionState().PeerCertificates)
	}))
}

// chains are those from a client's certificate to an authority that we trust.
func (s *Server) chains(shown []*x509.Certificate) [][]*x509.Certificate {
	if len(shown) == 0 {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	found, err := shown[0].Verify(x509.VerifyOptions{
		Roots: s.cfg.ClientRoots, Intermediates: between, CurrentTime: s.cfg.Clock(),
		// Authorities of the internet certify servers and nothing else any more; a gateway
		// is both, and what counts is the name of its domain.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		s.log.Debug("client certificate proves nothing", "err", err)
		return nil
	}
	return found
}

// connection is the TLS state of a request's connection, with the chains of its
// client's certificate; nil without TLS.
func connection(hr *http.Request) *tls.ConnectionState {
	chains, ok := hr.Context().Value(chainsKey{}).(func() [][]*x509.Certificate)
	if hr.TLS == nil || !ok || len(hr.TLS.PeerCertificates) == 0 {
		return hr.TLS
	}
	state := *hr.TLS
	state.VerifiedChains = chains()
	return &state
}
