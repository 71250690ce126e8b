package relay

import (
	"testing"
	"time"

	"amesh/identity"
)

// What is remembered is what was checked, and not without end.
func TestKeysAreRemembered(t *testing.T) {
	k := newKeys(2, 1)
	texts := make([]string, 7)
	for i := range texts {
		texts[i] = testKey(t, byte(1+i)).Public().Text()
	}
	for round := range 3 {
		for i, text := range texts {
			for _, same := range []string{text, "ed25519:" + text} {
				got, err := k.parse(same)
				if err != nil || got.PublicKey != testKey(t, byte(1+i)).Public() {
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

// Only who has signed, and comes again, is worth the memory of a known key.
func TestKeysThatComeBackAreKnown(t *testing.T) {
	k := newKeys(4, 2)
	text := func(i byte) string { return testKey(t, i).Public().Text() }
	parse := func(i byte) {
		t.Helper()
		if got, err := k.parse(text(i)); err != nil || got.PublicKey != testKey(t, i).Public() {
			t.Fatalf("key %d is %v, %v", i, got, err)
		}
	}
	known := func(i byte) bool { return k.now[text(i)].known }
	parse(1)
	parse(1)
	if known(1) {
		t.Error("a key that was named twice is known")
	}
	k.signed(text(1))
	if known(1) {
		t.Error("a key is known before it comes again")
	}
	parse(1)
	if !known(1) {
		t.Error("a key that signed and came again is not known")
	}
	for i := byte(2); i <= 4; i++ {
		parse(i)
		k.signed(text(i))
		parse(i)
	}
	if k.known != 2 || known(3) || known(4) {
		t.Errorf("%d keys are known, want 2", k.known)
	}
	// Another generation begins.
	parse(5)
	if parse(1); !known(1) || k.known != 1 || len(k.now) != 2 {
		t.Errorf("a known key was forgotten by the next generation: %d of %d", k.known, len(k.now))
	}
	parse(3)
	parse(2)
	if k.known != 2 || !known(3) || known(2) {
		t.Errorf("%d keys are known in the next generation, want 2", k.known)
	}
	k.signed("nobody")
	if len(k.now) != 4 {
		t.Errorf("%d keys are remembered, want 4", len(k.now))
	}
}

// Each connection of an agent is checked, the later ones by its known key.
func TestKnownKeysLetNobodyElseIn(t *testing.T) {
	k, key, other := newKeys(maxKeys, maxKnown), testKey(t, 1), testKey(t, 2)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 4 {
		stamp := now.Add(time.Duration(i) * time.Second).Format(time.RFC3339)
		f := connectFrame{
			Protocol: protocol02, AMID: key.AMID().String(), PublicKey: key.Public().Text(), Timestamp: stamp,
			Signature: signatureText(other.SignTimestamp(stamp)),
		}
		if _, no := verifyConnect(f, now, DefaultLimits(), threshold{}, nil, k); no == nil || no.code != CodeInvalidSignature {
			t.Errorf("connection %d with another's signature: %+v", i, no)
		}
		f.Signature = signatureText(key.SignTimestamp(stamp))
		if got, no := verifyConnect(f, now, DefaultLimits(), threshold{}, nil, k); no != nil || got != key.Public() {
			t.Errorf("connection %d: %v, %+v", i, got, no)
		}
	}
	if !k.now[key.Public().Text()].known {
		t.Error("the key is not known")
	}
}
