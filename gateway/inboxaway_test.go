package gateway

import (
	"context"
	"net/http"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// An agent whose gateway has lost its database is told to come back, and not that it has no
// right to its inbox; somebody else still learns nothing.
func TestInboxWithoutADatabaseIsNotForbidden(t *testing.T) {
	h := newHouse(t, nil)
	st, err := store.OpenMemory(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	p := *h.parts.Load()
	p.store = st
	h.parts.Store(&p)
	away, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	t.Cleanup(end)
	for name, answer := range map[string]func(*request) (reply, error){"read": h.inbox, "acknowledge": h.acknowledge} {
		for key, want := range map[string]int{h.ann: http.StatusServiceUnavailable, h.bob: http.StatusForbidden} {
			r := h.asks("", nil, "Authorization", "Bearer "+key)
			r.Request = r.WithContext(away)
			r.SetPathValue("recipient", "ann@north.test")
			r.SetPathValue("id", amtp.NewMessageID(h.now))
			_, err := answer(r)
			if err == nil {
				t.Fatalf("%s: answered", name)
			}
			if got := h.refusal(r, err); got.Status != want {
				t.Errorf("%s: %d %v, want %d", name, got.Status, got, want)
			}
		}
	}
}
