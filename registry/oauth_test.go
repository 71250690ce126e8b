package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db/dbtest"
	"amesh/registry/oauth"
	"amesh/registry/wire"
)

func TestOAuth(t *testing.T)             { dbtest.SQLite(t, oauthCases) }
func TestWithPostgresOAuth(t *testing.T) { dbtest.Postgres(t, oauthCases) }

var oauthCases = dbtest.Cases{
	"a human vouches": testHumanVouches,
	"T68 a return is good once, at one instance": testReturnOnce,
	"T68 who must sign the request for a link":   testAuthorizeSigned,
	"T68 looking changes nothing":                testLookingChangesNothing,
	"a name shows a person what it is":           testNameShown,
	"an account vouches for so many":             testTooManyAgents,
	"an account that does not do":                testUnverifiedAccount,
	"an access token of our own client":          testVerificationToken,
	"too many access tokens":                     testVerificationTokenRates,
	"withdrawn":                                  testWithdrawn,
	"a revoked agent is not vouched for":         testRevokedNotVouched,
	"who starts over starts anonymous":           testStartOver,
	"providers":                                  testProviders,
}

// hub is GitHub, without a network.
type hub struct {
	mu       sync.Mutex
	id       int
	verified bool
	codes    map[string]string // challenge by code
}

func newHub() *hub { return &hub{id: 42, verified: true, codes: make(map[string]string)} }

func (g *hub) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	g.mu.Lock()
	defer g.mu.Unlock()
	var answer any
	switch r.URL.Host + r.URL.Path {
	case "github.com/login/oauth/access_token":
		_ = r.ParseForm()
		sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
		want, ok := g.codes[r.Form.Get("code")]
		delete(g.codes, r.Form.Get("code"))
		if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != want {
			answer = object{"error": "bad_verification_code"}
		} else {
			answer = object{"access_token": "gho_flow", "token_type": "bearer"}
		}
	case "api.github.com/user":
		answer = object{"id": g.id, "login": "ann", "name": "Ann"}
	case "api.github.com/user/emails":
		answer = []object{{"primary": true, "verified": g.verified, "email": "ann@example.com"}}
	case "api.github.com/applications/client/token":
		b, _ := io.ReadAll(r.Body)
		client := "client"
		if strings.Contains(string(b), "other") {
			client = "somebody"
		}
		answer = object{"app": object{"client_id": client}, "user": object{"id": g.id}}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
	return w.Result(), nil
}

// proving gives a registry a key for certificates, and humans of a hub.
func proving(t *testing.T, g *hub) func(*Config) {
	return func(c *Config) {
		c.Issuer = certificate.NewIssuer(testKey(t, 200), rand.Reader, c.Clock)
		c.OAuth = oauth.Config{
			Base: "https://registry.example", GitHub: oauth.Client{ID: "client", Secret: "secret"}, Transport: g, AgentsPerPerson: 2,
		}
	}
}

// browser is a human's, with cookies.
type browser struct {
	h       *harness
	cookies map[string]string
	html    bool
}

func (h *harness) browser() *browser { return &browser{h: h, cookies: make(map[string]string)} }

