package agent

import (
	"context"
	"slices"
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

// T17: keys that were served twice cost the second knock a renew, after which its sender
// asks for none, and both agents talk.
func TestServedTwiceAndStillTalking(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	x25519, kem, err := bob.OneTimeKeys(t.Context(), "a registry")
	if err != nil {
		t.Fatal(err)
	}
	src := &source{give: func(context.Context) ([]byte, []byte) { return x25519, kem }}
	w.keys = src
	ann, cid := w.person("ann", "ask"), w.person("cid", "ask")
	for _, p := range []*person{ann, cid} {
		if m := w.send(p, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
			t.Fatalf("%s: %s (%s)", p.name, m.State, m.Reason)
		}
	}
	var without []bool
	for _, k := range w.sb.knocks(t) {
		without = append(without, k.NoOneTimeKey() && k.OneTime.Kind == identity.KindNone)
	}
	if !slices.Equal(without, []bool{false, false, true}) || src.asked != 2 {
		t.Errorf("knocks without one-time keys: %v, after %d questions", without, src.asked)
	}
}
