package ratchet

import (
	"bytes"
	"testing"
)

func BenchmarkSealOpen(b *testing.B) {
	r := seeded("bench")
	alice, bob := pairOf(b, r)
	text := bytes.Repeat([]byte{1}, 1024)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		env, _, err := alice.Seal(r, text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bob.Open(noon, r, env); err != nil {
			b.Fatal(err)
		}
	}
}