// visit does a request without following where it leads.
func (b *browser) visit(method, path string, form url.Values) answer {
	b.h.t.Helper()
	r, err := http.NewRequestWithContext(b.h.t.Context(), method, b.h.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.h.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.html {
		r.Header.Set("Accept", "text/html,application/xhtml+xml")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.h.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			b.h.t.Errorf("cookie %+v", c)
		}
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	a := answer{t: b.h.t, status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.body)
	return a
}

var hidden = regexp.MustCompile(`name="confirm" value="([^"]+)"`)

// signIn goes from an agent's link to the provider and comes back with a code.
func (b *browser) signIn(key identity.PrivateKey, g *hub) (callback string) {
	b.h.t.Helper()
	link := b.h.post("/v1/auth/oauth/authorize", key, strictly, object{"amid": key.AMID().String(), "provider": "github"}).
		want(http.StatusOK).has(object{"expires_in": 600})
	where, _ := link.body["authorization_url"].(string)
	start, ok := strings.CutPrefix(where, "https://registry.example")
	if !ok {
		b.h.t.Fatalf("the link is %s", where)
	}
	page := b.visit(http.MethodGet, start, nil).want(http.StatusOK)
	confirm := hidden.FindStringSubmatch(page.raw)
	if confirm == nil || !strings.Contains(page.raw, key.AMID().DID()) || !strings.Contains(page.raw, "<bdi>Ann</bdi>") {
		b.h.t.Fatalf("the page does not show the agent:\n%s", page.raw)
	}
	state, _ := link.body["state"].(string)
	sent := b.visit(http.MethodPost, "/v1/auth/oauth/start", url.Values{"state": {state}, "confirm": {confirm[1]}}).want(http.StatusSeeOther)
	to, err := url.Parse(sent.header.Get("Location"))
	if err != nil || to.Host != "github.com" || to.Query().Get("redirect_uri") != "https://registry.example/v1/auth/oauth/callback" {
		b.h.t.Fatalf("sent to %s", to)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	code := "code" + state[:8]
	g.codes[code] = to.Query().Get("code_challenge")
	return "/v1/auth/oauth/callback?" + url.Values{"code": {code}, "state": {state}}.Encode()
}

// tier is what lookup says of an agent.
func (h *harness) tier(key identity.PrivateKey) string {
	h.t.Helper()
	tier, _ := h.get("/v1/registry/lookup?amid=" + key.AMID().String()).want(http.StatusOK).body["tier"].(string)
	return tier
}

// proves checks a certificate under the registry's root.
func (h *harness) proves(text string, key identity.PrivateKey, tier certificate.Tier) {
	h.t.Helper()
	chain, err := certificate.Parse(text)
	if err != nil {
		h.t.Fatal(err)
	}
	issuer := h.server.cfg.Issuer
	list, err := issuer.IssueList(1, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	trust, err := certificate.Trust{Roots: []identity.PublicKey{issuer.Root()}}.Update(list, h.clock.now())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := trust.Verify(chain, key.Public(), h.clock.now()); err != nil || chain.Leaf.Tier != tier {
		h.t.Errorf("the certificate proves %s: %v", chain.Leaf.Tier, err)
	}
}

func testHumanVouches(t *testing.T, at string) {
	g := newHub()
	h := start(t, at, proving(t, g))
	key := testKey(t, 1)
	h.register(key, byTimestamp)
	b := h.browser()
	done := b.visit(http.MethodGet, b.signIn(key, g), nil).want(http.StatusOK).
		has(object{"success": true, "amid": key.AMID().String(), "provider": "github", "error": nil})
	if got, _ := json.Marshal(done.body["verified_identity"]); string(got) !=
		`{"display_name":"Ann","email":null,"provider":"github","provider_id":"42","username":"ann","verified_at":"2026-02-01T12:00:00.001Z"}` {
		t.Errorf("identity %s", got)
	}
	text, _ := done.body["certificate"].(string)
	h.proves(text, key, certificate.Verified)
	if strings.Contains(text, "42") && strings.Contains(text, "github") {
		t.Error("the certificate says who vouches")
	}
	if got := h.tier(key); got != "verified" {
		t.Errorf("tier %s", got)
	}
	if len(b.cookies) != 0 {
		t.Errorf("cookies are left: %v", b.cookies)
	}

	b.html = true
	page := b.visit(http.MethodGet, b.signIn(key, g), nil).want(http.StatusOK)
	if !strings.Contains(page.raw, key.AMID().DID()) || page.header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("page %s", page.raw)
	}
}

func testReturnOnce(t *testing.T, at string) {
	g := newHub()
	first, second := start(t, at, proving(t, g)), start(t, at, proving(t, g))
	key := testKey(t, 1)
	first.register(key, strictly)
	b := first.browser()
	back := b.signIn(key, g)
	stranger := second.browser()
	null := object{"success": false, "amid": nil, "provider": nil, "verified_identity": nil, "certificate": nil}
	stranger.visit(http.MethodGet, back, nil).want(http.StatusBadRequest).code(wire.CodeOAuthState).has(null)
	kept := map[string]string{}
	for name, value := range b.cookies {
		kept[name] = value
	}
	elsewhere := &browser{h: second, cookies: b.cookies}
	elsewhere.visit(http.MethodGet, back, nil).want(http.StatusOK)
	for _, h := range []*harness{first, second} {
		again := &browser{h: h, cookies: kept}
		again.visit(http.MethodGet, back, nil).want(http.StatusBadRequest).code(wire.CodeOAuthState).has(null)
	}
	again := &browser{h: first, cookies: kept, html: true}
	if page := again.visit(http.MethodGet, back, nil).want(http.StatusBadRequest); !strings.Contains(page.raw, "oauth_state_invalid") {
		t.Errorf("page %s", page.raw)
	}
}

func testAuthorizeSigned(t *testing.T, at string) {
	h := start(t, at, proving(t, newHub()))
	key, other := testKey(t, 1), testKey(t, 2)
	h.register(key, byTimestamp)
	const path = "/v1/auth/oauth/authorize"
	body := func(provider string) object { return object{"amid": key.AMID().String(), "provider": provider} }
	h.post(path, key, unsigned, body("github")).want(http.StatusUnauthorized)
	h.post(path, other, byTimestamp, body("github")).want(http.StatusUnauthorized)
	h.post(path, other, strictly, body("github")).want(http.StatusUnauthorized)
	h.post(path, other, byTimestamp, object{"amid": other.AMID().String(), "provider": "github"}).want(http.StatusNotFound)
	h.post(path, key, byTimestamp, body("github")).want(http.StatusOK)
	h.post(path, key, byTimestamp, body("google")).want(http.StatusBadRequest).code(wire.CodeOAuthUnconfigured).
		has(object{"error": "Google OAuth not configured"})
	h.post(path, key, byTimestamp, body("apple")).want(http.StatusBadRequest).code(wire.CodeOAuthUnknown).
		has(object{"error": "Unknown provider: apple"})
}

// Programs that follow links in messages, and forms of other sites.
func testLookingChangesNothing(t *testing.T, at string) {
	g := newHub()
	h := start(t, at, proving(t, g))
	key := testKey(t, 1)
	h.register(key, strictly)
	link := h.post("/v1/auth/oauth/authorize", key, strictly, object{"amid": key.AMID().String(), "provider": "github"})
	state, _ := link.body["state"].(string)
	startPath := "/v1/auth/oauth/start?state=" + state
	for range 3 {
		h.browser().visit(http.MethodGet, startPath, nil).want(http.StatusOK)
	}
	attacker, victim := h.browser(), h.browser()
	seen := hidden.FindStringSubmatch(attacker.visit(http.MethodGet, startPath, nil).raw)[1]
	victim.visit(http.MethodGet, startPath, nil).want(http.StatusOK)
	for _, form := range []url.Values{{}, {"state": {state}}, {"state": {state}, "confirm": {seen}}} {
		refused := victim.visit(http.MethodPost, "/v1/auth/oauth/start", form).want(http.StatusBadRequest)
		if refused.header.Get("Location") != "" {
			t.Errorf("sent to %s", refused.header.Get("Location"))
		}
	}
	victim.visit(http.MethodGet, "/v1/auth/oauth/start?state=unknown", nil).want(http.StatusBadRequest)

	b := h.browser()
	back := b.signIn(key, g)
	b.visit(http.MethodHead, back, nil).want(http.StatusMethodNotAllowed)
	b.visit(http.MethodGet, strings.Replace(back, "callback?", "callback/github?", 1), nil).want(http.StatusBadRequest).code(wire.CodeOAuthState)
	if got := h.tier(key); got != "anonymous" {
		t.Errorf("tier %s", got)
	}
}

func testNameShown(t *testing.T, at string) {
	h := start(t, at, proving(t, newHub()))
	key := testKey(t, 1)
	body := profile(key)
	body["display_name"] = "\u202eAn\u200bn\u00a0 " + strings.Repeat("n", 200)
	h.post("/v1/registry/register", key, strictly, body).want(http.StatusCreated)
	link := h.post("/v1/auth/oauth/authorize", key, strictly, object{"amid": key.AMID().String(), "provider": "github"})
	state, _ := link.body["state"].(string)
	page := h.browser().visit(http.MethodGet, "/v1/auth/oauth/start?state="+state, nil).want(http.StatusOK)
	if want := "<bdi>Ann " + strings.Repeat("n", nameBytes-len("Ann …")) + "…</bdi>"; !strings.Contains(page.raw, want) {
		t.Errorf("the page has no %s:\n%s", want, page.raw)
	}
}

func testTooManyAgents(t *testing.T, at string) {
	g := newHub()
	h := start(t, at, proving(t, g))
	for n, want := range []int{http.StatusOK, http.StatusOK, http.StatusConflict} {
		key := testKey(t, byte(n+1))
		h.register(key, strictly)
		b := h.browser()
		got := b.visit(http.MethodGet, b.signIn(key, g), nil).want(want)
		if want == http.StatusConflict {
			got.code(wire.CodeOAuthTooMany).has(object{"success": false, "amid": key.AMID().String(), "certificate": nil})
			if tier := h.tier(key); tier != "anonymous" {
				t.Errorf("tier %s", tier)
			}
		}
	}
}

func testUnverifiedAccount(t *testing.T, at string) {
	g := newHub()
	g.verified = false
	h := start(t, at, proving(t, g))
	key := testKey(t, 1)
	h.register(key, strictly)
	b := h.browser()
	b.visit(http.MethodGet, b.signIn(key, g), nil).want(http.StatusBadRequest).code(wire.CodeOAuthUnverified)
	denied := b.signIn(key, g)
	b.visit(http.MethodGet, denied+"&error=access_denied&error_description=%3Cscript%3E", nil).want(http.StatusBadRequest).code(wire.CodeOAuthDenied)
	wrong := strings.Replace(b.signIn(key, g), "code=code", "code=x", 1)
	b.visit(http.MethodGet, wrong, nil).want(http.StatusBadRequest).code(wire.CodeOAuthToken)
}

func testVerificationToken(t *testing.T, at string) {
	h := start(t, at, proving(t, newHub()))
	for n, c := range []struct{ token, tier string }{
		{"gho_ours", "verified"}, {"gho_other", "anonymous"}, {"ghp_personal", "anonymous"}, {"nonsense", "anonymous"},
	} {
		key := testKey(t, byte(n+1))
		body := profile(key)
		body["verification_token"] = c.token
		got := h.post("/v1/registry/register", key, byTimestamp, body).want(http.StatusCreated).has(object{"success": true, "tier": c.tier})
		if text, _ := got.body["certificate"].(string); c.tier == "verified" {
			h.proves(text, key, certificate.Verified)
		} else if text != "" {
			t.Errorf("%s: a certificate", c.token)
		}
		if tier := h.tier(key); tier != c.tier {
			t.Errorf("%s: tier %s", c.token, tier)
		}
	}
}

// Every token is a question to a provider, in the registry's name.
func testVerificationTokenRates(t *testing.T, at string) {
	h := start(t, at, proving(t, newHub()), func(c *Config) {
		c.Limits = DefaultLimits()
		c.Limits.AddressBurst = 2 * tokenCost
	})
	for n, want := range []int{http.StatusCreated, http.StatusTooManyRequests} {
		key := testKey(t, byte(n+1))
		body := profile(key)
		body["verification_token"] = "nonsense"
		h.post("/v1/registry/register", key, byTimestamp, body).want(want)
	}
}

// verified registers a key and has a human vouch for it.
func (h *harness) verified(key identity.PrivateKey, g *hub, how signing) {
	h.t.Helper()
	h.register(key, how)
	b := h.browser()
	b.visit(http.MethodGet, b.signIn(key, g), nil).want(http.StatusOK)
	if tier := h.tier(key); tier != "verified" {
		h.t.Fatalf("tier %s", tier)
	}
}

func testWithdrawn(t *testing.T, at string) {
	g := newHub()
	h := start(t, at, proving(t, g))
	key := testKey(t, 1)
	h.verified(key, g, strictly)
	h.post("/v1/amesh/oauth/withdraw", key, unsigned, object{"amid": key.AMID().String()}).want(http.StatusUnauthorized)
	h.post("/v1/amesh/oauth/withdraw", key, strictly, object{"amid": key.AMID().String()}).want(http.StatusOK)
	if tier := h.tier(key); tier != "anonymous" {
		t.Errorf("tier %s", tier)
	}
	stamped := testKey(t, 9)
	h.register(stamped, byTimestamp)
	h.post("/v1/amesh/oauth/withdraw", stamped, byTimestamp, object{"amid": stamped.AMID().String()}).
		want(http.StatusUnauthorized).code(wire.CodeSignatureRequired)
	for n := range byte(2) { // the account is free again for two
		h.verified(testKey(t, n+2), g, strictly)
	}
}

func testRevokedNotVouched(t *testing.T, at string) {
	g := newHub()
	h := start(t, at, proving(t, g))
	key := testKey(t, 1)
	h.register(key, strictly)
	b := h.browser()
	back := b.signIn(key, g)
	h.revoke(key.AMID())
	b.visit(http.MethodGet, back, nil).want(http.StatusForbidden)
}

func testStartOver(t *testing.T, at string) {
	g := newHub()
	h := start(t, at, proving(t, g))
	key := testKey(t, 1)
	h.verified(key, g, byTimestamp)
	h.register(key, strictly)
	if tier := h.tier(key); tier != "anonymous" {
		t.Errorf("tier %s", tier)
	}
}

func testProviders(t *testing.T, at string) {
	h := start(t, at, proving(t, newHub()))
	if got := h.get("/v1/auth/oauth/providers").want(http.StatusOK).raw; got !=
		`{"providers":[{"name":"github","enabled":true,"display_name":"GitHub"},{"name":"google","enabled":false,"display_name":"Google"}]}`+"\n" {
		t.Errorf("providers %s", got)
	}
}
