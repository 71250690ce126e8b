package oauth

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIssuerOnTheCommandLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ParseIssuer("name=work,issuer=https://idp.example/realm?x=y,client-id=c,client-secret-file=" + file + ",display=Work,email=any")
	if err != nil {
		t.Fatal(err)
	}
	want := Issuer{Client: Client{"c", "s3cret"}, Name: "work", Display: "Work", URL: "https://idp.example/realm?x=y", AnyEmail: true}
	if got != want {
		t.Errorf("got %+v", got)
	}
	for _, bad := range []string{
		"", "name=work", "name=work,name=x", "name=,issuer=a,client-id=c,client-secret-file=" + file,
		"name=a,issuer=b,client-id=c,client-secret-file=" + file + ",colour=red",
		"name=a,issuer=b,client-id=c,client-secret-file=" + file + ",email=some",
		"name=a,issuer=b,client-id=c,client-secret-file=" + file + "x",
	} {
		if _, err := ParseIssuer(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	work := Issuer{Client: Client{"c", "s"}, Name: "work", URL: testIssuer}
	with := func(change func(*Issuer)) []Issuer {
		i := work
		change(&i)
		return []Issuer{i}
	}
	for name, c := range map[string]Config{
		"no base":              {GitHub: Client{"a", "b"}},
		"base in clear":        {Base: "http://registry.example"},
		"base is no URL":       {Base: "registry.example"},
		"base with the path":   {Base: sharedCallback},
		"base with a user":     {Base: "https://a@registry.example"},
		"half of a client":     {Base: testBase, GitHub: Client{"a", ""}},
		"other half":           {Base: testBase, Google: Client{"", "b"}},
		"issuer in clear":      {Base: testBase, Issuers: with(func(i *Issuer) { i.URL = "http://idp.example" })},
		"issuer called GitHub": {Base: testBase, Issuers: with(func(i *Issuer) { i.Name = "github" })},
		"issuer twice":         {Base: testBase, Issuers: []Issuer{work, work}},
		"issuer with a slash":  {Base: testBase, Issuers: with(func(i *Issuer) { i.Name = "a/b" })},
		"issuer without id":    {Base: testBase, Issuers: with(func(i *Issuer) { i.ID = "" })},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := New(Config{Base: testBase, AgentsPerPerson: -1}); err == nil {
		t.Error("fewer agents than none: taken")
	}
}

// A cookie with the prefix would not be kept by a browser that speaks plain HTTP, which
// is for a registry on the same machine.
func TestCookieFitsTheBase(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{"http://127.0.0.1:8080": "amesh-proof-", testBase: "__Host-amesh-proof-"} {
		f, err := New(Config{Base: base, GitHub: Client{"a", "b"}})
		if err != nil {
			t.Fatal(err)
		}
		kept := newStates()
		l, err := f.Begin(kept, agent(t, 1), "github")
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.Open(kept, l.State, browser{}.cookie)
		if err != nil || !strings.HasPrefix(p.Cookie, want) || f.Secure() != strings.HasPrefix(base, "https:") {
			t.Errorf("%s: cookie %s, %v", base, p.Cookie, err)
		}
	}
}

func TestNothingConfigured(t *testing.T) {
	t.Parallel()
	f, err := New(FromEnvironment(func(string) string { return "" }))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Providers() {
		if p.Enabled() {
			t.Errorf("%s is enabled", p.Name())
		}
	}
	for provider, want := range map[string]error{"github": ErrNotConfigured, "google": ErrNotConfigured, "apple": ErrUnknownProvider} {
		if _, err := f.Begin(newStates(), agent(t, 1), provider); !errors.Is(err, want) {
			t.Errorf("%s: got %v", provider, err)
		}
	}
	if _, err := f.CheckToken(t.Context(), "gho_abc"); !errors.Is(err, ErrToken) {
		t.Errorf("a token without a client: %v", err)
	}
}

func TestPageEscapesWhatAnAgentSays(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	err := WriteStart(w, View{Title: "Vouch", Provider: "GitHub", DID: "did:agentmesh:x", Name: `<script>alert(1)</script>`, State: `"><b>`, Confirm: "c"})
	if err != nil {
		t.Fatal(err)
	}
	body := w.Body.String()
	if strings.Contains(body, "<script>") || strings.Contains(body, `"><b>`) || !strings.Contains(body, "did:agentmesh:x") {
		t.Errorf("the page is\n%s", body)
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "style-src 'sha256-") {
		t.Errorf("policy %q", csp)
	}
}
