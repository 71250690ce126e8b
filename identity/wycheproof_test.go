package identity

import (
	"errors"
	"math/big"
	"slices"
	"testing"

	"amesh/internal/wycheproof"
)

// T02: every signature of Project Wycheproof, by the functions that receive keys
// and signatures. No vector is left out.
func TestT02WycheproofEd25519(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Msg, Sig wycheproof.Bytes
	}
	type group struct {
		PublicKey struct{ PK wycheproof.Bytes }
		Tests     []vector
	}
	valid, invalid := 0, 0
	for _, g := range wycheproof.Groups[group](t, "ed25519_test.json", 150) {
		key, err := ParsePublicKey(g.PublicKey.PK)
		if err != nil {
			t.Errorf("key %x: %v", g.PublicKey.PK, err)
			continue
		}
		for _, v := range g.Tests {
			err := key.VerifyTimestamp(string(v.Msg), v.Sig) // no tag: the vectors have none
			if v.Result == "valid" {
				valid++
				if err != nil {
					t.Errorf("%d %s: %v", v.ID, v.Comment, err)
				}
				continue
			}
			invalid++
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%d %s: got %v, want ErrSignature", v.ID, v.Comment, err)
			}
		}
	}
	if valid != 88 || invalid != 62 {
		t.Errorf("%d valid and %d invalid vectors, want 88 and 62", valid, invalid)
	}
}

// T14: every public key of the X25519 vectors, by the check that published keys go
// through. No vector is left out.
func TestT14WycheproofExchangeKeys(t *testing.T) {
	type vector struct {
		wycheproof.Case
		Public wycheproof.Bytes
	}
	type group struct{ Tests []vector }
	counts := make(map[error]int)
	for _, g := range wycheproof.Groups[group](t, "x25519_test.json", 518) {
		for _, v := range g.Tests {
			var want error
			switch {
			case !canonical(v.Public): // the files' own flag misses ten of these
				want = ErrKey
			case slices.Contains(v.Flags, "LowOrderPublic"):
				want = ErrLowOrder
			}
			counts[want]++
			if err := CheckExchangeKey([ExchangeKeySize]byte(v.Public)); !errors.Is(err, want) {
				t.Errorf("%d %s: got %v, want %v", v.ID, v.Comment, err, want)
			}
		}
	}
	if counts[nil] != 474 || counts[ErrKey] != 29 || counts[ErrLowOrder] != 15 {
		t.Errorf("%v, want 474 good keys, 29 not canonical and 15 of low order", counts)
	}
}

// canonical asks whether a little-endian number is below 2^255 − 19, with big
// numbers, so that the check is not tested with itself.
func canonical(k []byte) bool {
	k = slices.Clone(k)
	slices.Reverse(k)
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	return new(big.Int).SetBytes(k).Cmp(p.Sub(p, big.NewInt(19))) < 0
}

// T15: keys with a coefficient of q or more, by the check that published keys go
// through. Left out are the vectors 1, 3–11 and 24–39, which are for ML-KEM-512 and
// ML-KEM-1024, and decapsulation, which ratchet does.
func TestT15WycheproofKEMKeys(t *testing.T) {
	type vector struct {
		wycheproof.Case
		EK wycheproof.Bytes
	}
	type group struct {
		Type, ParameterSet string
		Tests              []vector
	}
	counts := make(map[string]int)
	for _, g := range wycheproof.Groups[group](t, "mlkem_test.json", 39) {
		if g.ParameterSet != "ML-KEM-768" {
			continue
		}
		for _, v := range g.Tests {
			counts[v.Result]++
			var want error
			if v.Result == "invalid" {
				want = ErrKEM
			}
			if err := CheckKEMKey(v.EK); !errors.Is(err, want) {
				t.Errorf("%d %v: got %v, want %v", v.ID, v.Flags, err, want)
			}
		}
	}
	if counts["valid"] != 1 || counts["invalid"] != 12 {
		t.Errorf("%v, want 1 valid and 12 invalid vectors", counts)
	}
}
