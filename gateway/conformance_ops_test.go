package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/gatewaytest"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
)

// hook registers an agent to which messages are pushed.
func (p pair) hook(t *testing.T, target string) (address, secret string) {
	t.Helper()
	var made struct {
		Agent struct {
			Address string
			Secret  string `json:"push_secret"`
		}
	}
	p.Admin(http.MethodPost, agentsPath, m{"address": "hook", "delivery_mode": "push", "push_target": target + "/hook",
		"headers": m{"Authorization": "Bearer t", "X-Agent-ID": "svc"}}).Want(http.StatusCreated).Into(&made)
	return made.Agent.Address, made.Agent.Secret
}

func TestB105APushHasItsHeadersAndMembers(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, nil)
	p := newPair(t, nil)
	address, _ := p.hook(t, peer.URL)
	if st := p.alice.Settled(taken(t, p.alice.Post(m{"recipients": []string{address, p.bob.Address}, "subject": "s", "payload": m{"p": 1}})).MessageID); st.Status != amtp.Delivered {
		t.Errorf("got %+v", st)
	}
	got := peer.requests()
	if len(got) != 1 || got[0].Path != "/hook" {
		t.Fatalf("got %+v", got)
	}
	for name, want := range map[string]string{"X-AMTP-Local-Delivery": "true", "Content-Type": "application/json", "Authorization": "Bearer t", "X-Agent-ID": "svc"} {
		if value := got[0].Header.Get(name); value != want {
			t.Errorf("%s: %q", name, value)
		}
	}
	const want = "attachments coordination headers in_reply_to message_id payload recipient response_type schema sender subject timestamp"
	if names := members(t, got[0].Body); names != want {
		t.Errorf("got  %s\nwant %s", names, want)
	}
	var body struct {
		Recipient, Sender string
		Payload           json.RawMessage
	}
	if err := json.Unmarshal(got[0].Body, &body); err != nil || body.Recipient != address || body.Sender != p.alice.Address || string(body.Payload) != `{"p":1}` {
		t.Errorf("got %s", got[0].Body)
	}
}

func TestB106APushIsTriedAgainAndThenADeadLetter(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, failing(2, http.StatusInternalServerError))
	p := newPair(t, quick)
	address, _ := p.hook(t, peer.URL)
	if st := p.alice.Settled(p.alice.Send(address, `{}`).MessageID); st.Status != amtp.Delivered || len(peer.requests()) != 3 {
		t.Errorf("%d requests, %+v", len(peer.requests()), st)
	}

	p = newPair(t, func(c *gateway.Config) { quick(c); c.Delivery.MaxAge = 100 * time.Millisecond })
	address, _ = p.hook(t, newPeer(t, answers(http.StatusInternalServerError)).URL)
	id := p.alice.Send(address, `{}`).MessageID
	if st := p.alice.Settled(id); st.Status != amtp.Failed || st.Recipients[0].ErrorCode == "" {
		t.Errorf("got %+v", st)
	}
	if got := p.Admin(http.MethodGet, "/v1/admin/deadletters", nil).Want(http.StatusOK); !strings.Contains(string(got.Body), id) {
		t.Errorf("dead letters %s", got.Body)
	}
}

func TestB107APushIsSignedEachTime(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, failing(1, http.StatusBadGateway))
	p := newPair(t, quick)
	address, secret := p.hook(t, peer.URL)
	p.alice.Settled(p.alice.Send(address, `{"a":"<é>"}`).MessageID)
	got := peer.requests()
	if len(got) != 2 {
		t.Fatalf("%d requests", len(got))
	}
	for _, r := range got {
		if err := webhook.Verify([]byte(secret), r.Header, r.Body, time.Now()); err != nil {
			t.Error(err)
		}
		if err := webhook.Verify([]byte(secret), r.Header, append(r.Body, ' '), time.Now()); err == nil {
			t.Error("T83: another body is verified")
		}
		if err := webhook.Verify([]byte("other"), r.Header, r.Body, time.Now()); err == nil {
			t.Error("T83: another key verifies")
		}
	}
	if got[0].Header.Get(webhook.HeaderID) != got[1].Header.Get(webhook.HeaderID) {
		t.Error("the second try has another id")
	}
}

func TestB110WithoutItsDatabaseAGatewayLivesAndIsNotReady(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var opened *store.Store
	p := newPair(t, func(c *gateway.Config) {
		dir := t.TempDir()
		c.Open = func(ctx context.Context) (*store.Store, error) {
			s, err := store.Open(ctx, filepath.Join(dir, "gateway.db"))
			mu.Lock()
			defer mu.Unlock()
			opened = s
			return s, err
		}
	})
	p.Do(http.MethodGet, "/ready", nil).Want(http.StatusOK)
	_ = errors.Join(opened.Close()) // as if the database had gone away
	p.Do(http.MethodGet, "/health", nil).Want(http.StatusOK)
	eventually(t, "it is not ready", func() bool {
		got := p.Do(http.MethodGet, "/ready", nil)
		return got.Status == http.StatusServiceUnavailable && strings.Contains(string(got.Body), `"ready":false`)
	})
	got := p.alice.Post(to(p.bob.Address))
	if got.Status/100 != 5 || strings.Contains(strings.ToLower(string(got.Body)), "sql") || strings.Contains(string(got.Body), "gateway.db") {
		t.Errorf("a message: %d %s", got.Status, got.Body)
	}
	if got := p.bob.Do(http.MethodGet, "/v1/inbox/bob@a.test", nil); got.Status/100 != 5 {
		t.Errorf("an inbox: %d %s", got.Status, got.Body)
	}
}

