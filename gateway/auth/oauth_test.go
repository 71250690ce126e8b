package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// server is an authorization server: metadata, keys, and introspection of opaque tokens.
type server struct {
	*httptest.Server
	signer *ecdsa.PrivateKey
	keys   atomic.Pointer[jose.JSONWebKeySet]
	active map[string]map[string]any // opaque token: what is told of it
	asked  atomic.Int32              // for keys
	intro  atomic.Int32              // about tokens
	down   atomic.Bool
}

func newServer(t *testing.T) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{signer: key, active: map[string]map[string]any{}}
	s.keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Use: "sig", Algorithm: "ES256"}}})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": s.URL, "jwks_uri": s.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		_ = json.NewEncoder(w).Encode(s.keys.Load())
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		s.intro.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "gw" || secret != "s%3Acret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		said, ok := s.active[r.FormValue("token")]
		if !ok {
			said = map[string]any{"active": false}
		}
		_ = json.NewEncoder(w).Encode(said)
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// claims are those of a good token; nil members of change are left out, others replaced.
func (s *server) claims(now time.Time, change map[string]any) map[string]any {
	c := map[string]any{
		"iss": s.URL, "aud": "https://gw.north.test", "sub": "client-7", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(),
		"scope": "openid amtp:send amtp:domain:south.test",
	}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func (s *server) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	return sign(t, jose.ES256, jose.JSONWebKey{Key: s.signer, KeyID: "k1"}, "at+jwt", claims)
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, typ string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *server) oauth(t *testing.T, now func() time.Time, edit func(*Issuer)) *OAuth {
	t.Helper()
	i := Issuer{URL: s.URL, Audiences: []string{"https://gw.north.test"}, Domains: []string{"South.test", "east.test"}}
	if edit != nil {
		edit(&i)
	}
	o, err := NewOAuth([]Issuer{i}, s.Client(), now)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Every way in which a token can be for somebody else, or nobody's.
func TestTokensThatAreNotForUs(t *testing.T) {
	t.Parallel()
	s, now := newServer(t), time.Now()
	o := s.oauth(t, time.Now, nil)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := s.claims(now, nil)
	public, err := x509.MarshalPKIXPublicKey(s.signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(s.token(t, good), ".")[1] + "."
	head := strings.Split(s.token(t, good), ".")
	for _, c := range []struct {
		name  string
		token string
		want  error
	}{
		{"good", s.token(t, good), nil},
		{"several audiences", s.token(t, s.claims(now, map[string]any{"aud": []string{"x", "https://gw.north.test"}})), nil},
		{"scopes in an array", s.token(t, s.claims(now, map[string]any{"scope": []string{"amtp:send", "amtp:domain:south.test"}})), nil},
		{"just over, within the leeway", s.token(t, s.claims(now, map[string]any{"exp": now.Add(-Leeway / 2).Unix()})), nil},
		{"of a type that is none", sign(t, jose.ES256, jose.JSONWebKey{Key: s.signer, KeyID: "k1"}, "JWT", good), nil},

		{"none", "", ErrNone},
		{"no token", "nope", ErrWrong},
		{"over", s.token(t, s.claims(now, map[string]any{"exp": now.Add(-2 * Leeway).Unix()})), ErrExpired},
		{"without an end", s.token(t, s.claims(now, map[string]any{"exp": nil})), ErrWrong},
		{"not yet", s.token(t, s.claims(now, map[string]any{"nbf": now.Add(2 * Leeway).Unix()})), ErrWrong},
		{"issued in the future", s.token(t, s.claims(now, map[string]any{"iat": now.Add(2 * Leeway).Unix()})), ErrWrong},
		{"for another service", s.token(t, s.claims(now, map[string]any{"aud": "https://gw.south.test"})), ErrWrong},
		{"for nobody", s.token(t, s.claims(now, map[string]any{"aud": nil})), ErrWrong},
		{"of another issuer", s.token(t, s.claims(now, map[string]any{"iss": "https://evil.test"})), ErrWrong},
		{"of nobody", s.token(t, s.claims(now, map[string]any{"iss": nil})), ErrWrong},
		{"signed by somebody else", sign(t, jose.ES256, jose.JSONWebKey{Key: other, KeyID: "k1"}, "at+jwt", good), ErrWrong},
		{"with a key that there is not", sign(t, jose.ES256, jose.JSONWebKey{Key: s.signer, KeyID: "k9"}, "at+jwt", good), ErrWrong},
		{"with a key of its own in it", selfContained(t, other, good), ErrWrong},
		{"unsigned", unsigned, ErrWrong},
		{"signed with the public key as a secret", sign(t, jose.HS256, jose.JSONWebKey{Key: public, KeyID: "k1"}, "at+jwt", good), ErrWrong},
		{"changed", head[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+s.URL+`"}`)) + "." + head[2], ErrWrong},
		{"a proof and no token", sign(t, jose.ES256, jose.JSONWebKey{Key: s.signer, KeyID: "k1"}, "dpop+jwt", good), ErrWrong},
		{"a logout", sign(t, jose.ES256, jose.JSONWebKey{Key: s.signer, KeyID: "k1"}, "logout+jwt", good), ErrWrong},
		{"nobody's", s.token(t, s.claims(now, map[string]any{"scope": "amtp:send"})), ErrWrong},
		{"without scopes", s.token(t, s.claims(now, map[string]any{"scope": nil})), ErrWrong},
		{"two domains'", s.token(t, s.claims(now, map[string]any{"scope": "amtp:domain:east.test amtp:domain:south.test"})), ErrWrong},
		{"a domain that its issuer has no say in", s.token(t, s.claims(now, map[string]any{"scope": "amtp:send amtp:domain:west.test"})), ErrWrong},
		{"a sender there", s.token(t, s.claims(now, map[string]any{"scope": "amtp:send amtp:sender:ann@west.test"})), ErrWrong},
		{"no domain", s.token(t, s.claims(now, map[string]any{"scope": "amtp:send amtp:domain:"})), ErrWrong},
		{"no sender", s.token(t, s.claims(now, map[string]any{"scope": "amtp:send amtp:sender:south.test"})), ErrWrong},
		{"bound to a key", s.token(t, s.claims(now, map[string]any{"cnf": map[string]any{"jkt": "x"}})), ErrWrong},
		{"bound to a certificate", s.token(t, s.claims(now, map[string]any{"cnf": map[string]any{"x5t#S256": "x"}})), ErrWrong},
		{"endless", strings.Repeat("A", TokenSize+1), ErrWrong},
	} {
		got, err := o.Caller(t.Context(), c.token, nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && (got.Kind != Client || got.Method != ByOAuth || got.Domain != "south.test" || got.ID != "client-7" || !got.May(ScopeSend) || got.May(ScopeRead)) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if err != nil && c.token != "" && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: the error has the token in it", c.name)
		}
	}
}

// selfContained is a token that brings the key for its own signature.
func selfContained(t *testing.T, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokenForOneSender(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.oauth(t, time.Now, nil)
	got, err := o.Caller(t.Context(), s.token(t, s.claims(time.Now(), map[string]any{"scope": "amtp:read amtp:sender:Ann@South.test", "sub": nil, "client_id": "c9"})), nil)
	if err != nil || got.Agent != "Ann@south.test" || got.Domain != "south.test" || got.ID != "c9" || !got.May(ScopeRead) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTokenBoundToACertificateNeedsIt(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.oauth(t, time.Now, nil)
	sum := sha256.Sum256([]byte("certificate"))
	token := s.token(t, s.claims(time.Now(), map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}))
	with := func(raw string) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw)}}}
	}
	if _, err := o.Caller(t.Context(), token, with("certificate")); err != nil {
		t.Error(err)
	}
	if _, err := o.Caller(t.Context(), token, with("another")); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	if _, err := o.Caller(t.Context(), token, &tls.ConnectionState{}); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
}

