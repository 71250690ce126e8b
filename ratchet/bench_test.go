package ratchet

import (
	"bytes"
	"io"
	"testing"
)

// These are for profiles and for comparing two states of this package. How far it
// is from what the primitives cost says "make bench-session".

func BenchmarkSealOpen(b *testing.B) {
	r := seeded("bench")
	alice, bob := pairOf(b, r)
	text := bytes.Repeat([]byte{1}, 1024)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		sealOpen(b, alice, bob, r, text)
	}
}

// Every message opens under a new ratchet key.
func BenchmarkStep(b *testing.B) {
	r := seeded("bench")
	alice, bob := pairOf(b, r)
	text := bytes.Repeat([]byte{1}, 1024)
	b.ReportAllocs()
	for b.Loop() {
		sealOpen(b, alice, bob, r, text)
		alice, bob = bob, alice
	}
}

func BenchmarkPrepare(b *testing.B) {
	r := seeded("bench")
	alice, _ := pairOf(b, r)
	b.ReportAllocs()
	for b.Loop() {
		alice.spare = nil
		prepare(b, alice, r)
	}
}

// Both sides, B with keys made ready, up to message 0.
func BenchmarkHandshake(b *testing.B) {
	r := seeded("bench")
	p := newParties(b, r, true)
	responder, asker := NewResponder(p.b.Exchange, p.b.SignedPrekey, p.b.KEM), p.a.Public()
	b.ReportAllocs()
	for b.Loop() {
		offer, err := NewOffer(r, p.transcript.KEMKey)
		if err != nil {
			b.Fatal(err)
		}
		th0 := TranscriptHash(p.transcript)
		alice, err := offer.Initiate(r, p.initiatorKeys(), th0)
		if err != nil {
			b.Fatal(err)
		}
		m0, err := alice.SealFirst(r, []byte("request"))
		if err != nil {
			b.Fatal(err)
		}
		bob, err := responder.Respond(p.b.OneTime, asker, offer.EKPublic(), offer.Ciphertext(), th0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bob.OpenFirst(noon, r, m0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshal(b *testing.B) {
	r := seeded("bench")
	_, bob := pairOf(b, r)
	b.ReportAllocs()
	for b.Loop() {
		image(b, bob)
	}
}

func sealOpen(b *testing.B, from, to *Session, r io.Reader, text []byte) {
	env, _, err := from.Seal(r, text)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := to.Open(noon, r, env); err != nil {
		b.Fatal(err)
	}
}
