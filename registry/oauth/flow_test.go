package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	testBase   = "https://registry.example"
	testIssuer = "https://idp.example"
)

// withIssuer is a flow with one issuer, "work".
func withIssuer(t *testing.T) (*flow, *issuer) {
	t.Helper()
	i := newIssuer(t, testIssuer, "our-client", testBase+"/v1/auth/oauth/callback/work")
	f, err := New(Config{
		Base:      testBase,
		Issuers:   []Issuer{{Client: Client{"our-client", "secret"}, Name: "work", URL: testIssuer}},
		Transport: web{"idp.example": i},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &flow{f, newStates()}, i
}

// flow is a Flow with what it keeps.
type flow struct {
	*Flow
	kept *states
}

func begin(t *testing.T, f *flow, provider string) Link {
	t.Helper()
	l, err := f.Begin(f.kept, agent(t, 1), provider)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestHumanVouchesForAgent(t *testing.T) {
	t.Parallel()
	for _, offer := range []bool{false, true} {
		f, i := withIssuer(t)
		i.offerIss = offer
		l, b := begin(t, f, "work"), browser{}
		if want := testBase + "/v1/auth/oauth/start?state=" + l.State; l.URL != want {
			t.Errorf("the link is %s, want %s", l.URL, want)
		}
		p := b.open(t, f, l.State)
		if p.AMID != agent(t, 1) || p.Provider.Name() != "work" {
			t.Errorf("the page shows %v at %s", p.AMID, p.Provider.Name())
		}
		got, err := b.back(t, f, "work", i.authorize(t, b.sent(t, f, l.State)))
		if err != nil {
			t.Fatal(err)
		}
		if want := (Person{"work", "subject-1", "ann", ""}); got.Person != want || got.AMID != agent(t, 1) {
			t.Errorf("got %+v", got)
		}
	}
}

// T68: what may go wrong between a link and its return.
func TestT68StateServesOneBrowserOnce(t *testing.T) {
	t.Parallel()
	type world struct {
		f    *flow
		i    *issuer
		b    browser
		back url.Values
	}
	cases := map[string]func(*testing.T, *world) (Done, error){
		"used again": func(t *testing.T, w *world) (Done, error) {
			if _, err := w.b.back(t, w.f, "work", w.back); err != nil {
				t.Fatal(err)
			}
			return w.b.back(t, w.f, "work", w.back)
		},
		"no cookie": func(t *testing.T, w *world) (Done, error) { return browser{}.back(t, w.f, "work", w.back) },
		"another browser's cookie": func(t *testing.T, w *world) (Done, error) {
			other := browser{}
			for name := range w.b {
				other[name] = newSecret()
			}
			return other.back(t, w.f, "work", w.back)
		},
		"a cookie that is no secret": func(t *testing.T, w *world) (Done, error) {
			for name := range w.b {
				w.b[name] = "short"
			}
			return w.b.back(t, w.f, "work", w.back)
		},
		"the cookie of another flow": func(t *testing.T, w *world) (Done, error) {
			mine := browser{}
			l, err := w.f.Begin(w.f.kept, agent(t, 2), "work")
			if err != nil {
				t.Fatal(err)
			}
			mine.sent(t, w.f, l.State)
			return mine.back(t, w.f, "work", w.back)
		},
		"unknown state": func(t *testing.T, w *world) (Done, error) {
			w.back.Set("state", newSecret())
			return w.b.back(t, w.f, "work", w.back)
		},
		"no state": func(t *testing.T, w *world) (Done, error) {
			w.back.Del("state")
			return w.b.back(t, w.f, "work", w.back)
		},
		"at another provider's redirect": func(t *testing.T, w *world) (Done, error) {
			return w.b.back(t, w.f, "", w.back)
		},
		"a newer link was asked for": func(t *testing.T, w *world) (Done, error) {
			begin(t, w.f, "work")
			return w.b.back(t, w.f, "work", w.back)
		},
	}
	for name, do := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, i := withIssuer(t)
			w := &world{f: f, i: i, b: browser{}}
			l := begin(t, f, "work")
			w.back = i.authorize(t, w.b.sent(t, f, l.State))
			before := i.spent
			if name == "used again" {
				before++
			}
			if _, err := do(t, w); !errors.Is(err, ErrState) || Code(err) != "oauth_state_invalid" {
				t.Fatalf("got %v, want ErrState", err)
			}
			if i.spent != before {
				t.Error("a code was redeemed for a bad state")
			}
		})
	}
}

