package identity

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"amesh/internal/wire"
)

const (
	// ExchangeKeySize is the length of an X25519 key in bytes.
	ExchangeKeySize = 32
	// KEMKeySize is the length of an ML-KEM-768 encapsulation key in bytes.
	KEMKeySize = 1184
	// ClockSkew is how far the clocks of two agents may differ.
	ClockSkew = 600 * time.Second
)

// latestTime is the last second of the year 9999. Later times are refused so
// that adding a few days to a stranger's time never wraps around.
const latestTime = 253402300799

var (
	// ErrLowOrder reports an X25519 key with which every exchange gives zero.
	ErrLowOrder = errors.New("kex_low_order")
	// ErrKEM reports bytes that are no ML-KEM-768 key.
	ErrKEM = errors.New("kem_invalid")
)

// fieldPrime is 2^255 − 19, little-endian as X25519 keys are.
var fieldPrime = [ExchangeKeySize]byte{
	0xED, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
	0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F,
}

// CheckExchangeKey accepts an X25519 public key in canonical encoding whose
// order is not low. X25519 itself takes several encodings of one key; we take
// one, because "is it our own key" is asked by comparing bytes. It returns
// ErrKey or ErrLowOrder.
func CheckExchangeKey(k [ExchangeKeySize]byte) error {
	if !belowPrime(k) {
		return fmt.Errorf("%w: X25519 key not canonical", ErrKey)
	}
	pub, err := ecdh.X25519().NewPublicKey(k[:])
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	// Any scalar tells: clamping makes it a multiple of the cofactor, so a key of
	// low order gives zero, which ECDH reports, and every other key does not.
	one := make([]byte, ExchangeKeySize)
	one[0] = 1
	probe, err := ecdh.X25519().NewPrivateKey(one)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	if _, err := probe.ECDH(pub); err != nil {
		return ErrLowOrder
	}
	return nil
}

func belowPrime(k [ExchangeKeySize]byte) bool {
	for i := ExchangeKeySize - 1; i >= 0; i-- {
		if k[i] != fieldPrime[i] {
			return k[i] < fieldPrime[i]
		}
	}
	return false
}

// split separates a signed object from the signature at its end.
func split(raw []byte) (body, sig []byte) {
	n := len(raw) - SignatureSize
	return raw[:n], raw[n:]
}

func checkOwner(k PublicKey, a AMID) error {
	if _, err := ParsePublicKey(k[:]); err != nil {
		return err
	}
	if k.AMID() != a {
		return fmt.Errorf("%w: key of %s under the name %s", ErrMismatch, k.AMID(), a)
	}
	return nil
}

func writeTime(w *wire.Writer, t time.Time) { w.I64(t.Unix()) }

func readTime(r *wire.Reader) time.Time {
	s := r.I64()
	if s < 0 || s > latestTime {
		r.Fail("time %d", s)
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// checkLife holds for every object with a life: it ends after it began, and not
// later than max after that, if max is not zero.
func checkLife(created, expires time.Time, max time.Duration) error {
	c, e := created.Unix(), expires.Unix()
	if c < 0 || e > latestTime || e <= c {
		return fmt.Errorf("%w: life from %d to %d", wire.ErrMalformed, c, e)
	}
	if max != 0 && e-c > int64(max/time.Second) {
		return fmt.Errorf("%w: life of %d s, at most %d s", wire.ErrMalformed, e-c, int64(max/time.Second))
	}
	return nil
}

func checkNow(now, created, expires time.Time) error {
	if now.Before(created.Add(-ClockSkew)) {
		return errors.New("not valid yet")
	}
	if now.After(expires) {
		return errors.New("no longer valid")
	}
	return nil
}

// textOK reports whether b is text as session.md §1 means it: valid UTF-8
// without control characters.
func textOK(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return r < 0x20 || r == 0x7F })
}
