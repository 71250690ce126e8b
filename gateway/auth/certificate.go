package auth

import (
	"crypto/tls"
	"slices"
	"strings"
)

// CertificateNames are the names that a client certificate proves, in lower case: the DNS
// names of a certificate whose chain was verified. One with a wildcard proves nothing, since
// *.example is everybody's to whom somebody at example gave a name. There are none without
// such a certificate.
func CertificateNames(state *tls.ConnectionState) []string {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return nil
	}
	var names []string
	for _, n := range state.PeerCertificates[0].DNSNames {
		n = strings.TrimSuffix(strings.ToLower(n), ".")
		if n != "" && !strings.Contains(n, "*") && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
