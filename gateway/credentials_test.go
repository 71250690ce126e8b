package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/gatewaytest"
	"amesh/internal/outward"
)

// letter is a message from one address to another.
func letter(from, to string) map[string]any {
	return map[string]any{"version": "1.0", "sender": from, "recipients": []string{to}, "payload": 1}
}

// deliver sends a message with a bearer token, or none.
func deliver(g *gatewaytest.Gateway, from, to, token string) gatewaytest.Answer {
	if token == "" {
		return g.Do(http.MethodPost, "/v1/messages", letter(from, to))
	}
	return g.Do(http.MethodPost, "/v1/messages", letter(from, to), "Authorization", "Bearer "+token)
}

// T86: an API key speaks for its domain, until it is rotated, and for no other one.
func TestAPIKeySpeaksForItsDomainT86(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	var made struct {
		ID  string `json:"id"`
		Key string `json:"api_key"`
	}
	g.Admin(http.MethodPost, "/v1/admin/apikeys", map[string]any{"name": "south", "domain": "south.test", "scopes": []string{auth.ScopeSend}}).
		Want(http.StatusCreated).Into(&made)
	var sent amtp.SendResult
	deliver(g, "sam@south.test", bob.Address, made.Key).Want(http.StatusOK).Into(&sent)
	if got := deliver(g, "wes@west.test", bob.Address, made.Key).Want(http.StatusForbidden); got.Code() != amtp.CodeSenderDomainMismatch {
		t.Errorf("another domain: %s", got.Body)
	}
	if got := deliver(g, bob.Address, bob.Address, made.Key).Want(http.StatusForbidden); got.Code() != amtp.CodeSenderCredentialMismatch {
		t.Errorf("an agent of ours: %s", got.Body)
	}
	if v := bob.Status(sent.MessageID).Verification; v == nil || v.Result != amtp.Authenticated || v.Method != "apikey" || v.Domain != "south.test" {
		t.Errorf("%+v", v)
	}
	g.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil, "Authorization", "Bearer "+made.Key).Want(http.StatusForbidden)
	g.Do(http.MethodGet, "/v1/discovery/agents", nil, "Authorization", "Bearer "+made.Key).Want(http.StatusForbidden) // it may only send
	old := made.Key
	g.Admin(http.MethodPost, "/v1/admin/apikeys/"+made.ID+"/rotate-key", nil).Want(http.StatusOK).Into(&made)
	if got := deliver(g, "sam@south.test", bob.Address, old).Want(http.StatusUnauthorized); got.Code() != amtp.CodeInvalidCredentials {
		t.Errorf("a rotated key: %s", got.Body)
	}
	deliver(g, "sam@south.test", bob.Address, made.Key).Want(http.StatusOK)
	g.Admin(http.MethodDelete, "/v1/admin/apikeys/"+made.ID, nil).Want(http.StatusOK)
	deliver(g, "sam@south.test", bob.Address, made.Key).Want(http.StatusUnauthorized)
}

