package ratchet

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"amesh/internal/wycheproof"
)

// T14: every X25519 vector, by the two functions that each exchange goes through:
// the check of the peer's key and the exchange itself. No vector is left out.
func TestT14WycheproofX25519(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Public, Private, Shared wycheproof.Bytes
	}
	type group struct{ Tests []vector }
	counts := make(map[string]int)
	for _, g := range wycheproof.Groups[group](t, "x25519_test.json", 518) {
		for _, v := range g.Tests {
			public, err := Point(v.Public), checkPeer(Point(v.Public))
			if errors.Is(err, ErrKey) {
				counts["not canonical"]++
			} else if err != nil {
				t.Errorf("%d %s: %v", v.ID, v.Comment, err)
			}
			if slices.Contains(v.Flags, "NonCanonicalPublic") && err == nil {
				t.Errorf("%d %s: taken as canonical", v.ID, v.Comment)
			}
			shared, err := exchange(Secret(v.Private), public)
			if slices.Contains(v.Flags, "ZeroSharedSecret") {
				counts["zero"]++
				if !errors.Is(err, ErrLowOrder) {
					t.Errorf("%d %s: got %v, want ErrLowOrder", v.ID, v.Comment, err)
				}
				continue
			}
			counts["exchanged"]++
			if err != nil || !bytes.Equal(shared[:], v.Shared) {
				t.Errorf("%d %s: got %x, %v, want %x", v.ID, v.Comment, shared[:], err, v.Shared)
			}
		}
	}
	if counts["not canonical"] != 29 || counts["zero"] != 31 || counts["exchanged"] != 487 {
		t.Errorf("%v, want 29 not canonical, 31 zero and 487 exchanged", counts)
	}
}

// T15: ML-KEM-768 by the functions of the handshake: an offer refuses keys that
// overflow the modulus, a seed opens what was made for it. Left out are the vectors
// 1, 3–11 and 24–39, which are for ML-KEM-512 and ML-KEM-1024.
func TestT15WycheproofMLKEM768(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Seed, EK, C, K wycheproof.Bytes
	}
	type group struct {
		Type, ParameterSet string
		Tests              []vector
	}
	opened, refused := 0, 0
	for _, g := range wycheproof.Groups[group](t, "mlkem_test.json", 39) {
		if g.ParameterSet != "ML-KEM-768" {
			continue
		}
		for _, v := range g.Tests {
			if v.Result == "invalid" {
				refused++
				if _, err := NewOffer(seeded("T15"), v.EK); !errors.Is(err, ErrKEM) {
					t.Errorf("%d %v: got %v, want ErrKEM", v.ID, v.Flags, err)
				}
				continue
			}
			opened++
			seed := KEMSeed(v.Seed)
			if !bytes.Equal(seed.Public(), v.EK) {
				t.Errorf("%d %v: another encapsulation key", v.ID, v.Flags)
			}
			if _, err := NewOffer(seeded("T15"), v.EK); err != nil {
				t.Errorf("%d %v: %v", v.ID, v.Flags, err)
			}
			if shared, err := seed.private().Decapsulate(v.C); err != nil || !bytes.Equal(shared, v.K) {
				t.Errorf("%d %v: got %x, %v, want %x", v.ID, v.Flags, shared, err, v.K)
			}
		}
	}
	if opened != 1 || refused != 12 {
		t.Errorf("%d opened and %d refused, want 1 and 12", opened, refused)
	}
}

// T27: the AEAD, through the two functions that write and read the wire. Left out
// are the vectors 307–315: their nonces are not 24 bytes long, and the layout has
// no room for others.
func TestT27WycheproofXChaCha20Poly1305(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Key, IV, AAD, Msg, CT, Tag wycheproof.Bytes
	}
	type group struct {
		IVSize int
		Tests  []vector
	}
	valid, invalid, left := 0, 0, 0
	for _, g := range wycheproof.Groups[group](t, "xchacha20_poly1305_test.json", 315) {
		if g.IVSize != 192 {
			left += len(g.Tests)
			continue
		}
		for _, v := range g.Tests {
			key := Secret(v.Key)
			want := slices.Concat(v.IV, v.CT, v.Tag)
			plain, ok := openBox(nil, want, &key, v.AAD)
			if v.Result != "valid" {
				invalid++
				if ok {
					t.Errorf("%d %s: opened", v.ID, v.Comment)
				}
				continue
			}
			valid++
			if !ok || !bytes.Equal(plain, v.Msg) {
				t.Errorf("%d %s: got %x, %v, want %x", v.ID, v.Comment, plain, ok, v.Msg)
			}
			box := slices.Concat(make([]byte, len(v.IV)), v.Msg, make([]byte, len(v.Tag)))
			sealInPlace(box, &key, v.IV, v.AAD)
			if !bytes.Equal(box, want) {
				t.Errorf("%d %s: sealed to %x, want %x", v.ID, v.Comment, box, want)
			}
		}
	}
	if valid != 246 || invalid != 60 || left != 9 {
		t.Errorf("%d valid, %d invalid, %d left out, want 246, 60 and 9", valid, invalid, left)
	}
}

