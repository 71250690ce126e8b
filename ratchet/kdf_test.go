package ratchet

import "testing"

func TestMacByteIsHMAC(t *testing.T) {
	r := seeded("HMAC")
	for i := range 1 << 8 {
		key := secret(t, r)
		if i == 0 {
			key = Secret{}
		}
		if got, want := macByte(&key, byte(i)), mac(key, byte(i)); got != want {
			t.Fatalf("byte %#x: not HMAC-SHA-256", i)
		}
	}
}