// Row 51: a token of a trusted server is validated, and speaks for what its scopes say.
func TestOAuthTokensAreValidated(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	login := httptest.NewServer(mux)
	t.Cleanup(login.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": login.URL, "jwks_uri": login.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	})
	token := func(scope, audience string, life time.Duration) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": login.URL, "aud": audience, "sub": "c1", "scope": scope, "exp": time.Now().Add(life).Unix(),
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	g := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Auth.Issuers = []auth.Issuer{{URL: login.URL, Audiences: []string{"gw.a.test"}, Domains: []string{"south.test", "a.test"}}}
		c.Auth.Tokens = outward.Config{HTTP: true, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	}, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	deliver(g, "sam@south.test", bob.Address, token("amtp:send amtp:domain:south.test", "gw.a.test", time.Hour)).Want(http.StatusOK)
	deliver(g, alice.Address, bob.Address, token("amtp:send amtp:sender:alice@a.test", "gw.a.test", time.Hour)).Want(http.StatusOK)
	for _, c := range []struct {
		name, from, token string
		status            int
		code              amtp.Code
	}{
		{"any token", "sam@south.test", "x", http.StatusUnauthorized, amtp.CodeInvalidCredentials},
		{"another service's", "sam@south.test", token("amtp:send amtp:domain:south.test", "gw.b.test", time.Hour), http.StatusUnauthorized, amtp.CodeInvalidCredentials},
		{"an old one", "sam@south.test", token("amtp:send amtp:domain:south.test", "gw.a.test", -time.Hour), http.StatusUnauthorized, amtp.CodeTokenExpired},
		{"one to read", "sam@south.test", token("amtp:read amtp:domain:south.test", "gw.a.test", time.Hour), http.StatusForbidden, amtp.CodeAccessDenied},
		{"south's for west", "wes@west.test", token("amtp:send amtp:domain:south.test", "gw.a.test", time.Hour), http.StatusForbidden, amtp.CodeSenderDomainMismatch},
		{"alice's for bob", bob.Address, token("amtp:send amtp:sender:alice@a.test", "gw.a.test", time.Hour), http.StatusForbidden, amtp.CodeSenderCredentialMismatch},
		{"south's for alice", alice.Address, token("amtp:send amtp:domain:south.test", "gw.a.test", time.Hour), http.StatusForbidden, amtp.CodeSenderCredentialMismatch},
	} {
		if got := deliver(g, c.from, bob.Address, c.token); got.Status != c.status || got.Code() != c.code {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
	}
	read := token("amtp:read amtp:sender:bob@a.test", "gw.a.test", time.Hour)
	g.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil, "Authorization", "Bearer "+read).Want(http.StatusOK)
	g.Do(http.MethodGet, "/v1/inbox/"+alice.Address, nil, "Authorization", "Bearer "+read).Want(http.StatusForbidden)
	whole := token("amtp:read amtp:domain:a.test", "gw.a.test", time.Hour)
	g.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil, "Authorization", "Bearer "+whole).Want(http.StatusForbidden)
}

// T87: a block counts with the answer to who ordered it, and until it is lifted.
func TestBlockCountsAtOnceT87(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	deliver(g, "eve@evil.test", bob.Address, "").Want(http.StatusOK)
	g.Admin(http.MethodPut, "/v1/admin/domains/evil.test", map[string]string{"state": "blocked"}).Want(http.StatusOK)
	for _, from := range []string{"eve@evil.test", "eve@more.evil.test", "eve@EVIL.test"} {
		if got := deliver(g, from, bob.Address, "").Want(http.StatusForbidden); got.Code() != amtp.CodeDomainBlocked {
			t.Errorf("%s: %s", from, got.Body)
		}
	}
	deliver(g, "eve@notevil.test", bob.Address, "").Want(http.StatusOK)
	g.Admin(http.MethodDelete, "/v1/admin/domains/evil.test", nil).Want(http.StatusOK)
	deliver(g, "eve@evil.test", bob.Address, "").Want(http.StatusOK)
}

// T87 and checklist 112: the 61st message of a stranger's domain is refused, and says when to
// come back; what the operator knows is not counted so.
func TestStrangersHaveSixtyMessagesAnHourT87(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	for range 60 {
		deliver(g, "eve@strange.test", bob.Address, "").Want(http.StatusOK)
	}
	got := deliver(g, "eve@strange.test", bob.Address, "").Want(http.StatusTooManyRequests)
	if got.Code() != amtp.CodeRateLimitExceeded || got.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", got.Header, got.Body)
	}
	if n := len(bob.Inbox()); n != 60 {
		t.Errorf("%d messages", n)
	}
	g.Admin(http.MethodPut, "/v1/admin/domains/strange.test", map[string]string{"state": "known"}).Want(http.StatusOK)
	deliver(g, "eve@strange.test", bob.Address, "").Want(http.StatusOK)
}
