package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The round trip of every method against the real server is in node/httpapi; here
// is what a client does when there is no such server.

func problemOf(t *testing.T, err error) *Problem {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatalf("%v is no problem", err)
	}
	return p
}

func TestNobodyListens(t *testing.T) {
	dir, err := os.MkdirTemp("", "am") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, cfg := range map[string]ClientConfig{
		"no socket":            {Socket: filepath.Join(dir, "none.sock")},
		"no folder":            {Socket: filepath.Join(dir, "none", "node.sock")},
		"socket of a dead one": {Socket: dead},
		"closed port":          {URL: "http://" + gone.Addr().String(), Token: "t"},
	} {
		c := NewClient(cfg)
		_, err := c.Status(t.Context(), "")
		p := problemOf(t, err)
		if p.Code != CodeUnreachable || !strings.Contains(p.Hint, "amesh up") {
			t.Errorf("%s: %s (%s), hint %q", name, p.Code, p.Detail, p.Hint)
		}
		if !strings.Contains(p.Detail, cfg.Socket+cfg.URL) {
			t.Errorf("%s: %q does not say where", name, p.Detail)
		}
		c.Close()
	}
}

func TestUnusableConfiguration(t *testing.T) {
	for name, row := range map[string]struct {
		cfg  ClientConfig
		code Code
	}{
		"address that is none":    {ClientConfig{URL: "http://[::1"}, CodeInvalid},
		"token with a line break": {ClientConfig{URL: "http://127.0.0.1:1", Token: "a\nb"}, CodeUnauthorized},
	} {
		_, err := NewClient(row.cfg).Status(t.Context(), "")
		if p := problemOf(t, err); p.Code != row.code || strings.Contains(p.Detail, "a\nb") {
			t.Errorf("%s: %s %q, want %s", name, p.Code, p.Detail, row.code)
		}
	}
}

func TestAnswersThatNoNodeGives(t *testing.T) {
	rows := map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		code   Code
	}{
		"a page":         {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, CodeInternal},
		"404 of another": {http.NotFound, CodeInternal},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, CodeInternal},
		"problem of others": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(500)
			io.WriteString(w, `{"title":"oops"}`)
		}, CodeInternal},
		"problem of a newer node": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
			w.WriteHeader(418)
			io.WriteString(w, `{"title":"tea","code":"teapot","status":200,"novel":1}`)
		}, "teapot"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}, CodeUnreachable},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				row.answer(w, r)
			}))
			defer s.Close()
			c := NewClient(ClientConfig{URL: s.URL, Token: "secret"})
			defer c.Close()
			_, err := c.Peers(t.Context(), "")
			if p := problemOf(t, err); p.Code != row.code || p.Status == 200 || strings.Contains(p.Detail, "secret") {
				t.Errorf("%s %d %q, want %s", p.Code, p.Status, p.Detail, row.code)
			}
			if asked != 1 {
				t.Errorf("asked %d times: a redirect was followed", asked)
			}
		})
	}
}

func TestBodyTooLargeIsNotSent(t *testing.T) {
	_, err := NewClient(ClientConfig{Socket: "/nowhere"}).Send(t.Context(), "", SendRequest{Body: make([]byte, MaxBody+1)}, "")
	if p := problemOf(t, err); p.Code != CodeTooLarge {
		t.Errorf("%s, want %s", p.Code, CodeTooLarge)
	}
}

// silent is a client of a node that takes requests and never answers.
func silent(t *testing.T) *Client {
	c := NewClient(ClientConfig{URL: "http://127.0.0.1:7777"})
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		return ours, nil
	}}
	return c
}

// A client gives up, but never before the node's own answer to a wait in vain.
func TestNodeThatNeverAnswers(t *testing.T) {
	for name, row := range map[string]struct {
		ask  func(context.Context, *Client) error
		took time.Duration
	}{
		"no wait": {func(ctx context.Context, c *Client) error { _, err := c.Status(ctx, ""); return err }, 30 * time.Second},
		"send, short wait": {func(ctx context.Context, c *Client) error {
			_, err := c.Send(ctx, "", SendRequest{Wait: StateDelivered, TimeoutMS: 2000}, "")
			return err
		}, 30 * time.Second},
		"send, long wait": {func(ctx context.Context, c *Client) error {
			_, err := c.Send(ctx, "", SendRequest{Wait: StateDelivered, TimeoutMS: 120_000}, "")
			return err
		}, 130 * time.Second},
		"message": {func(ctx context.Context, c *Client) error {
			_, err := c.Message(ctx, "", "x", StateHandled, time.Hour)
			return err
		}, time.Hour + 10*time.Second},
		"lease": {func(ctx context.Context, c *Client) error {
			_, err := c.Lease(ctx, "", LeaseRequest{WaitSeconds: 60})
			return err
		}, 70 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := silent(t)
				defer c.Close()
				began := time.Now()
				p := problemOf(t, row.ask(t.Context(), c))
				if took := time.Since(began); p.Code != CodeBusy || took != row.took {
					t.Errorf("%s after %s, want %s after %s", p.Code, took, CodeBusy, row.took)
				}
			})
		})
	}
}

// The caller's own end comes back as it is.
func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := silent(t)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Status(ctx, ""); err != context.DeadlineExceeded {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestDiscover(t *testing.T) {
	rows := map[string]struct {
		file string // of node.json; empty: none
		want string // socket; empty: an error
	}{
		"no file":            {"", "HOME/node.sock"},
		"socket in the home": {`{"pid":1,"api":"http://127.0.0.1:7777","socket":"HOME/node.sock","libp2p":[]}`, "HOME/node.sock"},
		"socket elsewhere":   {`{"socket":"/run/user/1/amesh/x.sock"}`, "/run/user/1/amesh/x.sock"},
		"no socket named":    {`{"api":"http://127.0.0.1:7777"}`, "HOME/node.sock"},
		"relative socket":    {`{"socket":"node.sock"}`, ""},
		"half a file":        {`{"socket":"/ru`, ""},
		"another kind":       {`{"socket":7}`, ""},
	}
	for name, row := range rows {
		home := t.TempDir()
		if row.file != "" {
			text := strings.ReplaceAll(row.file, "HOME", home)
			if err := os.WriteFile(filepath.Join(home, "node.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Discover(home)
		want := strings.ReplaceAll(row.want, "HOME", home)
		if got != (ClientConfig{Socket: want}) || (err == nil) != (row.want != "") {
			t.Errorf("%s: %+v, %v; want %q", name, got, err, want)
		}
	}
}

// An empty body is a string on the wire, as the server's schema wants it.
func TestEmptyBodyIsNotNull(t *testing.T) {
	var got map[string]any
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		io.WriteString(w, "{}")
	}))
	defer s.Close()
	c := NewClient(ClientConfig{URL: s.URL})
	defer c.Close()
	if _, err := c.Send(t.Context(), "", SendRequest{To: "x"}, ""); err != nil {
		t.Fatal(err)
	}
	if got["body"] != "" {
		t.Errorf("body is %v, want an empty string", got["body"])
	}
}
