package peer_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"amesh/gateway/peer"
	"amesh/internal/outward"
)

func TestTokensOfAPeer(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		_ = r.ParseForm()
		asked <- id + " " + secret + " " + r.Form.Get("grant_type") + " " + r.Form.Get("scope") + " " + r.Form.Get("audience")
		if secret != "s3cret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"fresh","token_type":"Bearer","expires_in":3600}`)
	})
	oauth := func(secret string) *peer.OAuth {
		return &peer.OAuth{TokenURL: url, ClientID: "us", ClientSecret: secret, Scopes: []string{"amtp"}, Audience: "c.test"}
	}
	tokens, err := peer.NewTokens(client(t, url, outward.Limits{}), map[string]peer.Credential{
		"b.test": {APIKey: "k3y"},
		"c.test": {OAuth: oauth("s3cret")},
		"d.test": {APIKey: "k3y", OAuth: oauth("s3cret")},
		"e.test": {OAuth: oauth("wrong")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		domain string
		auth   []string
		want   string
		failed bool
	}{
		{domain: "a.test"},
		{domain: "b.test", want: "k3y"},
		{domain: "b.test", auth: []string{"oauth"}, want: "k3y"},
		{domain: "c.test", want: "fresh"},
		{domain: "c.test", want: "fresh"},
		{domain: "d.test", auth: []string{"apikey"}, want: "k3y"},
		{domain: "d.test", auth: []string{"apikey", "oauth"}, want: "fresh"},
		{domain: "e.test", failed: true},
	} {
		got, err := tokens.Token(t.Context(), c.domain, c.auth)
		if got != c.want || (err != nil) != c.failed {
			t.Errorf("%s %v: %q, %v", c.domain, c.auth, got, err)
		}
	}
	if got := <-asked; got != "us s3cret client_credentials amtp c.test" {
		t.Error(got)
	}
	if len(asked) != 3 { // d.test's and, in both ways of showing a secret, e.test's; c.test's token was kept
		t.Errorf("%d further requests", len(asked))
	}
}

func TestCredentialsAreCheckedAndHidden(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]peer.Credential{
		"nothing": {}, "no URL": {OAuth: &peer.OAuth{ClientID: "us"}}, "no id": {OAuth: &peer.OAuth{TokenURL: "https://t.test"}},
	} {
		if _, err := peer.NewTokens(nil, map[string]peer.Credential{"b.test": c}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if text := fmt.Sprintf("%v %+v", peer.Credential{APIKey: "k3y"}, peer.OAuth{ClientSecret: "s3cret"}); text != "(hidden) (hidden)" {
		t.Error(text)
	}
}