// T68: whoever meets a flow of others cannot end it for them.
func TestT68ForeignBrowserSpoilsNothing(t *testing.T) {
	t.Parallel()
	f, i := withIssuer(t)
	l, b := begin(t, f, "work"), browser{}
	back := i.authorize(t, b.sent(t, f, l.State))
	if _, err := (browser{}).back(t, f, "work", back); !errors.Is(err, ErrState) {
		t.Fatalf("got %v", err)
	}
	if _, err := f.Open(f.kept, l.State, browser{}.cookie); !errors.Is(err, ErrState) {
		t.Errorf("a link that one browser opened opens in another: %v", err)
	}
	if _, err := b.back(t, f, "work", back); err != nil {
		t.Errorf("the browser it belongs to: %v", err)
	}
}

func TestT68StateEndsAfterTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, i := withIssuer(t)
		l, b := begin(t, f, "work"), browser{}
		back := i.authorize(t, b.sent(t, f, l.State))
		time.Sleep(StateLife)
		if _, err := b.back(t, f, "work", back); !errors.Is(err, ErrState) {
			t.Errorf("after ten minutes: %v", err)
		}
		if _, err := f.Open(f.kept, l.State, b.cookie); !errors.Is(err, ErrState) {
			t.Errorf("the page after ten minutes: %v", err)
		}
	})
}

// T68: another site can make a browser post, but has not seen the page.
func TestT68FormOfAnotherSite(t *testing.T) {
	t.Parallel()
	f, _ := withIssuer(t)
	l, b := begin(t, f, "work"), browser{}
	mine := browser{}.open(t, f, l.State) // what an attacker sees in a browser of its own
	b.open(t, f, l.State)
	for name, confirm := range map[string]string{"none": "", "the attacker's": mine.Confirm, "the cookie": b[mine.Cookie]} {
		if _, err := f.Continue(t.Context(), f.kept, l.State, confirm, b.cookie); !errors.Is(err, ErrState) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := f.Continue(t.Context(), f.kept, l.State, mine.Confirm, browser{}.cookie); !errors.Is(err, ErrState) {
		t.Error("without a cookie")
	}
}

// T68: a code of somebody else, put into the victim's return.
func TestT68CodeInjection(t *testing.T) {
	t.Parallel()
	for _, trust := range []bool{false, true} {
		f, i := withIssuer(t)
		i.trust = trust // then the nonce has to hold it
		attacker, victim := browser{}, browser{}
		la, err := f.Begin(f.kept, agent(t, 2), "work")
		if err != nil {
			t.Fatal(err)
		}
		stolen := i.authorize(t, attacker.sent(t, f, la.State)).Get("code")
		l := begin(t, f, "work")
		back := i.authorize(t, victim.sent(t, f, l.State))
		back.Set("code", stolen)
		if _, err := victim.back(t, f, "work", back); !errors.Is(err, ErrToken) {
			t.Errorf("issuer looks at PKCE %v: got %v, want ErrToken", !trust, err)
		}
	}
}

// T68: an answer that another issuer gave, before its code goes anywhere.
func TestT68MixUp(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		offers bool
		iss    string
	}{
		"another issuer": {true, "https://evil.example"}, "offered and missing": {true, ""},
		"not offered but another": {false, "https://evil.example"}, "a slash more": {true, testIssuer + "/"},
	}
	for name, c := range cases {
		f, i := withIssuer(t)
		i.offerIss = c.offers
		l, b := begin(t, f, "work"), browser{}
		back := i.authorize(t, b.sent(t, f, l.State))
		back.Del("iss")
		if c.iss != "" {
			back.Set("iss", c.iss)
		}
		if _, err := b.back(t, f, "work", back); !errors.Is(err, ErrToken) {
			t.Errorf("%s: got %v, want ErrToken", name, err)
		}
		if i.spent != 0 {
			t.Errorf("%s: the code was sent", name)
		}
	}
}

