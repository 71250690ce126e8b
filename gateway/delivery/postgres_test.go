package delivery_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/peer"
	"amesh/gateway/store"
	"amesh/internal/sqldb/sqltest"
)

// Several gateways that share a database share the work, and none does what another
// has done.
func TestWithPostgresGatewaysShareTheQueue(t *testing.T) {
	if os.Getenv("AMESH_WITH_POSTGRES") != "1" {
		t.Skip("needs PostgreSQL's programs; set AMESH_WITH_POSTGRES=1")
	}
	server, err := sqltest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	const gateways, messages = 3, 600
	var mu sync.Mutex
	sent := make(map[string]int)
	by := make(map[int]int)
	var stores []*store.Store
	var changed []<-chan struct{}
	for i := range gateways {
		s, err := store.Open(t.Context(), server.URL())
		if err != nil {
			t.Fatal(err)
		}
		stores, changed = append(stores, s), append(changed, running(t, s))
		start(t, delivery.Config{Store: s, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			mu.Lock()
			defer mu.Unlock()
			sent[m.MessageID]++
			by[i]++
			return all(m, taken)
		}}})
	}
	var clients sync.WaitGroup
	for i := range messages {
		clients.Go(func() {
			m, err := amtp.Parse(fmt.Appendf(nil, `{"version":"1.0","sender":"user@a.test","recipients":["x@b%d.test"],"payload":%d}`, i%7, i), amtp.Rules{})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := stores[i%gateways].Accept(t.Context(), incoming(m, store.NewRecipient{Mode: store.Remote, State: amtp.Queued})); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	for {
		st, err := stores[0].QueueStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Queued+st.Retrying == 0 {
			break
		}
		select { // whichever gateway it was
		case <-changed[0]:
		case <-changed[1]:
		case <-changed[2]:
		}
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("by gateway: %v", by)
	if len(sent) != messages {
		t.Errorf("%d of %d messages were sent", len(sent), messages)
	}
	for id, n := range sent {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
}
