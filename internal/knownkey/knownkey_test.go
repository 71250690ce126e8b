package knownkey

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"math/big"
	"slices"
	"testing"

	"amesh/internal/wycheproof"

	"filippo.io/edwards25519"
)

// agree fails the test if the standard library decides otherwise, and returns what
// was decided.
func agree(t *testing.T, public [keySize]byte, message, sig []byte) bool {
	t.Helper()
	k, err := New(public)
	if _, bad := new(edwards25519.Point).SetBytes(public[:]); (err == nil) != (bad == nil) {
		t.Fatalf("key %x: %v, want %v", public, err, bad)
	}
	if err != nil {
		return false
	}
	want := ed25519.Verify(public[:], message, sig)
	if got := k.Verify(message, sig); got != want {
		t.Fatalf("key %x, message %x, signature %x: %v, want %v", public, message, sig, got, want)
	}
	return want
}

func testKey(n uint64) ed25519.PrivateKey {
	seed := sha512.Sum512_256(binary.BigEndian.AppendUint64(nil, n))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicOf(key ed25519.PrivateKey) [keySize]byte { return [keySize]byte(key[ed25519.SeedSize:]) }

// T02: every signature of Project Wycheproof.
func TestT02Wycheproof(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Msg, Sig wycheproof.Bytes
	}
	type group struct {
		PublicKey struct{ PK wycheproof.Bytes }
		Tests     []vector
	}
	valid := 0
	for _, g := range wycheproof.Groups[group](t, "ed25519_test.json", 150) {
		for _, v := range g.Tests {
			good := agree(t, [keySize]byte(g.PublicKey.PK), v.Msg, v.Sig)
			if good != (v.Result == "valid") {
				t.Errorf("%d %s: %v", v.ID, v.Comment, good)
			}
			if good {
				valid++
			}
		}
	}
	if valid != 88 {
		t.Errorf("%d valid vectors, want 88", valid)
	}
}

func TestEveryBitCounts(t *testing.T) {
	key, message := testKey(1), []byte("the message")
	sig := ed25519.Sign(key, message)
	if !agree(t, publicOf(key), message, sig) {
		t.Fatal("a good signature is refused")
	}
	k, err := New(publicOf(key))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(sig) {
		bad := bytes.Clone(sig)
		bad[i/8] ^= 1 << (i % 8)
		if k.Verify(message, bad) {
			t.Errorf("bit %d of the signature does not count", i)
		}
	}
	for _, n := range []int{0, 32, 63, 65} {
		if k.Verify(message, append(bytes.Clone(sig), 0)[:n]) {
			t.Errorf("a signature of %d bytes is accepted", n)
		}
	}
	if k.Verify([]byte("The message"), sig) {
		t.Error("another message is accepted")
	}
}

func TestManyKeys(t *testing.T) {
	for n := range uint64(200) {
		key := testKey(n)
		message := bytes.Repeat([]byte{byte(n)}, int(n))
		if !agree(t, publicOf(key), message, ed25519.Sign(key, message)) {
			t.Errorf("key %d: a good signature is refused", n)
		}
		agree(t, publicOf(key), message, ed25519.Sign(testKey(n+1), message))
	}
}

// order is that of the generator.
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

// littleEndian is a number in 32 bytes.
func littleEndian(n *big.Int) []byte {
	b := n.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	return b
}

// A signature has one S: what the library refuses for being too large is refused here.
func TestScalarsAreCanonical(t *testing.T) {
	key, message := testKey(1), []byte("the message")
	sig := ed25519.Sign(key, message)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	for more := range int64(16) {
		again := new(big.Int).Add(new(big.Int).SetBytes(s), new(big.Int).Mul(order, big.NewInt(more)))
		if again.BitLen() > 256 {
			break
		}
		if good := agree(t, publicOf(key), message, append(bytes.Clone(sig[:32]), littleEndian(again)...)); good != (more == 0) {
			t.Errorf("S and %d times the order: %v", more, good)
		}
	}
}

// smallOrder are the eight points whose order divides eight.
func smallOrder(t *testing.T) (all []*edwards25519.Point) {
	t.Helper()
	last := new(edwards25519.Scalar).Subtract(new(edwards25519.Scalar), scalar(t, big.NewInt(1))) // order − 1
	for n := uint64(1); len(all) < 8; n++ {
		sum := sha512.Sum512_256(binary.BigEndian.AppendUint64(nil, n))
		p, err := new(edwards25519.Point).SetBytes(sum[:])
		if err != nil {
			continue
		}
		// order times any point is of small order.
		small := new(edwards25519.Point).ScalarMult(last, p)
		small.Add(small, p)
		if !slices.ContainsFunc(all, func(q *edwards25519.Point) bool { return q.Equal(small) == 1 }) {
			all = append(all, small)
		}
	}
	return all
}

