package schema

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSFiles are the files of a Remote's TLS.
type TLSFiles struct {
	// CA has the certificates to trust instead of the system's.
	CA string
	// Cert and Key are ours, when the registry asks who we are.
	Cert, Key string
	// Insecure trusts everybody. It is for trying things out.
	Insecure bool
}

// Config reads the files; nil when nothing is set.
func (f TLSFiles) Config() (*tls.Config, error) {
	if f == (TLSFiles{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.Insecure}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("schema registry: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("schema registry: %s has no certificate in PEM", f.CA)
		}
	}
	if f.Cert != "" || f.Key != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("schema registry: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