func TestIssuersRotateTheirKeys(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	now := time.Now()
	o := s.oauth(t, func() time.Time { return now }, nil)
	old := s.token(t, s.claims(now, nil))
	if _, err := o.Caller(t.Context(), old, nil); err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: public, KeyID: "k2"}, {Key: big.Public(), KeyID: "k3", Use: "sig"}, {Key: []byte("a secret of somebody"), KeyID: "k4"},
		{Key: big.Public(), KeyID: "k5", Use: "enc"},
	}})
	second := sign(t, jose.EdDSA, jose.JSONWebKey{Key: private, KeyID: "k2"}, "at+jwt", s.claims(now, nil))
	if _, err := o.Caller(t.Context(), second, nil); !errors.Is(err, ErrWrong) {
		t.Errorf("asked again within the pause: %v", err)
	}
	now = now.Add(KeysPause)
	for name, token := range map[string]string{
		"EdDSA": second,
		"RS256": sign(t, jose.RS256, jose.JSONWebKey{Key: big, KeyID: "k3"}, "at+jwt", s.claims(now, nil)),
		"PS256": sign(t, jose.PS256, jose.JSONWebKey{Key: big, KeyID: "k3"}, "at+jwt", s.claims(now, nil)),
	} {
		if _, err := o.Caller(t.Context(), token, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, token := range map[string]string{
		"the old key":           old,
		"a secret":              sign(t, jose.HS256, jose.JSONWebKey{Key: []byte("a secret of somebody.............."), KeyID: "k4"}, "at+jwt", s.claims(now, nil)),
		"a key for other uses":  sign(t, jose.RS256, jose.JSONWebKey{Key: big, KeyID: "k5"}, "at+jwt", s.claims(now, nil)),
		"another key's name":    sign(t, jose.RS256, jose.JSONWebKey{Key: big, KeyID: "k2"}, "at+jwt", s.claims(now, nil)),
		"a key nobody heard of": sign(t, jose.RS256, jose.JSONWebKey{Key: big, KeyID: "k8"}, "at+jwt", s.claims(now, nil)),
	} {
		if _, err := o.Caller(t.Context(), token, nil); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times for its keys", n)
	}
}

func TestAlgorithmsCanBeNarrowed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.oauth(t, time.Now, func(i *Issuer) { i.Algorithms = []string{"RS256"} })
	if _, err := o.Caller(t.Context(), s.token(t, s.claims(time.Now(), nil)), nil); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
}

