package relay

import "testing"

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
