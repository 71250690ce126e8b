package node

import (
	"testing"

	"amesh/node/api"
)

// New exchange keys are in the DHT soon, and nothing of a key that has left is put
// there again.
func TestRecordFollowsTheKeys(t *testing.T) {
	s := newStation(t)
	ann := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}})
	published := func(want bool, sequence uint64) {
		t.Helper()
		for {
			rec, err := s.find(ann.amid)
			if err != nil || rec.Bundle.Sequence != sequence {
				continue
			}
			st, err := ann.api.Status(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if st.DHT.Published == want {
				return
			}
		}
	}
	published(true, 1)
	keys, err := ann.api.RotateKeys(t.Context(), "")
	if err != nil || keys.Sequence != 2 {
		t.Fatalf("bundle %d, %v", keys.Sequence, err)
	}
	published(true, 2)
	if _, err := ann.api.Revoke(t.Context(), "", api.RevokeRequest{Reason: "retired"}); err != nil {
		t.Fatal(err)
	}
	published(false, 2)
	st, err := ann.api.Status(t.Context(), "")
	if err != nil || len(st.Degraded) == 0 {
		t.Errorf("degraded: %q, %v", st.Degraded, err)
	}
}