// An issuer that is away is not the token's fault, and its keys serve for a while.
func TestIssuerThatIsAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	now := time.Now()
	token := s.token(t, s.claims(now, map[string]any{"exp": now.Add(24 * time.Hour).Unix()}))
	s.down.Store(true)
	o := s.oauth(t, func() time.Time { return now }, nil)
	if _, err := o.Caller(t.Context(), token, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("never there: %v", err)
	}
	s.down.Store(false)
	now = now.Add(KeysPause)
	if _, err := o.Caller(t.Context(), token, nil); err != nil {
		t.Errorf("back: %v", err)
	}
	s.down.Store(true)
	now = now.Add(KeysStale - time.Second)
	if _, err := o.Caller(t.Context(), token, nil); err != nil {
		t.Errorf("away again: %v", err)
	}
	now = now.Add(KeysPause)
	if _, err := o.Caller(t.Context(), token, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("away for too long: %v", err)
	}
}

func TestOpaqueTokensAreAskedAbout(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	now := time.Now()
	o := s.oauth(t, func() time.Time { return now }, func(i *Issuer) {
		i.Introspection = Introspection{URL: s.URL + "/introspect", ClientID: "gw", ClientSecret: "s:cret"}
	})
	told := func(change map[string]any) map[string]any {
		c := s.claims(now, change)
		c["active"] = true
		return c
	}
	s.active["good"] = told(nil)
	s.active["silent about its issuer"] = told(map[string]any{"iss": nil})
	s.active["another issuer"] = told(map[string]any{"iss": "https://evil.test"})
	s.active["another service"] = told(map[string]any{"aud": "https://gw.south.test"})
	s.active["no service"] = told(map[string]any{"aud": nil})
	s.active["over"] = told(map[string]any{"exp": now.Add(-time.Hour).Unix()})
	s.active["endless"] = told(map[string]any{"exp": nil})
	s.active["another domain"] = told(map[string]any{"scope": "amtp:domain:west.test"})
	jwtToken := s.token(t, s.claims(now, nil))
	s.active[jwtToken] = map[string]any{"active": false}
	for token, want := range map[string]error{
		"good": nil, "silent about its issuer": nil, "another issuer": ErrWrong, "another service": ErrWrong, "no service": ErrWrong,
		"over": ErrExpired, "endless": ErrWrong, "another domain": ErrWrong, "never heard of": ErrWrong, jwtToken: ErrWrong,
	} {
		if _, err := o.Caller(t.Context(), token, nil); !errors.Is(err, want) {
			t.Errorf("%.30s: %v, want %v", token, err, want)
		}
	}
	before := s.intro.Load()
	for range 3 {
		_, _ = o.Caller(t.Context(), "good", nil)
		_, _ = o.Caller(t.Context(), "never heard of", nil)
	}
	if n := s.intro.Load() - before; n != 0 {
		t.Errorf("asked %d times again", n)
	}
	delete(s.active, "good")
	now = now.Add(IntrospectionFresh)
	if _, err := o.Caller(t.Context(), "good", nil); !errors.Is(err, ErrWrong) {
		t.Errorf("a revoked token: %v", err)
	}
	s.down.Store(true)
	now = now.Add(IntrospectionFresh)
	if _, err := o.Caller(t.Context(), "good", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the server is away: %v", err)
	}
}

