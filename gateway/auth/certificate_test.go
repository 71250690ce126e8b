package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
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
		want  error
	}{
		{"its own", shown(true, "north.test"), nil},
		{"among others", shown(true, "gw.north.test", "north.test"), nil},
		{"in other letters", shown(true, "NORTH.test"), nil},
		{"no TLS", nil, ErrNone},
		{"no certificate", &tls.ConnectionState{}, ErrNone},
		{"not verified", shown(false, "north.test"), ErrNone},
		{"without names", shown(true), ErrNone},
		{"another domain", shown(true, "south.test"), ErrWrong},
		{"a host below", shown(true, "a.north.test"), ErrWrong},
		{"a domain above", shown(true, "test"), ErrWrong},
		{"a wildcard above", shown(true, "*.test"), ErrNone},
		{"a wildcard below", shown(true, "*.north.test", "south.test"), ErrWrong},
	} {
		got, err := ByCertificateOf(c.state, "North.test")
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && (got.Kind != Gateway || got.Domain != "north.test" || got.Method != ByCertificate) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// A name that only stands in the subject is nobody's promise.
func TestCommonNameProvesNothing(t *testing.T) {
	state := shown(true)
	state.PeerCertificates[0].Subject.CommonName = "north.test"
	if _, err := ByCertificateOf(state, "north.test"); !errors.Is(err, ErrNone) {
		t.Error(err)
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
