package auth

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"testing"
)

func shown(verified bool, names ...string) *tls.ConnectionState {
	leaf := &x509.Certificate{DNSNames: names}
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	if verified {
		state.VerifiedChains = [][]*x509.Certificate{{leaf}}
	}
	return state
}

func TestCertificateProvesExactlyItsNames(t *testing.T) {
	for _, c := range []struct {
		name  string
		state *tls.ConnectionState
		want  []string
	}{
		{"its own", shown(true, "north.test"), []string{"north.test"}},
		{"several", shown(true, "gw.north.test", "north.test"), []string{"gw.north.test", "north.test"}},
		{"one twice", shown(true, "north.test", "north.test."), []string{"north.test"}},
		{"in other letters", shown(true, "NORTH.test"), []string{"north.test"}},
		{"no TLS", nil, nil},
		{"no certificate", &tls.ConnectionState{}, nil},
		{"not verified", shown(false, "north.test"), nil},
		{"without names", shown(true), nil},
		{"a wildcard", shown(true, "*.test"), nil},
		{"a wildcard beside another", shown(true, "*.north.test", "south.test"), []string{"south.test"}},
	} {
		if got := CertificateNames(c.state); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A name that only stands in the subject is nobody's promise.
func TestCommonNameProvesNothing(t *testing.T) {
	state := shown(true)
	state.PeerCertificates[0].Subject.CommonName = "north.test"
	if got := CertificateNames(state); got != nil {
		t.Errorf("%q", got)
	}
}

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		want   string
	}{
		{"a token", []string{"Bearer abc"}, "abc"},
		{"in other letters", []string{"bearer abc"}, "abc"},
		{"with more space", []string{"  Bearer   abc "}, "abc"},
		{"none", nil, ""},
		{"empty", []string{"Bearer "}, ""},
		{"no token", []string{"Bearer"}, ""},
		{"another scheme", []string{"Basic abc"}, ""},
		{"two headers", []string{"Bearer abc", "Bearer def"}, ""},
	} {
		if got := Bearer(http.Header{"Authorization": c.values}); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
