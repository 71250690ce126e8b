package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// noon is when everything in these tests happens.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// seeded gives the same bytes for the same name, for ever.
func seeded(name string) io.Reader {
	var seed [32]byte
	copy(seed[:], name)
	return rand.NewChaCha8(seed)
}

// parties are the keys of A and B before a handshake.
type parties struct {
	a          Secret
	b          ResponderKeys
	transcript Transcript
	offer      *Offer
}

func newParties(t testing.TB, r io.Reader, oneTime bool) *parties {
	t.Helper()
	p := &parties{a: secret(t, r)}
	p.b = ResponderKeys{Exchange: secret(t, r), SignedPrekey: secret(t, r), KEM: kemSeed(t, r)}
	p.transcript = Transcript{
		Clear:    []byte("the clear part of a knock"),
		Exchange: p.b.Exchange.Public(),
		PrekeyID: 7, Prekey: p.b.SignedPrekey.Public(),
		KEMKind: 2, KEMID: 9, KEMKey: p.b.KEM.Public(),
	}
	if oneTime {
		k := secret(t, r)
		public := k.Public()
		p.b.OneTime = &k
		p.transcript.OneTimeKind, p.transcript.OneTimeID, p.transcript.OneTime = 4, 11, &public
	}
	p.offer = offerFrom(t, r, p.transcript.KEMKey)
	return p
}

// offerFrom is NewOffer with the KEM's randomness from r.
func offerFrom(t testing.TB, r io.Reader, kemKey []byte) *Offer {
	t.Helper()
	ek := secret(t, r)
	key, err := mlkem.NewEncapsulationKey768(kemKey)
	if err != nil {
		t.Fatal(err)
	}
	m := make([]byte, 32)
	if _, err := io.ReadFull(r, m); err != nil {
		t.Fatal(err)
	}
	shared, ciphertext, err := mlkemtest.Encapsulate768(key, m)
	if err != nil {
		t.Fatal(err)
	}
	return &Offer{ek: ek, public: ek.Public(), shared: Secret(shared), ciphertext: ciphertext}
}

func secret(t testing.TB, r io.Reader) Secret {
	t.Helper()
	s, err := GenerateSecret(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kemSeed(t testing.TB, r io.Reader) KEMSeed {
	t.Helper()
	s, err := GenerateKEMSeed(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *parties) initiatorKeys() InitiatorKeys {
	return InitiatorKeys{
		Exchange:     p.a,
		PeerExchange: p.transcript.Exchange,
		PeerPrekey:   p.transcript.Prekey,
		PeerOneTime:  p.transcript.OneTime,
	}
}

func (p *parties) initiate(t testing.TB, r io.Reader) *Session {
	t.Helper()
	s, err := p.offer.Initiate(r, p.initiatorKeys(), TranscriptHash(p.transcript))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *parties) respond(t testing.TB) *Session {
	t.Helper()
	s, err := Respond(p.b, p.a.Public(), p.offer.EKPublic(), p.offer.Ciphertext(), TranscriptHash(p.transcript))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pairOf is a session at both ends, message 0 opened and everything bound.
func pairOf(t testing.TB, r io.Reader) (a, b *Session) {
	t.Helper()
	p := newParties(t, r, true)
	a, b = p.initiate(t, r), p.respond(t)
	m0, err := a.SealFirst(r, []byte("request"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.OpenFirst(noon, r, m0); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Session{a, b} {
		if err := s.Bind([]byte("knock")); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func seal(t testing.TB, s *Session, r io.Reader, text string) []byte {
	t.Helper()
	env, _, err := s.Seal(r, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func open(t testing.TB, s *Session, r io.Reader, env []byte, want string) Opened {
	t.Helper()
	o, err := s.Open(noon, r, env)
	if err != nil {
		t.Fatalf("open %q: %v", want, err)
	}
	if string(o.Plaintext) != want {
		t.Fatalf("opened %q, want %q", o.Plaintext, want)
	}
	return o
}

func image(t testing.TB, s *Session) []byte {
	t.Helper()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refuses checks the error contract: after an error nothing changed.
func refuses(t testing.TB, s *Session, r io.Reader, env []byte) error {
	t.Helper()
	before := image(t, s)
	o, err := s.Open(noon, r, env)
	if err == nil {
		t.Fatalf("opened %q, want an error", o.Plaintext)
	}
	if !bytes.Equal(before, image(t, s)) {
		t.Fatalf("%v, and the session changed", err)
	}
	return err
}
