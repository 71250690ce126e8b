package ratchet

import (
	"bytes"
	"testing"
)

// T23: message 0, whatever stands in the knock around it.
func FuzzOpenFirst(f *testing.F) {
	r := seeded("fuzz message 0")
	p := newParties(f, r, true)
	a := p.initiate(f, r)
	m0, err := a.SealFirst(r, []byte("request"))
	if err != nil {
		f.Fatal(err)
	}
	prefix := Prefix(TypeFirst)
	f.Add(m0[:len(m0)-1])
	f.Add(append(prefix[:], make([]byte, 82+40+256)...))
	f.Add(flip(m0, 100))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.Equal(raw, m0) {
			return
		}
		b := p.respond(t)
		before := image(t, b)
		if _, err := b.OpenFirst(noon, r, raw); err == nil || !bytes.Equal(before, image(t, b)) {
			t.Errorf("%x: %v, or the session changed", raw, err)
		}
	})
}

// What a peer with the right keys may put into a body: one padding is right for a
// text, and every other is refused.
func FuzzUnpad(f *testing.F) {
	f.Add([]byte("hi"), uint16(0), uint16(0), byte(0))
	f.Add(make([]byte, 252), uint16(1), uint16(3), byte(1))
	f.Add(make([]byte, 5000), uint16(2), uint16(4900), byte(7))
	f.Fuzz(func(t *testing.T, text []byte, more, at uint16, by byte) {
		size := PaddedSize(len(text))
		if size == 0 {
			return
		}
		padded := make([]byte, size)
		padInto(padded, text)
		if p, err := unpad(padded); err != nil || !bytes.Equal(p, text) {
			t.Fatalf("%x comes back as %x, %v", text, p, err)
		}
		padded = append(padded, make([]byte, more)...)
		padded[int(at)%len(padded)] ^= by
		p, err := unpad(padded)
		if err != nil {
			return
		}
		again := make([]byte, PaddedSize(len(p)))
		padInto(again, p)
		if !bytes.Equal(padded, again) {
			t.Errorf("two paddings of %x", p)
		}
	})
}

// A KEM key as it stands in somebody's bundle.
func FuzzNewOffer(f *testing.F) {
	seed := kemSeed(f, seeded("fuzz KEM"))
	f.Add(seed.Public())
	f.Add(bytes.Repeat([]byte{0xFF}, 1184))
	f.Fuzz(func(t *testing.T, key []byte) {
		o, err := NewOffer(seeded("x"), key)
		if err == nil && (len(key) != 1184 || len(o.Ciphertext()) != KEMCiphertextSize) {
			t.Errorf("an offer of %d bytes for a key of %d", len(o.Ciphertext()), len(key))
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add("ba7816bf8f01cfea414140de5dae2223")
	f.Add("BA7816BF8F01CFEA414140DE5DAE2223")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && id.String() != s {
			t.Errorf("%q is read as %s", s, id)
		}
	})
}
