package relay

import (
	"testing"

	"amesh/identity"
)

// What is remembered is what was checked, and not without end.
func TestKeysAreRemembered(t *testing.T) {
	k := newKeys(2)
	texts := make([]string, 7)
	for i := range texts {
		texts[i] = testKey(t, byte(1+i)).Public().Text()
	}
	for round := range 3 {
		for i, text := range texts {
			for _, same := range []string{text, "ed25519:" + text} {
				got, err := k.parse(same)
				if err != nil || got != testKey(t, byte(1+i)).Public() {
					t.Fatalf("round %d: key %d is %v, %v", round, i, got, err)
				}
				if n := len(k.now) + len(k.old); n > 4 {
					t.Fatalf("%d keys are remembered, want at most 4", n)
				}
			}
			if _, ok := k.find(text); !ok {
				t.Fatalf("key %d was forgotten at once", i)
			}
		}
	}
	// T01
	for _, bad := range []string{"", "AAAA", identity.PublicKey{1}.Text()} {
		for range 2 {
			if _, err := k.parse(bad); err == nil {
				t.Errorf("%q was taken for a key", bad)
			}
		}
	}
}
