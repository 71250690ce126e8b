package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// closed is a gateway without a store, of which only the door is used.
func closed(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{Domain: "a.test", Open: func(context.Context) (*store.Store, error) { return nil, errors.ErrUnsupported }}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request to a handler. Headers are name, value, ….
func ask(t *testing.T, h http.Handler, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// refusalIn reads the error in an answer.
func refusalIn(t *testing.T, resp *http.Response) amtp.ErrorBody {
	t.Helper()
	var e amtp.ErrorBody
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		t.Fatalf("the answer is no error in JSON: %v", err)
	}
	return e
}

// Checklist 39 and 40: errors are JSON with all their members, on every path.
func TestErrorsAreJSONEverywhere(t *testing.T) {
	s := closed(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		code         amtp.Code
		allow        string
	}{
		{"GET", "/nothing/here", http.StatusNotFound, amtp.CodeNotFound, ""},
		{"BREW", "/v1/messages", http.StatusMethodNotAllowed, amtp.CodeMethodNotAllowed, "GET, POST"},
		{"DELETE", "/health", http.StatusMethodNotAllowed, amtp.CodeMethodNotAllowed, "GET"},
		{"GET", "/v1//messages", http.StatusNotFound, amtp.CodeNotFound, ""},
		{"GET", "/v1/messages/", http.StatusNotFound, amtp.CodeNotFound, ""},
		{"GET", "/v1/messages", http.StatusServiceUnavailable, amtp.CodeServiceUnavailable, ""},
	} {
		resp := ask(t, s.Handler(), c.method, c.path, "", "X-Request-ID", "mine-1")
		e := refusalIn(t, resp)
		if resp.StatusCode != c.status || e.Error.Code != c.code || resp.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %s, allow %q", c.method, c.path, resp.StatusCode, e.Error.Code, resp.Header.Get("Allow"))
		}
		if e.Error.RequestID != "mine-1" || e.Error.Timestamp.IsZero() || e.Error.Message == "" || e.Message != e.Error.Message {
			t.Errorf("%s %s: the error has not all its members: %+v", c.method, c.path, e)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
			t.Errorf("%s %s: type %q", c.method, c.path, got)
		}
	}
}

