package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"

	"github.com/go-jose/go-jose/v4"
)

// web is an internet of handlers, by host: a transport that needs no sockets.
type web map[string]http.Handler

func (w web) RoundTrip(r *http.Request) (*http.Response, error) {
	h, ok := w[r.URL.Host]
	if !ok {
		return nil, errors.New("no such host: " + r.URL.Host)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(rec, r)
	}()
	select {
	case <-done:
		return rec.Result(), nil
	case <-r.Context().Done():
		<-done
		return nil, r.Context().Err()
	}
}

// issuer is an OpenID Connect issuer that can be told to lie.
type issuer struct {
	url      string
	key      crypto.Signer
	kid      string
	clientID string
	redirect string // the one that it knows
	offerIss bool

	claims map[string]any                      // put over the honest ones; nil removes
	sign   func(i *issuer, body []byte) string // nil: honestly
	token  http.HandlerFunc                    // nil: honestly
	keys   http.HandlerFunc                    // nil: honestly
	trust  bool                                // does not look at PKCE

	mu    sync.Mutex
	codes map[string]url.Values // by code, what was asked for
	spent int                   // how often a code was redeemed
}

func newIssuer(t *testing.T, address, clientID, redirect string) *issuer {
	t.Helper()
	return &issuer{url: address, key: testKey(), kid: "k1", clientID: clientID, redirect: redirect, codes: make(map[string]url.Values)}
}

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		writeJSON(w, map[string]any{
			"issuer": i.url, "authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token",
			"jwks_uri": i.url + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
			"authorization_response_iss_parameter_supported": i.offerIss,
		})
	case "/keys":
		if i.keys != nil {
			i.keys(w, r)
			return
		}
		writeJSON(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: i.kid}}})
	case "/token":
		if i.token != nil {
			i.token(w, r)
			return
		}
		i.redeem(w, r)
	default:
		http.NotFound(w, r)
	}
}

// authorize is what happens in the browser: the human says yes at the page, and
// comes back with a code.
func (i *issuer) authorize(t *testing.T, page string) url.Values {
	t.Helper()
	u, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("client_id") != i.clientID || q.Get("redirect_uri") != i.redirect {
		t.Fatalf("the issuer does not know client %q with redirect %q", q.Get("client_id"), q.Get("redirect_uri"))
	}
	if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 {
		t.Fatalf("no PKCE: %s", page)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	code := "code-" + newSecret()
	i.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	if i.offerIss {
		back.Set("iss", i.url)
	}
	return back
}

func (i *issuer) redeem(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	i.mu.Lock()
	asked, ok := i.codes[r.Form.Get("code")]
	delete(i.codes, r.Form.Get("code"))
	i.spent++
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
	id, _, _ := r.BasicAuth()
	if id == "" {
		id = r.Form.Get("client_id")
	}
	if !ok || id != i.clientID || r.Form.Get("redirect_uri") != asked.Get("redirect_uri") ||
		!i.trust && base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	writeJSON(w, map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": i.idToken(asked.Get("nonce"))})
}

func (i *issuer) idToken(nonce string) string {
	claims := map[string]any{
		"iss": i.url, "aud": i.clientID, "sub": "subject-1", "nonce": nonce, "email_verified": true,
		"preferred_username": "ann", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	for name, v := range i.claims {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	if i.sign != nil {
		return i.sign(i, body)
	}
	return signToken(jose.RS256, i.key, map[jose.HeaderKey]any{"kid": i.kid}, body)
}

func signToken(alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, body []byte) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		panic(err)
	}
	o, err := s.Sign(body)
	if err != nil {
		panic(err)
	}
	text, err := o.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

// publicPEM is the text with which a confused verifier checks an HMAC.
func publicPEM(k crypto.Signer) []byte {
	b, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		panic(err)
	}
	return b
}

func otherKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// states is a States in memory.
type states struct {
	mu  sync.Mutex
	all map[[32]byte]State
}

func newStates() *states { return &states{all: make(map[[32]byte]State)} }

func (m *states) PutOAuthState(s State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for h, old := range m.all {
		if old.AMID == s.AMID && old.Provider == s.Provider {
			delete(m.all, h)
		}
	}
	m.all[s.Hash] = s
	return nil
}

func (m *states) OAuthState(hash [32]byte, now time.Time) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.all[hash]
	if !ok || !now.Before(s.Expires) {
		return State{}, ErrState
	}
	return s, nil
}

func (m *states) OpenOAuthState(hash, browser [32]byte, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.all[hash]
	if !ok || !now.Before(s.Expires) || s.Browser != [32]byte{} && s.Browser != browser {
		return ErrState
	}
	s.Browser = browser
	m.all[hash] = s
	return nil
}

func (m *states) TakeOAuthState(hash, browser [32]byte, now time.Time) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.all[hash]
	if !ok || !now.Before(s.Expires) || s.Browser != browser {
		return State{}, ErrState
	}
	delete(m.all, hash)
	return s, nil
}

// browser keeps cookies.
type browser map[string]string

func (b browser) cookie(name string) string { return b[name] }

// open looks at the page and keeps what it gives.
func (b browser) open(t *testing.T, f *flow, state string) Page {
	t.Helper()
	p, err := f.Open(f.kept, state, b.cookie)
	if err != nil {
		t.Fatal(err)
	}
	b[p.Cookie] = p.Secret
	return p
}

// sent opens a link and says yes; it returns the provider's page.
func (b browser) sent(t *testing.T, f *flow, state string) string {
	t.Helper()
	p := b.open(t, f, state)
	where, err := f.Continue(t.Context(), f.kept, state, p.Confirm, b.cookie)
	if err != nil {
		t.Fatal(err)
	}
	return where
}

// back brings a return of a provider with the given name under the callback.
func (b browser) back(t *testing.T, f *flow, path string, q url.Values) (Done, error) {
	t.Helper()
	return f.Finish(t.Context(), f.kept, Return{
		Path: path, State: q.Get("state"), Denied: q.Get("error") != "",
		Answer: Answer{Code: q.Get("code"), Issuer: q.Get("iss")},
	}, b.cookie)
}

func agent(t *testing.T, seed byte) identity.AMID {
	t.Helper()
	k, err := identity.PrivateKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k.AMID()
}