func scalar(t *testing.T, n *big.Int) *edwards25519.Scalar {
	t.Helper()
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(littleEndian(n))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signWith makes a signature that holds up to the points of small order that were added
// to key and nonce; it holds without a cofactor if these cancel one another.
func signWith(a, r *edwards25519.Scalar, addA, addR *edwards25519.Point, message []byte) (public [keySize]byte, sig []byte) {
	p := new(edwards25519.Point).ScalarBaseMult(a)
	public = [keySize]byte(p.Add(p, addA).Bytes())
	q := new(edwards25519.Point).ScalarBaseMult(r)
	sig = q.Add(q, addR).Bytes()
	sum := sha512.Sum512(slices.Concat(sig, public[:], message))
	k, _ := new(edwards25519.Scalar).SetUniformBytes(sum[:])
	return public, append(sig, k.MultiplyAdd(k, a, r).Bytes()...)
}

// Keys and nonces with a part of small order are where implementations differ: with and
// without cofactors, one by one and in batches.
func TestPartsOfSmallOrder(t *testing.T) {
	var verdicts [2]int
	small := smallOrder(t)
	for i, addA := range small {
		for j, addR := range small {
			for n := range int64(8) {
				public, sig := signWith(scalar(t, big.NewInt(1+n)), scalar(t, big.NewInt(100+n)), addA, addR, []byte{byte(i), byte(j)})
				if agree(t, public, []byte{byte(i), byte(j)}, sig) {
					verdicts[1]++
				} else {
					verdicts[0]++
				}
			}
		}
		public, sig := signWith(new(edwards25519.Scalar), new(edwards25519.Scalar), addA, small[0], nil)
		agree(t, public, nil, sig)
	}
	if verdicts[0] == 0 || verdicts[1] == 0 {
		t.Errorf("verdicts %v, want some of both", verdicts)
	}
}

// Encodings of points that are not the one right one: y of p or more, and −0.
func TestOddEncodings(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	for y := range int64(19) {
		for _, sign := range []byte{0, 0x80} {
			for _, base := range []*big.Int{new(big.Int), p} {
				odd := [keySize]byte(littleEndian(new(big.Int).Add(base, big.NewInt(y))))
				odd[31] |= sign
				agree(t, odd, nil, make([]byte, 64))
				agree(t, odd, nil, append(odd[:], make([]byte, 32)...))
				agree(t, publicOf(testKey(1)), nil, append(odd[:], make([]byte, 32)...))
			}
		}
	}
}

func TestDigits(t *testing.T) {
	one := big.NewInt(1)
	numbers := []*big.Int{new(big.Int), one, new(big.Int).Sub(order, one), new(big.Int).Rsh(order, 1)}
	for i := range uint(252) {
		power := new(big.Int).Lsh(one, i)
		numbers = append(numbers, power, new(big.Int).Sub(power, one), new(big.Int).Sub(order, power))
	}
	for _, n := range numbers {
		for _, width := range []uint{keyWidth, baseWidth} {
			sum, last, all := new(big.Int), 256, digits(scalar(t, n), width)
			for i, d := range slices.Backward(all[:]) {
				sum.Add(sum.Lsh(sum, 1), big.NewInt(int64(d)))
				if d == 0 {
					continue
				}
				if d%2 == 0 || int(d) >= 1<<(width-1) || int(d) <= -1<<(width-1) || last-i < int(width) && last < 256 {
					t.Errorf("%v: digit %d at %d", n, d, i)
				}
				last = i
			}
			if sum.Cmp(n) != 0 {
				t.Errorf("digits of %v are those of %v", n, sum)
			}
		}
	}
}

// FuzzVerify compares with crypto/ed25519. The first byte says what is done to a good
// signature.
func FuzzVerify(f *testing.F) {
	f.Add(uint64(1), []byte("message"), []byte{})
	f.Add(uint64(2), []byte{}, []byte{70, 0x80, 3, 1})
	f.Add(uint64(3), []byte("message"), make([]byte, 192))
	f.Fuzz(func(t *testing.T, n uint64, message, spoil []byte) {
		key := testKey(n)
		public, sig := publicOf(key), ed25519.Sign(key, message)
		agree(t, public, message, sig)
		// Pairs of a place and what is changed there, in signature and key.
		for ; len(spoil) >= 2; spoil = spoil[2:] {
			if at := int(spoil[0]) % 96; at < len(sig) {
				sig[at] ^= spoil[1]
			} else {
				public[at-len(sig)] ^= spoil[1]
			}
		}
		agree(t, public, message, sig)
	})
}

func BenchmarkVerify(b *testing.B) {
	key, message := testKey(1), make([]byte, 100)
	public, sig := publicOf(key), ed25519.Sign(key, message)
	k, err := New(public)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			k.Verify(message, sig)
		}
	})
	b.Run("crypto", func(b *testing.B) {
		for b.Loop() {
			ed25519.Verify(public[:], message, sig)
		}
	})
	b.Run("New", func(b *testing.B) {
		for b.Loop() {
			_, _ = New(public)
		}
	})
}