func TestRequestIDIsEchoedOrMinted(t *testing.T) {
	s := closed(t, nil)
	for _, c := range []struct{ name, id, want string }{
		{"own", "abc-1", "abc-1"}, {"none", "", ""}, {"too long", strings.Repeat("x", 129), ""}, {"line break", "a\nb", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/health", nil)
		if c.id != "" {
			r.Header["X-Request-Id"] = []string{c.id}
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		got := w.Header().Get("X-Request-ID")
		if _, err := amtp.CheckKey(got); c.want != "" && got != c.want || c.want == "" && err != nil {
			t.Errorf("%s: request id %q", c.name, got)
		}
	}
}

// What breaks in one request is a 500 without a word of the cause, and the next is served.
func TestPanicIsAnErrorOfOneRequest(t *testing.T) {
	var log bytes.Buffer
	s := closed(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	s.routes = append(s.routes, route{method: http.MethodGet, path: "/broken", may: anyone, early: true,
		answer: func(*request) (reply, error) { panic("secret-cause") }})
	h := s.serveRoutes()
	resp := ask(t, h, http.MethodGet, "/broken", "")
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusInternalServerError || bytes.Contains(b, []byte("secret-cause")) {
		t.Errorf("got %d %s", resp.StatusCode, b)
	}
	if !strings.Contains(log.String(), "secret-cause") {
		t.Error("the log does not name the cause")
	}
	if resp := ask(t, h, http.MethodGet, "/health", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("the next request got %d", resp.StatusCode)
	}
}

// Checklist 37: a body over the limit is 413, with and without its length in front.
func TestBodyOverTheLimitIsTooLarge(t *testing.T) {
	s := closed(t, func(c *Config) { c.Limits = DefaultLimits(); c.Limits.BodyBytes = 100 })
	var got []byte
	s.routes = append(s.routes, route{method: http.MethodPost, path: "/taken", may: anyone, early: true,
		answer: func(r *request) (reply, error) { got = r.raw; return reply{}, nil }})
	srv := httptest.NewServer(s.serveRoutes())
	defer srv.Close()
	for _, c := range []struct {
		name   string
		size   int
		length bool
		want   int
	}{
		{"fits, length said", 100, true, http.StatusOK}, {"fits, chunked", 100, false, http.StatusOK},
		{"too long, length said", 101, true, http.StatusRequestEntityTooLarge}, {"too long, chunked", 101, false, http.StatusRequestEntityTooLarge},
	} {
		var body io.Reader = strings.NewReader(strings.Repeat("x", c.size))
		if !c.length {
			body = io.MultiReader(body)
		}
		resp, err := http.Post(srv.URL+"/taken", "application/json", body)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.want)
		} else if c.want == http.StatusOK && len(got) != c.size {
			t.Errorf("%s: %d bytes were read", c.name, len(got))
		} else if c.want != http.StatusOK && refusalIn(t, resp).Error.Code != amtp.CodePayloadTooLarge {
			t.Errorf("%s: another code", c.name)
		}
		_ = resp.Body.Close()
	}
	if s.bodies.all != 0 || len(s.bodies.by) != 0 {
		t.Errorf("%d bytes of %d addresses are still counted", s.bodies.all, len(s.bodies.by))
	}
}

// Bodies of all requests together have a limit, so that slow senders cannot fill the memory.
func TestBodiesTogetherAreBounded(t *testing.T) {
	s := closed(t, func(c *Config) { c.Limits = DefaultLimits(); c.Limits.MessageBytes, c.Limits.BodiesBytes = 5, 10 })
	s.routes = append(s.routes, route{method: http.MethodPost, path: "/taken", may: anyone, early: true,
		answer: func(*request) (reply, error) { return reply{}, nil }})
	h := s.serveRoutes()
	if resp := ask(t, h, http.MethodPost, "/taken", "0123456789"); resp.StatusCode != http.StatusOK {
		t.Errorf("a body that has room: %d", resp.StatusCode)
	}
	resp := ask(t, h, http.MethodPost, "/taken", "0123456789a")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a body without room: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// A browser's page reads answers only where its origin is allowed, and never with credentials.
func TestOriginsAreAllowedByName(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"none by default", nil, ""},
		{"named", func(c *Config) { c.Origins = []string{"https://x.test"} }, "https://x.test"},
		{"another is named", func(c *Config) { c.Origins = []string{"https://y.test"} }, ""},
		{"any", func(c *Config) { c.AnyOrigin = true }, "https://x.test"},
	} {
		resp := ask(t, closed(t, c.change).Handler(), http.MethodOptions, "/v1/messages", "", "Origin", "https://x.test")
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != c.want {
			t.Errorf("%s: allowed %q, want %q", c.name, got, c.want)
		}
		if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d, credentials %q", c.name, resp.StatusCode, resp.Header.Get("Access-Control-Allow-Credentials"))
		}
	}
}

// Checklist 110: health says that the process lives, ready that its database is there.
func TestHealthWithoutDatabase(t *testing.T) {
	s := closed(t, nil)
	if resp := ask(t, s.Handler(), http.MethodGet, "/health", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("/health: %d", resp.StatusCode)
	}
	resp := ask(t, s.Handler(), http.MethodGet, "/ready", "")
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(b, []byte(`"database":"not_ready"`)) {
		t.Errorf("/ready: %d %s", resp.StatusCode, b)
	}
}

// Nobody can write lines of his own into the access log, and no secret gets there.
func TestAccessLogHasNoSecretsAndNoForgedLines(t *testing.T) {
	var log bytes.Buffer
	s := closed(t, func(c *Config) { c.Access = slog.New(slog.NewJSONHandler(&log, nil)) })
	ask(t, s.Handler(), http.MethodGet, "/v1/messages?api_key=hidden1", "", "Authorization", "Bearer hidden2", "X-Admin-Key", "hidden3",
		"User-Agent", `x","forged":"yes`+"\n"+strings.Repeat("y", 1000))
	line := log.String()
	for _, secret := range []string{"hidden1", "hidden2", "hidden3"} {
		if strings.Contains(line, secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["forged"] != nil || len(line) > 1000 {
		t.Errorf("the line is not one of ours: %v %s", err, line)
	}
}