func TestHumanSaysNo(t *testing.T) {
	t.Parallel()
	f, i := withIssuer(t)
	l, b := begin(t, f, "work"), browser{}
	back := i.authorize(t, b.sent(t, f, l.State))
	back.Del("code")
	back.Set("error", "access_denied")
	if _, err := b.back(t, f, "work", back); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v", err)
	}
	if _, err := b.back(t, f, "work", back); !errors.Is(err, ErrState) {
		t.Errorf("the state serves on: %v", err)
	}
}

// T69: ID tokens that a hostile or broken issuer, or somebody who stands where its
// answers come from, may send.
func TestT69TokenIsNotBelieved(t *testing.T) {
	t.Parallel()
	header := func(name string, v any) func(*issuer, []byte) string {
		return func(i *issuer, body []byte) string {
			return signToken(jose.RS256, i.key, map[jose.HeaderKey]any{"kid": i.kid, jose.HeaderKey(name): v}, body)
		}
	}
	cases := map[string]struct {
		claims map[string]any
		sign   func(*issuer, []byte) string
	}{
		"alg none": {sign: func(_ *issuer, body []byte) string {
			return b64(`{"alg":"none"}`) + "." + b64(string(body)) + "."
		}},
		"alg none with a signature": {sign: func(i *issuer, body []byte) string {
			return b64(`{"alg":"none","kid":"k1"}`) + "." + b64(string(body)) + "." + b64("x")
		}},
		"HS256 with the public key": {sign: func(i *issuer, body []byte) string {
			return signToken(jose.HS256, publicPEM(i.key), map[jose.HeaderKey]any{"kid": i.kid}, body)
		}},
		"an algorithm that is not on the list": {sign: func(i *issuer, body []byte) string {
			return signToken(jose.RS512, i.key, map[jose.HeaderKey]any{"kid": i.kid}, body)
		}},
		"another key under the same name": {sign: func(i *issuer, body []byte) string {
			return signToken(jose.ES256, otherKey(), map[jose.HeaderKey]any{"kid": i.kid}, body)
		}},
		"an unknown key": {sign: func(i *issuer, body []byte) string {
			return signToken(jose.ES256, otherKey(), map[jose.HeaderKey]any{"kid": "../../k2"}, body)
		}},
		"its own key inside": {sign: func(i *issuer, body []byte) string {
			k := otherKey()
			return signToken(jose.ES256, k, map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: k.Public()}}, body)
		}},
		"jku":            {sign: header("jku", "https://evil.example/keys")},
		"x5u":            {sign: header("x5u", "https://evil.example/cert")},
		"x5c":            {sign: header("x5c", []string{"AAAA"})},
		"crit":           {sign: header("crit", []string{"exp"})},
		"b64":            {sign: header("b64", true)},
		"a huge header":  {sign: header("typ", string(make([]byte, 2<<10)))},
		"a huge token":   {claims: map[string]any{"more": string(make([]byte, 16<<10))}},
		"changed inside": {sign: func(i *issuer, body []byte) string { return swapBody(i, body) }},
		"not a token":    {sign: func(*issuer, []byte) string { return "a.b.c" }},
		"JSON form": {sign: func(i *issuer, body []byte) string {
			s, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: i.key}, nil)
			o, _ := s.Sign(body)
			return o.FullSerialize()
		}},
		"wrong audience":           {claims: map[string]any{"aud": "other-client"}},
		"no audience":              {claims: map[string]any{"aud": nil}},
		"two audiences, no party":  {claims: map[string]any{"aud": []string{"our-client", "other"}}},
		"another party":            {claims: map[string]any{"azp": "other"}},
		"wrong issuer":             {claims: map[string]any{"iss": "https://evil.example"}},
		"issuer with a slash more": {claims: map[string]any{"iss": testIssuer + "/"}},
		"wrong nonce":              {claims: map[string]any{"nonce": "another"}},
		"no nonce":                 {claims: map[string]any{"nonce": nil}},
		"expired":                  {claims: map[string]any{"exp": 1}},
		"no expiry":                {claims: map[string]any{"exp": nil}},
		"from the future":          {claims: map[string]any{"iat": time.Now().Add(time.Hour).Unix()}},
		"not yet valid":            {claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}},
		"no subject":               {claims: map[string]any{"sub": nil}},
		"a long subject":           {claims: map[string]any{"sub": string(make([]byte, 256))}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, i := withIssuer(t)
			i.claims, i.sign = c.claims, c.sign
			l, b := begin(t, f, "work"), browser{}
			got, err := b.back(t, f, "work", i.authorize(t, b.sent(t, f, l.State)))
			if !errors.Is(err, ErrToken) || got.Person != (Person{}) {
				t.Fatalf("got %+v, %v; want ErrToken", got.Person, err)
			}
		})
	}
}