func TestIntrospectionIsBounded(t *testing.T) {
	t.Parallel()
	i := newIntrospector(Introspection{}, nil, time.Now)
	for n := range MaxIntrospections + 5 {
		i.remember([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, claims{})
		if len(i.known) > MaxIntrospections {
			t.Fatalf("%d answers remembered", len(i.known))
		}
	}
	for range MaxAsking {
		i.asking <- struct{}{}
	}
	if _, err := i.ask(t.Context(), "one more"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestAnswersOfIssuersAreBounded(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"issuer":"` + strings.Repeat("x", AnswerSize) + `"}`))
		},
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`{}`))
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`keys`)) },
		"another's": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"issuer":"https://evil.test","jwks_uri":"https://evil.test/keys"}`))
		},
	} {
		web := httptest.NewServer(answer)
		keys := newKeySet(web.URL, "", web.Client(), time.Now)
		if _, err := keys.find(context.Background(), "k1", "ES256"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		web.Close()
	}
}

func TestIssuersThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	good := Issuer{URL: "https://login.test", Audiences: []string{"gw"}, Domains: []string{"north.test"}}
	edit := func(f func(*Issuer)) []Issuer {
		i := good
		f(&i)
		return []Issuer{i}
	}
	asked := good
	asked.Introspection.URL = "https://login.test/introspect"
	second := asked
	second.URL = "https://other.test"
	for name, issuers := range map[string][]Issuer{
		"no URL":                edit(func(i *Issuer) { i.URL = "login" }),
		"plain HTTP":            edit(func(i *Issuer) { i.URL = "http://login.test" }),
		"no audience":           edit(func(i *Issuer) { i.Audiences = nil }),
		"an empty audience":     edit(func(i *Issuer) { i.Audiences = []string{""} }),
		"no domain":             edit(func(i *Issuer) { i.Domains = nil }),
		"no real domain":        edit(func(i *Issuer) { i.Domains = []string{"*"} }),
		"keys in the open":      edit(func(i *Issuer) { i.KeysURL = "http://login.test/keys" }),
		"a shared secret":       edit(func(i *Issuer) { i.Algorithms = []string{"HS256"} }),
		"no signature":          edit(func(i *Issuer) { i.Algorithms = []string{"none"} }),
		"asked in the open":     edit(func(i *Issuer) { i.Introspection.URL = "http://login.test/i" }),
		"twice":                 {good, good},
		"two that can be asked": {asked, second},
	} {
		if _, err := NewOAuth(issuers, http.DefaultClient, time.Now); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	o, err := NewOAuth(nil, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Caller(t.Context(), "x", nil); !errors.Is(err, ErrNotConfigured) {
		t.Error(err)
	}
}
