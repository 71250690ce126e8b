package page

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"amesh/registry/wire"
)

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPagesShowWhatTheyAreFor(t *testing.T) {
	srv := serve(t, &shelf{})
	cases := []struct{ path, want string }{
		{"/", "amesh up --registry http://127.0.0.1"},
		{"/", "More than 500 agents"},
		{"/search?q=flights", "Up to 100 agents"},
		{"/search?q=flights", "/search?cursor=abc-_&amp;q=flights"},
		{"/search?q=nothing", "No agent found"},
		{"/agents/" + ann, "amesh send did:agentmesh:" + ann},
		{"/agents/" + ann, "0.05 EUR"},
		{"/api", "/v1/amesh/search"},
		{"/skill.md", "amesh up --registry http://127.0.0.1"},
	}
	for _, c := range cases {
		resp, body := get(t, srv.URL+c.path)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, c.want) {
			t.Errorf("%s: status %d, lacks %q", c.path, resp.StatusCode, c.want)
		}
	}
}

// T77, T97: what an agent wrote is shown as text, in one piece and short.
func TestTextsOfAgentsAreHarmless(t *testing.T) {
	srv := serve(t, &shelf{})
	for _, path := range []string{"/search?q=" + "%3Cscript%3Ealert(1)%3C/script%3E", "/agents/" + ann} {
		_, body := get(t, srv.URL+path)
		for _, bad := range []string{"<script", "<img", "\u202e", "\u0007", "\u200b", strings.Repeat("W", 100), strings.Repeat("long", 200)} {
			if strings.Contains(body, bad) {
				t.Errorf("%s contains %.20q", path, bad)
			}
		}
		if !strings.Contains(body, "&lt;script&gt;") {
			t.Errorf("%s does not show the text at all", path)
		}
	}
}

func TestEveryPageForbidsAllButItsStyle(t *testing.T) {
	srv := serve(t, &shelf{})
	for _, path := range []string{"/", "/search", "/agents/" + ann, "/agents/nobody", "/api"} {
		resp, body := get(t, srv.URL+path)
		if got := resp.Header.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: policy %q", path, got)
		}
		for _, bad := range []string{"http-equiv", `style="`, "<script", `src="`, "//cdn", `onclick="`} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
	}
}

func TestFormIsReadAsASearch(t *testing.T) {
	s := &shelf{}
	srv := serve(t, s)
	get(t, srv.URL+"/search?q=+fly+&tier=verified&prefix=travel&category=&action=book&cursor=xyz")
	want := wire.SearchQuery{Q: "fly", Tier: "verified", Prefix: "travel", Action: "book", Cursor: "xyz", Limit: 20}
	if len(s.asked) != 1 || s.asked[0] != want {
		t.Errorf("asked %+v, want %+v", s.asked, want)
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	cases := []struct {
		name, path string
		err        error
		status     int
		want       string
	}{
		{"no such agent", "/agents/" + ann, wire.NotFound("this registry does not know the agent"), 404, "does not know the agent"},
		{"our own mistake", "/search?q=x", errors.New("secret: disk on fire"), 500, "the registry made a mistake"},
		{"not an AMID", "/agents/%3Cb%3E", nil, 404, "no agent&#39;s name"},
		{"too long", "/search?q=" + strings.Repeat("x", 10_000), nil, 400, "too long"},
		{"malformed", "/search?q=%zz", nil, 400, "malformed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			srv := serve(t, &shelf{err: c.err})
			resp, body := get(t, srv.URL+c.path)
			if resp.StatusCode != c.status || !strings.Contains(body, c.want) || strings.Contains(body, "secret") {
				t.Errorf("status %d, want %d with %q", resp.StatusCode, c.status, c.want)
			}
		})
	}
}