func TestB111NumbersAreTextForPrometheusAndJSONAsAgentrys(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.alice.Send(p.bob.Address, `{}`)
	got := p.Do(http.MethodGet, "/metrics", nil, "Accept", "application/json").Want(http.StatusOK)
	const want = "deliveries discovery errors http messages system timestamp uptime_seconds"
	if names := members(t, got.Body); names != want {
		t.Errorf("got  %s\nwant %s", names, want)
	}
	text := p.Do(http.MethodGet, "/metrics", nil, "Accept", "text/plain").Want(http.StatusOK)
	if !strings.HasPrefix(text.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("type %s", text.Header.Get("Content-Type"))
	}
	samples := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text.Body)), "\n") {
		if strings.HasPrefix(line, "# HELP ") || strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		name, value, ok := strings.Cut(line, " ")
		if i := strings.LastIndex(line, "} "); i > 0 {
			name, value, ok = line[:i+1], line[i+2:], true
		}
		if _, err := strconv.ParseFloat(value, 64); err != nil || !ok || name == "" {
			t.Errorf("no sample: %q", line)
		}
		samples++
	}
	if samples < 10 || !strings.Contains(string(text.Body), "messages") {
		t.Errorf("%d samples", samples)
	}
}

func TestB112TooManyAreToldWhenToComeAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *gateway.Config) { c.Rates = gateway.Rates{Sender: gateway.Rate{PerSecond: 0.01, Burst: 2}} })
	for range 2 {
		p.alice.Post(to(p.bob.Address)).Want(http.StatusOK)
	}
	got := p.alice.Post(to(p.bob.Address))
	refused(t, "the third", got, http.StatusTooManyRequests, amtp.CodeRateLimitExceeded)
	if n, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || n < 1 || n > 3600 {
		t.Errorf("Retry-After %q", got.Header.Get("Retry-After"))
	}
	p.bob.Post(to(p.alice.Address)).Want(http.StatusOK)

	// T87: strangers have 60 in an hour.
	p = newPair(t, nil)
	refusals := 0
	for i := range 61 {
		if got := p.Do(http.MethodPost, "/v1/messages", to(p.bob.Address).with(m{"sender": "x@stranger.test", "payload": i})); got.Status == http.StatusTooManyRequests {
			refusals++
		}
	}
	if refusals != 1 {
		t.Errorf("%d of 61 refused", refusals)
	}
}

// Everything at once, for the race detector: sends, reads, acknowledgements, changes of
// agents, numbers.
func TestB115ManyAtOnce(t *testing.T) {
	t.Parallel()
	n := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Delivery = delivery.Limits{Poll: 50 * time.Millisecond} }, "a.test", "b.test")
	a := n.At("a.test")
	alice, bob, far := a.Register("alice"), a.Register("bob"), n.At("b.test").Register("far")
	const workers, each = 8, 10
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := range each {
				res := alice.Post(to(bob.Address, far.Address).with(m{"payload": fmt.Sprint(w, i)}))
				if res.Status != http.StatusOK && res.Status != http.StatusAccepted {
					t.Errorf("%d %s", res.Status, res.Body)
				}
				bob.Inbox()
				a.Do(http.MethodGet, "/v1/capabilities/b.test", nil)
				a.Do(http.MethodGet, "/metrics", nil)
				a.Admin(http.MethodPatch, agentsPath+"/bob", m{"description": fmt.Sprint(w, i)})
			}
		})
	}
	working.Wait()
	eventually(t, "all of them are far away", func() bool { return len(far.Inbox()) == workers*each })
	inbox := bob.Inbox()
	if len(inbox) != workers*each {
		t.Errorf("bob has %d", len(inbox))
	}
	for _, x := range inbox {
		bob.Ack(x.MessageID).Want(http.StatusOK)
	}
}

// A script that waits for /health may go on at once, as with agentry.
func TestARequestRightAfterTheStartIsHeldUntilTheStoreIsThere(t *testing.T) {
	t.Parallel()
	opening := make(chan struct{})
	s, err := gateway.New(gateway.Config{Domain: "a.test", AdminOpen: true, Open: func(ctx context.Context) (*store.Store, error) {
		<-opening
		return store.OpenMemory(ctx, t.TempDir())
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	look := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if got := look("/health"); got.Code != http.StatusOK {
		t.Errorf("/health: %d", got.Code)
	}
	answered := make(chan int, 1)
	go func() { answered <- look(agentsPath).Code }()
	close(opening)
	if got := <-answered; got != http.StatusOK {
		t.Errorf("%s: %d", agentsPath, got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
