package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"amesh/relay/mailbox"

	"github.com/google/go-cmp/cmp"
)

func TestSTUNIsToldToThoseWhoMayKnowTheMember(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	h.server.stun = ":3478"
	if _, got := h.join(1); got["stun"] != nil {
		t.Errorf("a 0.2 client was told %v", got)
	}
	if _, got := h.join(2, "teleport"); got["stun"] != ":3478" {
		t.Errorf("a client with extensions was told %v", got)
	}
}

// get asks a house, with an Accept header if it is not empty.
func (h *house) get(path, accept string) (*http.Response, string) {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.web.URL+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp, string(body)
}

func TestInfoForPrograms(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	h.server.stun = "relay.example:3478"
	h.server.about = About{Name: "relay.example:443", Operator: "Ann", Contact: "ann@relay.example", Version: "1.2", Libp2p: []string{"/dns/relay.example/tcp/1/p2p/x"}}
	resp, body := h.get("/any/path", "text/plain, application/json;q=0.9")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != typeJSON {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	var got object
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := object{
		"schema": "amesh.relay-info/1", "name": "relay.example:443", "operator": "Ann", "contact": "ann@relay.example", "version": "1.2",
		"wires":      []any{"agentmesh/0.2", "agentmesh/0.1"},
		"transports": []any{"websocket", "longpoll"}, "extensions": got["extensions"], "challenge": got["challenge"],
		"stun": "relay.example:3478", "libp2p": []any{"/dns/relay.example/tcp/1/p2p/x"}, "retention_s": 259200.0,
		"limits": object{
			"payload_bytes": 65536.0, "frame_bytes": 524288.0,
			"mailbox": object{"messages": 1000.0, "bytes": 67108864.0}, "legacy_mailbox": object{"messages": 100.0, "bytes": 16777216.0},
			"credit":           object{"messages": 256.0, "bytes": 1048576.0},
			"sends_per_second": 1000.0, "send_burst": 1000.0, "legacy_sends_per_minute": 100.0, "legacy_knocks_per_minute": 30.0,
			"connections_per_address": 512.0,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if list, _ := got["extensions"].([]any); len(list) != len(h.server.extensions()) || list[0] != "challenge" {
		t.Errorf("extensions %v", got["extensions"])
	}
}

// The page shows what the operator wrote as text, and nothing on it runs or loads.
func TestInfoForPeople(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	h.server.about = About{Operator: `Ann <script>alert("x")</script>`}
	resp, body := h.get("/", "text/html,application/xhtml+xml,*/*;q=0.8")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), typeHTML) {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy %q", resp.Header.Get("Content-Security-Policy"))
	}
	if !strings.Contains(body, "Ann &lt;script&gt;") || !strings.Contains(body, "72 hours") {
		t.Errorf("page: %s", body)
	}
	for _, bad := range []string{"<script", "src=", "href=", "<iframe", "url(", "@import"} {
		if strings.Contains(body, bad) {
			t.Errorf("page contains %s", bad)
		}
	}
}

func TestOtherwiseAWebSocketIsWanted(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	for _, accept := range []string{"", "*/*", "image/png", "application/jsonp"} {
		if resp, _ := h.get("/", accept); resp.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("Accept %q: %d", accept, resp.StatusCode)
		}
	}
	resp, err := h.web.Client().Post(h.web.URL, typeJSON, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

// sick is a mailbox whose disk can fail.
type sick struct {
	mailbox.Mailbox
	fails chan bool // holds whether it fails
}

func (s sick) Expire(ctx context.Context) (int, error) {
	fails := <-s.fails
	s.fails <- fails
	if fails {
		return 0, fmt.Errorf("%w: %w", mailbox.ErrStorage, errors.New("the disk is gone"))
	}
	return s.Mailbox.Expire(ctx)
}

func TestReadiness(t *testing.T) {
	l := DefaultLimits()
	l.PingEvery, l.SweepEvery = 10*time.Millisecond, 10*time.Millisecond
	box := sick{testBox(t, newMemory(), l), make(chan bool, 1)}
	box.fails <- false
	s, err := NewServer(ServerConfig{Mailbox: box, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	h.mu.Lock()
	h.server = s
	h.mu.Unlock()
	is := func(want string) {
		t.Helper()
		until(t, "/readyz says "+want, func() bool {
			resp, body := h.get("/readyz", "")
			status := http.StatusServiceUnavailable
			if want == "ok" {
				status = http.StatusOK
			}
			return resp.StatusCode == status && strings.Contains(body, `"`+want+`"`)
		})
		for _, path := range []string{"/livez", "/health"} {
			if resp, body := h.get(path, ""); resp.StatusCode != http.StatusOK || body != "{\"status\":\"ok\"}\n" {
				t.Errorf("%s while %s: %d %s", path, want, resp.StatusCode, body)
			}
		}
	}
	is("starting")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	is("ok")
	<-box.fails
	box.fails <- true
	is("storage unavailable")
	<-box.fails
	box.fails <- false
	is("ok")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	is("stopping")
}
