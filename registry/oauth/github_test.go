package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

const sharedCallback = testBase + "/v1/auth/oauth/callback"

// hub is GitHub's API for one user.
type hub struct {
	user   map[string]any
	emails []map[string]any
	grant  map[string]any // what is said of an access token; nil: 404
	shown  []string       // the access tokens that were looked at
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/user":
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		writeJSON(w, h.user)
	case "/user/emails":
		writeJSON(w, h.emails)
	case "/applications/hub-client/token":
		id, secret, _ := r.BasicAuth()
		var body map[string]string
		_ = json.NewDecoder(r.Body).Decode(&body)
		h.shown = append(h.shown, body["access_token"])
		if id != "hub-client" || secret != "s" || h.grant == nil {
			http.NotFound(w, r)
			return
		}
		writeJSON(w, h.grant)
	}
}

func withGitHub(t *testing.T) (*flow, *issuer, *hub, web) {
	t.Helper()
	h := &hub{
		user:   map[string]any{"id": 42, "login": "ann", "name": "Ann"},
		emails: []map[string]any{{"primary": true, "verified": true, "email": "ann@example.com"}},
	}
	// GitHub redeems codes as an issuer does; its ID token is not looked at.
	i := newIssuer(t, "https://github.com", "hub-client", sharedCallback)
	net := web{"api.github.com": h, "github.com": http.HandlerFunc(i.redeem)}
	f, err := New(Config{
		Base: testBase, GitHub: Client{"hub-client", "s"}, Google: Client{"goo-client", "s"}, Transport: net,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &flow{f, newStates()}, i, h, net
}

func TestGitHubVouches(t *testing.T) {
	t.Parallel()
	f, i, _, _ := withGitHub(t)
	l, b := begin(t, f, "github"), browser{}
	page := b.sent(t, f, l.State)
	u, err := url.Parse(page)
	if err != nil || u.Host != "github.com" || u.Query().Get("scope") != "read:user user:email" {
		t.Errorf("sent to %s", page)
	}
	got, err := b.back(t, f, "", i.authorize(t, page))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Person{"github", "42", "ann", "Ann"}); got.Person != want {
		t.Errorf("got %+v", got.Person)
	}
}

func TestGitHubDoesNotVouch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*hub)
		iss    string
		want   error
	}{
		"address not verified": {func(h *hub) { h.emails[0]["verified"] = false }, "", ErrUnverified},
		"no address":           {func(h *hub) { h.emails = nil }, "", ErrUnverified},
		"no id":                {func(h *hub) { h.user = map[string]any{"login": "ann"} }, "", ErrProvider},
		"another issuer":       {func(*hub) {}, "https://evil.example", ErrToken},
	} {
		f, i, h, _ := withGitHub(t)
		c.change(h)
		l, b := begin(t, f, "github"), browser{}
		back := i.authorize(t, b.sent(t, f, l.State))
		if c.iss != "" {
			back.Set("iss", c.iss)
		}
		if _, err := b.back(t, f, "", back); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// AgentMesh §8.5: an access token that somebody gave to another program is none
// for us.
func TestAccessTokenMustBeOurs(t *testing.T) {
	t.Parallel()
	ours := map[string]any{"app": map[string]any{"client_id": "hub-client"}, "user": map[string]any{"id": 42}}
	for name, c := range map[string]struct {
		token string
		grant map[string]any
		want  error
		shown int
	}{
		"ours":                   {"gho_abc", ours, nil, 1},
		"unknown":                {"gho_abc", nil, ErrToken, 1},
		"another client's":       {"gho_abc", map[string]any{"app": map[string]any{"client_id": "x"}, "user": map[string]any{"id": 42}}, ErrToken, 1},
		"another user's":         {"gho_abc", map[string]any{"app": ours["app"], "user": map[string]any{"id": 7}}, ErrToken, 1},
		"a personal one":         {"ghp_abc", ours, ErrToken, 0},
		"nobody's":               {"abc", ours, ErrToken, 0},
		"empty":                  {"", ours, ErrToken, 0},
		"with a header in it":    {"gho_a\r\nX-Y: z", ours, ErrToken, 0},
		"longer than any may be": {"gho_" + string(make([]byte, 9<<10)), ours, ErrToken, 0},
	} {
		f, _, h, _ := withGitHub(t)
		h.grant = c.grant
		who, err := f.CheckToken(t.Context(), c.token)
		if !errors.Is(err, c.want) || (err == nil) != (who.ID == "42") {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
		if len(h.shown) != c.shown {
			t.Errorf("%s: shown to GitHub %d times, want %d", name, len(h.shown), c.shown)
		}
	}
}

func TestGoogleAccessTokenMustBeOurs(t *testing.T) {
	t.Parallel()
	good := map[string]any{"aud": "goo-client", "azp": "goo-client", "sub": "g1", "expires_in": "3000", "email_verified": "true"}
	for name, c := range map[string]struct {
		change map[string]any
		want   error
	}{
		"ours": {nil, nil}, "another client's": {map[string]any{"aud": "x"}, ErrToken},
		"another party's": {map[string]any{"azp": "x"}, ErrToken}, "expired": {map[string]any{"expires_in": "0"}, ErrToken},
		"no expiry": {map[string]any{"expires_in": nil}, ErrToken}, "no subject": {map[string]any{"sub": ""}, ErrToken},
		"no address": {map[string]any{"email_verified": nil}, ErrUnverified},
	} {
		f, _, h, net := withGitHub(t)
		info := make(map[string]any)
		for _, m := range []map[string]any{good, c.change} {
			for k, v := range m {
				info[k] = v
			}
		}
		net["oauth2.googleapis.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" {
				t.Error("a token stands in an address")
			}
			writeJSON(w, info)
		})
		who, err := f.CheckToken(t.Context(), "ya29.abc")
		if !errors.Is(err, c.want) || (err == nil) != (who == Person{Provider: "google", ID: "g1"}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
		if len(h.shown) != 0 {
			t.Errorf("%s: Google's token was shown to GitHub", name)
		}
	}
}
