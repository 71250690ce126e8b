package delivery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/discovery"
	"amesh/gateway/peer"
	"amesh/gateway/store"
	"amesh/internal/outward"
)

// opened is a store that runs until the test ends. It says when something has changed.
func opened(t *testing.T) (*store.Store, <-chan struct{}) {
	t.Helper()
	s, err := store.OpenMemory(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s, running(t, s)
}

// running runs a store until the test ends, and says when something has changed.
func running(t *testing.T, s *store.Store) <-chan struct{} {
	t.Helper()
	changed := make(chan struct{}, 1)
	s.OnChange(func([]string) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, store.Options{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return changed
}

// where answers with one gateway for every domain.
type where string

func (w where) Lookup(context.Context, string) (discovery.Capabilities, error) {
	return discovery.Capabilities{Record: amtp.Record{Version: amtp.Version, Gateway: string(w)}}, nil
}

// oddity is what a gateway may do beside its work, or instead of it: before, the message
// is lost, and else the answer.
type oddity struct {
	before, refuses, lies bool
	answer                http.HandlerFunc
}

var oddities = map[string]oddity{
	"dies first": {before: true, answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	"500":        {before: true, answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
	"503": {before: true, answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(503)
	}},
	"429": {before: true, answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }},
	"redirects": {before: true, refuses: true, answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/v1/messages")
		w.WriteHeader(307)
	}},
	"403":      {before: true, refuses: true, answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }},
	"dies":     {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	"too late": {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	"502":      {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }},
	"202":      {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }},
	"10 MB":    {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) }},
	"a long 400": {answer: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = w.Write(make([]byte, 1<<20))
	}},
	"endless": {answer: func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}},
	"names others": {lies: true, answer: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"recipients":[{"address":"other@b.test","status":"failed"}]}`)
	}},
}

// oddGateway takes messages into a store, and does something odd every other time.
type oddGateway struct {
	t     *testing.T
	store *store.Store
	names []string

	mu      sync.Mutex
	refused map[string]bool // by id and recipient
	lied    map[string]bool // the same
}

func newOddGateway(t *testing.T, s *store.Store) *oddGateway {
	return &oddGateway{
		t: t, store: s, names: slices.Collect(maps.Keys(oddities)), refused: make(map[string]bool), lied: make(map[string]bool),
	}
}

func (g *oddGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m, err := amtp.Parse(body, amtp.Rules{})
	if err != nil {
		g.t.Error(err)
		return
	}
	odd := g.turn(m)
	if odd.before {
		odd.answer(w, r)
		return
	}
	in := incoming(m, store.NewRecipient{Mode: store.Pull, State: amtp.Delivered})
	receipt, err := g.store.Accept(r.Context(), in)
	switch {
	case err != nil:
		w.WriteHeader(503)
	case odd.answer != nil:
		odd.answer(w, r)
	default:
		_ = json.NewEncoder(w).Encode(amtp.SendResult{MessageID: receipt.MessageID, Status: receipt.Status.Status, Recipients: receipt.Status.Recipients})
	}
}

// turn chooses what is done about a message, and remembers what is to be known of it.
func (g *oddGateway) turn(m *amtp.Message) oddity {
	if rand.N(2) == 0 {
		return oddity{}
	}
	odd := oddities[g.names[rand.N(len(g.names))]]
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, to := range m.Recipients {
		name := original(m) + to.String()
		g.refused[name] = g.refused[name] || odd.refuses
		g.lied[name] = g.lied[name] || odd.lies
	}
	return odd
}

// incoming is a message to accept, for all its recipients in one way.
func incoming(m *amtp.Message, how store.NewRecipient) store.NewMessage {
	in := store.NewMessage{Message: m, Origin: ours, KeyTTL: time.Hour, Accepted: time.Now()}
	for _, to := range m.Recipients {
		how.Address = to
		in.Recipients = append(in.Recipients, how)
	}
	return in
}

// T82: two gateways' stores, and between them one that does everything wrong. Each
// recipient ends as delivered or as a dead letter: who is delivered has the message, and
// once unless the other side lied about it; who is dead was refused.
func TestFederationWithAPeerThatDoesEverythingWrong(t *testing.T) {
	t.Parallel()
	const messages = 150
	a, changed := opened(t)
	b, _ := opened(t)
	g := newOddGateway(t, b)
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	client, err := outward.New(outward.Config{HTTP: true, AllowedHosts: []string{strings.TrimPrefix(srv.URL, "http://")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	sender, err := peer.New(peer.Config{Client: client, Discovery: where(srv.URL), AllowHTTP: true, Limits: peer.Limits{Timeout: 100 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, delivery.Config{Store: a, Peers: sender, Limits: delivery.Limits{
		MinRetry: time.Millisecond, MaxRetry: 20 * time.Millisecond, MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond,
		Throttle: 5 * time.Millisecond, Poll: 10 * time.Millisecond,
	}})
	var ids []string
	for i := range messages {
		m, err := amtp.Parse(fmt.Appendf(nil, `{"version":"1.0","sender":"user@a.test","recipients":["bob@b.test","eve@b.test"],"payload":%d}`, i), amtp.Rules{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Accept(t.Context(), incoming(m, store.NewRecipient{Mode: store.Remote, State: amtp.Queued})); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.MessageID)
	}
	for {
		st, err := a.QueueStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Queued+st.Retrying == 0 {
			break
		}
		<-changed
	}
	g.account(a, ids)
}

// account compares what the sender's store says with what has arrived.
func (g *oddGateway) account(sent *store.Store, ids []string) {
	t := g.t
	boxes := make(map[string]int) // by id and recipient
	for _, to := range []string{"bob@b.test", "eve@b.test"} {
		page, err := g.store.Inbox(t.Context(), to, store.Page{Limit: 10 * len(ids)})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			read, err := amtp.ReadDocument(m.Document)
			if err != nil {
				t.Fatal(err)
			}
			boxes[original(read)+to]++
		}
	}
	delivered, dead := 0, 0
	for _, id := range ids {
		status, err := sent.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range status.Recipients {
			name := id + r.Address
			switch r.Status {
			case amtp.Delivered, amtp.Delivering:
				delivered++
			case amtp.Failed:
				dead++
			}
			if r.Status == amtp.Failed && !g.refused[name] {
				t.Errorf("%s to %s is dead, and was not refused: %s %s", id, r.Address, r.ErrorCode, r.ErrorMessage)
			}
			if n := boxes[name]; n == 0 && r.Status != amtp.Failed || n > 1 && !g.lied[name] {
				t.Errorf("%s to %s is %s, and there %d times", id, r.Address, r.Status, n)
			}
		}
	}
	if delivered+dead != 2*len(ids) || delivered == 0 {
		t.Errorf("%d delivered + %d dead of %d", delivered, dead, 2*len(ids))
	}
	t.Logf("%d delivered, %d dead", delivered, dead)
}

// original is the id under which a message was sent first.
func original(m *amtp.Message) string {
	var h map[string]string
	if json.Unmarshal(m.Headers, &h) == nil && h[amtp.OriginalIDHeader] != "" {
		return h[amtp.OriginalIDHeader]
	}
	return m.MessageID
}
