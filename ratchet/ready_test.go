package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// exchange is X25519(s, peer) for tests that have no key pair.
func exchange(s Secret, peer Point) (Secret, error) { return newKeyPair(s).exchange(peer) }

func prepare(t testing.TB, s *Session, r io.Reader) {
	t.Helper()
	if err := s.Prepare(r); err != nil {
		t.Fatal(err)
	}
}

func TestPreparedKeyIsUsedOnce(t *testing.T) {
	r := seeded("prepare")
	broken := iotest.ErrReader(io.ErrUnexpectedEOF)
	a, b := pairOf(t, r)
	if err := a.Prepare(broken); !errors.Is(err, io.ErrUnexpectedEOF) || a.spare != nil {
		t.Fatalf("without randomness: %v", err)
	}
	prepare(t, a, r)
	spare := a.spare.public
	prepare(t, a, broken) // there is one
	if a.spare.public != spare {
		t.Fatal("prepared twice, the first key is gone")
	}
	open(t, a, broken, seal(t, b, r, "turn"), "turn")
	if a.dhsPublic != spare || a.spare != nil {
		t.Fatal("the step did not take the prepared key, or kept it")
	}
	open(t, b, r, seal(t, a, r, "answer"), "answer")
	again := seal(t, b, r, "turn again")
	if err := refuses(t, a, broken, again); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the next step needs a new key: got %v", err)
	}
	open(t, a, r, again, "turn again")
	if a.dhsPublic == spare {
		t.Error("two steps have one key")
	}
}

// T31: no ratchet key is used by two steps, whoever prepared, restarted or was
// copied in between.
func TestRatchetKeysNeverRepeat(t *testing.T) {
	r := seeded("T31")
	a, b := pairOf(t, r)
	seen := map[Point]bool{a.dhsPublic: true, b.dhsPublic: true}
	for i := range 60 {
		if i%2 == 0 {
			prepare(t, a, r)
		}
		switch i % 5 {
		case 1:
			a = a.Clone()
		case 2:
			var err error
			if a, err = UnmarshalSession(image(t, a)); err != nil {
				t.Fatal(err)
			}
		case 3:
			prepare(t, a, r)
		}
		open(t, a, r, seal(t, b, r, "turn"), "turn")
		if seen[a.dhsPublic] {
			t.Fatalf("step %d: a ratchet key came back", i)
		}
		if a.dhs.Public() != a.dhsPublic {
			t.Fatalf("step %d: private and public key differ", i)
		}
		seen[a.dhsPublic] = true
		a, b = b, a
	}
}

func TestPreparedKeyIsNotStored(t *testing.T) {
	r := seeded("not stored")
	a, _ := pairOf(t, r)
	before := image(t, a)
	prepare(t, a, r)
	if !bytes.Equal(before, image(t, a)) {
		t.Fatal("the stored form changed")
	}
	back, err := UnmarshalSession(image(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if back.spare != nil {
		t.Error("a session read back has a spare key")
	}
}

// T23: a forged message does not use the key up.
func TestForgeryKeepsPreparedKey(t *testing.T) {
	r := seeded("forged turn")
	a, b := pairOf(t, r)
	prepare(t, a, r)
	spare := a.spare
	env := seal(t, b, r, "turn")
	env[len(env)-1] ^= 1
	if err := refuses(t, a, r, env); !errors.Is(err, ErrDecrypt) {
		t.Fatalf("got %v, want ErrDecrypt", err)
	}
	if a.spare != spare {
		t.Fatal("the prepared key is gone")
	}
	env[len(env)-1] ^= 1
	open(t, a, r, env, "turn")
}

// T31: a batch that is dropped opened on a clone; the same message is opened again.
// Both come to the same chain, and no nonce comes twice.
func TestDroppedCloneOpensAgain(t *testing.T) {
	r := seeded("dropped")
	a, b := pairOf(t, r)
	prepare(t, a, r)
	turn := seal(t, b, r, "turn")
	dropped := a.Clone()
	open(t, dropped, r, turn, "turn")
	lost := seal(t, dropped, r, "never sent")

	open(t, a, r, turn, "turn")
	if a.dhsPublic != dropped.dhsPublic {
		t.Error("the clone used up the prepared key")
	}
	sent := seal(t, a, r, "answer")
	header, body := sent[PrefixSize:][:24], sent[bodyOffset:][:24]
	if bytes.Equal(header, lost[PrefixSize:][:24]) || bytes.Equal(body, lost[bodyOffset:][:24]) {
		t.Error("a nonce came twice")
	}
	open(t, b, r, sent, "answer")
}

func TestResponderAnswersMoreThanOnce(t *testing.T) {
	p := newParties(t, seeded("responder"), true)
	ready := NewResponder(p.b.Exchange, p.b.SignedPrekey, p.b.KEM)
	want := p.respond(t)
	for range 2 {
		got, err := ready.Respond(p.b.OneTime, p.a.Public(), p.offer.EKPublic(), p.offer.Ciphertext(), TranscriptHash(p.transcript))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(image(t, got), image(t, want)) {
			t.Error("another session than Respond's")
		}
	}
}

// T12
func TestReadyKeysAreHidden(t *testing.T) {
	p := newParties(t, seeded("T12 ready"), true)
	ready := NewResponder(p.b.Exchange, p.b.SignedPrekey, p.b.KEM)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d", "%s"} {
		if got := fmt.Sprintf(verb, struct{ R *Responder }{ready}); !strings.Contains(got, hidden) {
			t.Errorf("%s shows %q", verb, got)
		}
	}
}
