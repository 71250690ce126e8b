package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"amesh/node/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a memory node behind a real server on a socket and on TCP.
type house struct {
	t      *testing.T
	node   *memory
	server *Server
	home   string
	socket string
	host   string            // host:port of the TCP door
	tokens map[string]string // by "owner", "alice", "carol"
	log    *logbook
}

// logbook collects what is logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// openHouse starts a node's two doors and closes them when the test ends.
func openHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.serve(h.listenTCP(), h.server.TCPHandler())
	l, err := ListenSocket(h.socket)
	if err != nil {
		t.Fatal(err)
	}
	h.serve(l, h.server.SocketHandler())
	return h
}

// newHouse builds everything and listens on nothing but its TCP address.
func newHouse(t *testing.T) *house {
	t.Helper()
	// Not t.TempDir, whose paths are too long for a socket.
	home, err := os.MkdirTemp("", "am")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	h := &house{t: t, node: newMemory(), home: home, socket: filepath.Join(home, "node.sock"), log: new(logbook), tokens: map[string]string{}}
	creds, err := LoadCredentials(home, []string{"alice", "carol"})
	if err != nil {
		t.Fatal(err)
	}
	for who, file := range map[string]string{"owner": "owner.token", "alice": "agents/alice/token", "carol": "agents/carol/token"} {
		raw, err := os.ReadFile(filepath.Join(home, file))
		if err != nil {
			t.Fatal(err)
		}
		h.tokens[who] = strings.TrimSpace(string(raw))
	}
	h.host = "127.0.0.1:7777"
	h.build(creds, h.node)
	return h
}

func (h *house) build(creds Credentials, b api.Backend) {
	h.t.Helper()
	logger := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(Config{Backend: b, Credentials: creds, Hosts: []string{h.host}, Version: "test", Logger: logger})
	if err != nil {
		h.t.Fatal(err)
	}
	h.server = s
}

// listenTCP takes a free port and builds the server anew with its name.
func (h *house) listenTCP() net.Listener {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.host = l.Addr().String()
	h.build(h.server.cfg.Credentials, h.server.cfg.Backend)
	return l
}

func (h *house) serve(l net.Listener, handler http.Handler) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.server.Serve(ctx, l, handler) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Errorf("serve: %v", err)
		}
	})
}

// client is the Go client at one of the doors.
func (h *house) client(cfg api.ClientConfig) *api.Client {
	c := api.NewClient(cfg)
	h.t.Cleanup(c.Close)
	return c
}

// raw is an HTTP client for one door, for requests that the Go client never makes.
func (h *house) raw(door string) *http.Client {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if door == "socket" {
			return new(net.Dialer).DialContext(ctx, "unix", h.socket)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", h.host)
	}}
	h.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// seen is an answer.
type seen struct {
	status  int
	header  http.Header
	body    []byte
	problem api.Problem // when it is one
}

// ask sends a request and checks the shape of every error: RFC 9457 with our
// members, and the status in the body is the status of the answer.
func (h *house) ask(c *http.Client, method, path, body string, headers ...string) seen {
	h.t.Helper()
	req, err := http.NewRequest(method, "http://"+h.host+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if method != http.MethodGet && method != http.MethodHead {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.see(resp, method)
}

func (h *house) see(resp *http.Response, method string) seen {
	h.t.Helper()
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	s := seen{status: resp.StatusCode, header: resp.Header, body: raw}
	if s.status < 300 || method == http.MethodHead {
		return s
	}
	if got := resp.Header.Get("Content-Type"); got != problemType {
		h.t.Errorf("%s answered %d as %q, want %q", resp.Request.URL.Path, s.status, got, problemType)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s.problem); err != nil {
		h.t.Fatalf("problem %s: %v", raw, err)
	}
	if p := s.problem; p.Status != s.status || p.Code == "" || p.Title == "" || p.Detail == "" || p.Hint == "" && s.status != 503 && p.Code != api.CodeNotFound {
		h.t.Errorf("%s answered %d with an incomplete problem %s", resp.Request.URL.Path, s.status, raw)
	}
	return s
}

// codeOf is the code of the problem in an error of the Go client.
func codeOf(err error) api.Code {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// operation is one verb as the server's own description has it.
type operation struct{ method, path, id string }

// operations come from the server itself, so that a new route cannot escape a
// table that is made of them.
func (h *house) operations() []operation {
	h.t.Helper()
	var doc struct {
		OpenAPI string                                             `json:"openapi"`
		Paths   map[string]map[string]struct{ OperationID string } `json:"paths"`
	}
	raw, err := h.server.document()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		h.t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		h.t.Errorf("OpenAPI version %q, want 3.1", doc.OpenAPI)
	}
	var ops []operation
	for path, methods := range doc.Paths {
		for method, op := range methods {
			ops = append(ops, operation{strings.ToUpper(method), path, op.OperationID})
		}
	}
	if len(ops) != len(h.server.routes) {
		h.t.Fatalf("%d operations are described, %d are routed", len(ops), len(h.server.routes))
	}
	for _, op := range ops {
		if _, ok := h.server.routes[op.method+" "+op.path]; !ok {
			h.t.Fatalf("%s %s is described but not routed", op.method, op.path)
		}
	}
	return ops
}