// HKDF through the function that all keys come from. The vectors 25, 48 and 74 ask
// for more bytes than HKDF can give: for a length that is a constant of ours that is
// a mistake of the programmer, and it stops the program.
func TestWycheproofHKDF(t *testing.T) {
	type vector struct {
		wycheproof.Case
		IKM, Salt, Info, OKM wycheproof.Bytes
		Size                 int
	}
	type group struct{ Tests []vector }
	valid := 0
	var tooLong []int
	for _, g := range wycheproof.Groups[group](t, "hkdf_sha256_test.json", 86) {
		for _, v := range g.Tests {
			if v.Result != "valid" {
				tooLong = append(tooLong, v.ID)
				if !panics(func() { derive(v.IKM, v.Salt, string(v.Info), v.Size) }) {
					t.Errorf("%d %s: gave %d bytes", v.ID, v.Comment, v.Size)
				}
				continue
			}
			valid++
			if got := derive(v.IKM, v.Salt, string(v.Info), v.Size); !bytes.Equal(got, v.OKM) {
				t.Errorf("%d %s: got %x, want %x", v.ID, v.Comment, got, v.OKM)
			}
		}
	}
	if valid != 83 || !slices.Equal(tooLong, []int{25, 48, 74}) {
		t.Errorf("%d valid vectors and %v too long, want 83 and 25, 48, 74", valid, tooLong)
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// HMAC as chainStep calls it. Its two messages are of one byte and no vector has
// such, so the vectors test the hash and the second half of the test the step.
func TestWycheproofHMAC(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Key, Msg, Tag wycheproof.Bytes
	}
	type group struct {
		TagSize int
		Tests   []vector
	}
	valid, invalid := 0, 0
	for _, g := range wycheproof.Groups[group](t, "hmac_sha256_test.json", 174) {
		for _, v := range g.Tests {
			m := hmac.New(sha256.New, v.Key)
			m.Write(v.Msg)
			same := hmac.Equal(m.Sum(nil)[:g.TagSize/8], v.Tag)
			if v.Result == "valid" {
				valid++
			} else {
				invalid++
			}
			if same != (v.Result == "valid") {
				t.Errorf("%d %s: tag fits is %v", v.ID, v.Comment, same)
			}
			if len(v.Key) != len(Secret{}) {
				continue
			}
			mk, next := chainStep(Secret(v.Key))
			if mk != mac(Secret(v.Key), 0x01) || next != mac(Secret(v.Key), 0x02) {
				t.Errorf("%d: chain step under this key differs", v.ID)
			}
		}
	}
	if valid != 66 || invalid != 108 {
		t.Errorf("%d valid and %d invalid vectors, want 66 and 108", valid, invalid)
	}
}

// T15: the check of FIPS 203 §7.2 on each of the 768 coefficients alone: the
// greatest number that is one passes, the modulus itself does not.
func TestT15EveryCoefficient(t *testing.T) {
	seed := kemSeed(t, seeded("T15 coefficients"))
	good := seed.Public()
	for i := range 768 {
		key := bytes.Clone(good)
		if i%16 == 0 { // an offer that is made costs more than one that is refused
			putCoefficient(key, i, 3328)
			if _, err := NewOffer(seeded("T15"), key); err != nil {
				t.Fatalf("coefficient %d is q − 1: %v", i, err)
			}
		}
		putCoefficient(key, i, 3329)
		if _, err := NewOffer(seeded("T15"), key); !errors.Is(err, ErrKEM) {
			t.Fatalf("coefficient %d is q: got %v, want ErrKEM", i, err)
		}
	}
}

// putCoefficient writes the 12-bit number i of an encoded polynomial vector.
func putCoefficient(key []byte, i int, v uint16) {
	at := i / 2 * 3
	if i%2 == 0 {
		key[at], key[at+1] = byte(v), key[at+1]&0xF0|byte(v>>8)
		return
	}
	key[at+1], key[at+2] = key[at+1]&0x0F|byte(v<<4), byte(v>>4)
}