func swapBody(i *issuer, body []byte) string {
	good := strings.Split(signToken(jose.RS256, i.key, map[jose.HeaderKey]any{"kid": i.kid}, []byte(`{}`)), ".")
	return good[0] + "." + b64(string(body)) + "." + good[2]
}

func TestEmailMustBeVerified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says any
		any  bool
		want error
	}{{true, false, nil}, {"true", false, nil}, {false, false, ErrUnverified}, {"yes", false, ErrUnverified},
		{nil, false, ErrUnverified}, {nil, true, nil}} {
		f, i := withIssuer(t)
		i.claims = map[string]any{"email_verified": c.says}
		f.providers[2].(*openID).issuer.AnyEmail = c.any
		l, b := begin(t, f, "work"), browser{}
		if _, err := b.back(t, f, "work", i.authorize(t, b.sent(t, f, l.State))); !errors.Is(err, c.want) {
			t.Errorf("email_verified %v, any %v: got %v", c.says, c.any, err)
		}
	}
}

func TestProviderFails(t *testing.T) {
	for name, token := range map[string]http.HandlerFunc{
		"500":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"slow":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example", http.StatusFound)
		},
		"endless":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2*maxAnswer)) },
		"no ID token": nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			f, i := withIssuer(t)
			want := ErrProvider
			if i.token = token; token == nil {
				want = ErrToken
				i.token = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, map[string]any{"access_token": "x"}) }
			}
			l, b := begin(t, f, "work"), browser{}
			start := time.Now()
			if _, err := b.back(t, f, "work", i.authorize(t, b.sent(t, f, l.State))); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", name, err, want)
			}
			if took := time.Since(start); took > providerTimeout {
				t.Errorf("%s: waited %v", name, took)
			}
		})
	}
}

// A provider that is down when it is first needed is asked again the next time.
func TestDiscoveryIsTriedAgain(t *testing.T) {
	t.Parallel()
	f, i := withIssuer(t)
	net := web{}
	f.providers[2].(*openID).client.Transport = net
	l, b := begin(t, f, "work"), browser{}
	p := b.open(t, f, l.State)
	if _, err := f.Continue(t.Context(), f.kept, l.State, p.Confirm, b.cookie); !errors.Is(err, ErrProvider) {
		t.Fatalf("got %v", err)
	}
	net["idp.example"] = i
	if _, err := b.back(t, f, "work", i.authorize(t, b.sent(t, f, l.State))); err != nil {
		t.Error(err)
	}
}

// T68: an issuer whose papers lead elsewhere.
func TestDiscoveryIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]map[string]any{
		"another issuer": {"issuer": "https://evil.example", "authorization_endpoint": testIssuer + "/a", "token_endpoint": testIssuer + "/t", "jwks_uri": testIssuer + "/k"},
		"in clear":       {"issuer": testIssuer, "authorization_endpoint": testIssuer + "/a", "token_endpoint": "http://idp.example/t", "jwks_uri": testIssuer + "/k"},
		"no keys":        {"issuer": testIssuer, "authorization_endpoint": testIssuer + "/a", "token_endpoint": testIssuer + "/t"},
		"a script":       {"issuer": testIssuer, "authorization_endpoint": "javascript:alert(1)", "token_endpoint": testIssuer + "/t", "jwks_uri": testIssuer + "/k"},
	} {
		f, _ := withIssuer(t)
		f.providers[2].(*openID).client.Transport = web{"idp.example": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, says) })}
		l, b := begin(t, f, "work"), browser{}
		p := b.open(t, f, l.State)
		if where, err := f.Continue(t.Context(), f.kept, l.State, p.Confirm, b.cookie); !errors.Is(err, ErrProvider) {
			t.Errorf("%s: got %q, %v", name, where, err)
		}
	}
}
