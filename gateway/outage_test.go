package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"amesh/gateway/store"
)

// Checklist 110 and promise row 10: where the database is away, /ready says so, /health does
// not mind, and clients learn nothing of it but to come again.
func TestDatabaseIsAway(t *testing.T) {
	t.Parallel()
	st, err := store.OpenMemory(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64
	begun := time.Now()
	s := closed(t, func(c *Config) {
		c.Open = func(context.Context) (*store.Store, error) { return st, nil }
		c.Clock = func() time.Time { return begun.Add(time.Duration(ahead.Load())) }
		c.Auth.LocalSenders, c.TakeUnknown = NoKey, true
	})
	ctx, end := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	<-s.Ready()
	if resp := ask(t, s.Handler(), http.MethodGet, "/ready", ""); resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Errorf("/ready: %d %s", resp.StatusCode, b)
	}
	_ = st.Close()
	ahead.Add(int64(probeLife))
	resp := ask(t, s.Handler(), http.MethodGet, "/ready", "")
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(b, []byte(`"database":"not_ready"`)) || !bytes.Contains(b, []byte(`"message_processor":"not_ready"`)) {
		t.Errorf("/ready without database: %d %s", resp.StatusCode, b)
	}
	if resp := ask(t, s.Handler(), http.MethodGet, "/health", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("/health without database: %d", resp.StatusCode)
	}
	resp = ask(t, s.Handler(), http.MethodPost, "/v1/messages", `{"sender":"a@a.test","recipients":["b@a.test"],"payload":1}`)
	b, _ = io.ReadAll(resp.Body)
	if resp.StatusCode < 500 || strings.Contains(strings.ToLower(string(b)), "sql") {
		t.Errorf("send without database: %d %s", resp.StatusCode, b)
	}
	end()
	<-ran // with an error: its database is gone
}
