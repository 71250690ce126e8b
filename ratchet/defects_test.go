package ratchet

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"testing/iotest"
)

// Defects of the reference implementation's ratchet, each shown not to be here.

// D8: the header was no associated data. Here a body opens under its own header
// only, also where both headers are genuine.
func TestD8HeaderIsAuthenticated(t *testing.T) {
	r := seeded("D8 header")
	a, b := pairOf(t, r)
	one, two := seal(t, a, r, "one"), seal(t, a, r, "two")
	// The same header again, in another sealing of the same sender: same key,
	// same numbers, another nonce.
	again := bytes.Clone(one)
	plain, ok := openBox(nil, one[PrefixSize:bodyOffset], &a.hks, one[:PrefixSize])
	if !ok {
		t.Fatal("header does not open")
	}
	box := again[PrefixSize:bodyOffset]
	copy(box[24:], plain)
	sealInPlace(box, &a.hks, bytes.Repeat([]byte{9}, 24), again[:PrefixSize])
	for name, env := range map[string][]byte{
		"header of another message":      append(bytes.Clone(two[:bodyOffset]), one[bodyOffset:]...),
		"same header under a new nonce":  again,
		"ciphertext of header, one byte": flip(one, PrefixSize+30),
		"tag of header":                  flip(one, bodyOffset-1),
		"nonce of header":                flip(one, PrefixSize),
	} {
		if err := refuses(t, b, r, env); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s: got %v, want ErrDecrypt", name, err)
		}
	}
	open(t, b, r, one, "one")
	open(t, b, r, two, "two")
}

func flip(env []byte, at int) []byte {
	env = bytes.Clone(env)
	env[at] ^= 1
	return env
}

// D8: a skipped key was deleted before its message opened, so one forged packet
// made the genuine one unreadable. Once for a key of the present chain and once for
// one of a chain that ended.
func TestD8SkippedKeyOutlivesAForgery(t *testing.T) {
	r := seeded("D8 skipped")
	for name, ended := range map[string]bool{"present chain": false, "ended chain": true} {
		a, b := pairOf(t, r)
		late := seal(t, a, r, "late")
		open(t, b, r, seal(t, a, r, "seen"), "seen")
		if ended {
			open(t, a, r, seal(t, b, r, "turn"), "turn")
			open(t, b, r, seal(t, a, r, "new chain"), "new chain")
		}
		if n := b.SkippedKeys(); n != 1 {
			t.Fatalf("%s: %d keys stored, want 1", name, n)
		}
		for at := bodyOffset; at < len(late); at += 11 {
			if err := refuses(t, b, r, flip(late, at)); !errors.Is(err, ErrDecrypt) {
				t.Fatalf("%s, byte %d: got %v, want ErrDecrypt", name, at, err)
			}
		}
		open(t, b, r, late, "late")
		if n := b.SkippedKeys(); n != 0 {
			t.Errorf("%s: %d keys left, want none", name, n)
		}
	}
}

// D8: the state moved before the tag was checked. A message whose header is
// genuine and whose body is not moves neither chain nor root.
func TestD8StateMovesAfterTheTag(t *testing.T) {
	r := seeded("D8 state")
	for name, newChain := range map[string]bool{"present chain": false, "new ratchet key": true} {
		a, b := pairOf(t, r)
		if newChain {
			open(t, a, r, seal(t, b, r, "turn"), "turn")
		}
		lost := seal(t, a, r, "lost")
		env := seal(t, a, r, "genuine")
		for _, at := range []int{bodyOffset, bodyOffset + 24, len(env) - 1} {
			if err := refuses(t, b, r, flip(env, at)); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%s, byte %d: got %v, want ErrDecrypt", name, at, err)
			}
		}
		open(t, b, r, env, "genuine")
		open(t, b, r, lost, "lost")
	}
}

// D8: pn was ignored and 1,000 keys were derived in every DH step. Here the rest of
// the old chain is what PN says, no more and no less, and what lies beyond the
// limit costs nothing.
func TestD8PNIsHonoured(t *testing.T) {
	r := seeded("D8 pn")
	for _, lost := range []int{0, 1, 7, MaxSkip} {
		a, b := pairOf(t, r)
		open(t, b, r, seal(t, a, r, "first"), "first")
		var last []byte
		for range lost {
			last = seal(t, a, r, "lost")
		}
		open(t, a, r, seal(t, b, r, "turn"), "turn")
		open(t, b, r, seal(t, a, r, "new chain"), "new chain")
		if n := b.SkippedKeys(); n != lost {
			t.Errorf("%d lost: %d keys stored", lost, n)
		}
		if lost > 0 {
			open(t, b, r, last, "lost")
		}
	}
	a, b := pairOf(t, r)
	open(t, a, r, seal(t, b, r, "turn"), "turn")
	a.pn = math.MaxUint32
	dry := iotest.ErrReader(errors.New("a ratchet key was made"))
	if err := refuses(t, b, dry, seal(t, a, r, "far")); !errors.Is(err, ErrSkipLimit) {
		t.Errorf("PN at its end: got %v, want ErrSkipLimit", err)
	}
}

// D8: an n below the counter was not refused. Without a stored key it is answered
// with a code, in a chain with stored keys and in one without.
func TestD8OldNumberIsRefused(t *testing.T) {
	r := seeded("D8 n")
	for name, hole := range map[string]bool{"no stored keys": false, "a stored key of another number": true} {
		a, b := pairOf(t, r)
		back := a.Clone()
		open(t, b, r, seal(t, a, r, "one"), "one")
		if hole {
			seal(t, a, r, "not yet")
		}
		open(t, b, r, seal(t, a, r, "two"), "two")
		if err := refuses(t, b, r, seal(t, back, r, "another one")); !errors.Is(err, ErrDuplicate) {
			t.Errorf("%s: got %v, want ErrDuplicate", name, err)
		}
	}
}
