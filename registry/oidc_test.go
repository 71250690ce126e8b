package registry

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/registry/db/dbtest"
	"amesh/registry/oauth"
	"amesh/registry/wire"

	"github.com/go-jose/go-jose/v4"
)

func TestOpenID(t *testing.T)             { dbtest.SQLite(t, openIDCases) }
func TestWithPostgresOpenID(t *testing.T) { dbtest.Postgres(t, openIDCases) }

var openIDCases = dbtest.Cases{
	"T68 an issuer on a socket":     testOpenID,
	"T68 a code of another browser": testOpenIDInjected,
}

// idp is an OpenID Connect issuer on loopback.
type idp struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu    sync.Mutex
	asked map[string]url.Values // by code
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &idp{key: key, asked: make(map[string]url.Values)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		say(w, object{"issuer": i.URL, "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token",
			"jwks_uri": i.URL + "/keys", "authorization_response_iss_parameter_supported": true})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		say(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1"}}})
	})
	mux.HandleFunc("POST /token", i.token)
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return i
}

func say(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// comeBack is the human who says yes: the path under which the browser returns.
func (i *idp) comeBack(t *testing.T, page string) url.Values {
	t.Helper()
	u, err := url.Parse(page)
	if err != nil || !strings.HasPrefix(page, i.URL+"/auth?") || u.Query().Get("redirect_uri") != "https://registry.example/v1/auth/oauth/callback/work" {
		t.Fatalf("sent to %s", page)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	code := "code of " + u.Query().Get("state")
	i.asked[code] = u.Query()
	return url.Values{"code": {code}, "state": {u.Query().Get("state")}, "iss": {i.URL}}
}

func (i *idp) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	i.mu.Lock()
	asked, ok := i.asked[r.Form.Get("code")]
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
	id, secret, _ := r.BasicAuth()
	if !ok || id != "client" || secret != "secret" || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	body, _ := json.Marshal(object{
		"iss": i.URL, "aud": "client", "sub": "248289761001", "nonce": asked.Get("nonce"), "email": "jane@example.com", "email_verified": true,
		"name": "Jane Secretive", "iat": noon.Unix(), "exp": noon.Add(time.Hour).Unix(),
	})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		panic(err)
	}
	text, _ := signed.CompactSerialize()
	say(w, object{"access_token": "an-access-token", "token_type": "Bearer", "id_token": text})
}

func withIDP(t *testing.T, at string) (*harness, *idp) {
	i := newIDP(t)
	return start(t, at, proving(t, newHub()), func(c *Config) {
		c.OAuth = oauth.Config{Base: "https://registry.example",
			Issuers: []oauth.Issuer{{Client: oauth.Client{ID: "client", Secret: "secret"}, Name: "work", Display: "Work", URL: i.URL}}}
	}), i
}

// sent takes a link to the provider's page.
func (b *browser) sent(link answer) (state, page string) {
	b.h.t.Helper()
	state, _ = link.want(http.StatusOK).body["state"].(string)
	shown := b.visit(http.MethodGet, "/v1/auth/oauth/start?state="+state, nil).want(http.StatusOK)
	form := url.Values{"state": {state}, "confirm": {hidden.FindStringSubmatch(shown.raw)[1]}}
	return state, b.visit(http.MethodPost, "/v1/auth/oauth/start", form).want(http.StatusSeeOther).header.Get("Location")
}

const workCallback = "/v1/auth/oauth/callback/work?"

func testOpenID(t *testing.T, at string) {
	h, i := withIDP(t, at)
	key := testKey(t, 1)
	h.register(key, strictly)
	b := h.browser()
	body := object{"amid": key.AMID().String(), "provider": "work"}
	state, page := b.sent(h.post("/v1/auth/oauth/authorize", key, strictly, body))
	secrets := []string{state, "an-access-token", "jane@example.com", "Jane Secretive"}
	for _, value := range b.cookies {
		secrets = append(secrets, value)
	}
	u, _ := url.Parse(page)
	secrets = append(secrets, u.Query().Get("nonce"))
	checkNotKept(t, at, secrets)
	back := i.comeBack(t, page)
	b.visit(http.MethodGet, workCallback+back.Encode(), nil).want(http.StatusOK).has(object{"success": true, "provider": "work"})
	if got := h.tier(key); got != "verified" {
		t.Errorf("tier %s", got)
	}
	checkNotKept(t, at, secrets)
	h.post("/v1/amesh/oauth/withdraw", key, strictly, object{"amid": key.AMID().String()}).want(http.StatusOK)
	if got := h.tier(key); got != "anonymous" {
		t.Errorf("tier %s", got)
	}
}

// checkNotKept looks for secrets and for what tells who somebody is in the files of an
// SQLite database.
func checkNotKept(t *testing.T, at string, secrets []string) {
	t.Helper()
	path, ok := strings.CutPrefix(at, "sqlite://")
	if !ok {
		return
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	kept := 0
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "oauth_states") {
			kept++
		}
		for _, s := range secrets {
			if strings.Contains(string(raw), s) {
				t.Errorf("%s has %q", filepath.Base(f), s)
			}
		}
	}
	if kept == 0 {
		t.Error("the files that were looked at are not the database")
	}
}

func testOpenIDInjected(t *testing.T, at string) {
	h, i := withIDP(t, at)
	attacker, victim := testKey(t, 1), testKey(t, 2)
	h.register(attacker, strictly)
	h.register(victim, strictly)
	theirs, mine := h.browser(), h.browser()
	_, page := theirs.sent(h.post("/v1/auth/oauth/authorize", attacker, strictly, object{"amid": attacker.AMID().String(), "provider": "work"}))
	stolen := i.comeBack(t, page).Get("code")
	_, page = mine.sent(h.post("/v1/auth/oauth/authorize", victim, strictly, object{"amid": victim.AMID().String(), "provider": "work"}))
	back := i.comeBack(t, page)
	back.Set("code", stolen)
	mine.visit(http.MethodGet, workCallback+back.Encode(), nil).want(http.StatusBadRequest).code(wire.CodeOAuthToken)
	_, page = mine.sent(h.post("/v1/auth/oauth/authorize", victim, strictly, object{"amid": victim.AMID().String(), "provider": "work"}))
	back = i.comeBack(t, page)
	back.Set("iss", "https://evil.example")
	mine.visit(http.MethodGet, workCallback+back.Encode(), nil).want(http.StatusBadRequest).code(wire.CodeOAuthToken)
	if got := h.tier(victim); got != "anonymous" {
		t.Errorf("tier %s", got)
	}
}
