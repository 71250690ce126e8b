package identity

import (
	"bytes"
	"fmt"
	"time"

	"amesh/internal/wire"
)

// KeyKind says which of B's keys a knock means (session.md §5.2). Kind and id
// together name a key.
type KeyKind uint8

// The kinds of keys.
const (
	KindNone         KeyKind = 0
	KindSignedPrekey KeyKind = 1
	KindLastResort   KeyKind = 2 // ML-KEM-768, named in the bundle
	KindOneTimeKEM   KeyKind = 3
	KindOneTime      KeyKind = 4 // X25519
)

// OneTimeKeyLife is the longest time from a one-time key's Created to its Expires.
const OneTimeKeyLife = 30 * 24 * time.Hour

const oneTimeVersion = 1

// OneTimeKey is a key that is handed out once and used for one session
// (session.md §2.5).
type OneTimeKey struct {
	AMID    AMID
	Epoch   uint32
	Kind    KeyKind // KindOneTimeKEM or KindOneTime
	ID      uint32
	Created time.Time
	Expires time.Time
	Public  []byte
}

// SignOneTimeKey returns the signed bytes of k. The AMID is the key's.
func SignOneTimeKey(key PrivateKey, k OneTimeKey) ([]byte, error) {
	k.AMID = key.AMID()
	if err := k.check(); err != nil {
		return nil, fmt.Errorf("sign one-time key: %w", err)
	}
	w := wire.NewWriter(112 + len(k.Public))
	w.U8(oneTimeVersion)
	w.Fixed(k.AMID[:])
	w.U32(k.Epoch)
	w.U8(uint8(k.Kind))
	w.U32(k.ID)
	writeTime(w, k.Created)
	writeTime(w, k.Expires)
	w.LP16(k.Public)
	w.Fixed(key.Sign(TagOneTimeKey, w.Bytes()))
	return w.Bytes(), nil
}

// ParseOneTimeKey reads a one-time key and verifies it under the signing key of
// the agent it belongs to. It returns wire.ErrMalformed, ErrMismatch,
// ErrSignature, ErrKey, ErrLowOrder or ErrKEM. Times are left to Valid, and
// that the epoch is the bundle's to the caller.
func ParseOneTimeKey(raw []byte, signer PublicKey) (*OneTimeKey, error) {
	k, sig, err := readOneTimeKey(raw)
	if err == nil {
		err = checkOwner(signer, k.AMID)
	}
	if err != nil {
		return nil, fmt.Errorf("one-time key: %w", err)
	}
	body, _ := split(raw)
	if err := signer.Verify(TagOneTimeKey, body, sig); err != nil {
		return nil, fmt.Errorf("one-time key: %w", err)
	}
	if err := k.check(); err != nil {
		return nil, fmt.Errorf("one-time key: %w", err)
	}
	return k, nil
}

// OwnOneTimeKey reads what SignOneTimeKey made and its owner kept. It returns wire.ErrMalformed
// or ErrMismatch. It does not check signature and key, which takes a tenth of a millisecond,
// and an owner has hundreds.
func OwnOneTimeKey(raw []byte, owner AMID) (*OneTimeKey, error) {
	k, _, err := readOneTimeKey(raw)
	if err == nil && k.AMID != owner {
		err = ErrMismatch
	}
	if err != nil {
		return nil, fmt.Errorf("own one-time key: %w", err)
	}
	return k, nil
}

func readOneTimeKey(raw []byte) (k *OneTimeKey, sig []byte, err error) {
	k = &OneTimeKey{}
	r := wire.NewReader(raw)
	if v := r.U8(); v != oneTimeVersion {
		r.Fail("version %d", v)
	}
	r.Into(k.AMID[:])
	k.Epoch = r.U32()
	k.Kind = KeyKind(r.U8())
	k.ID = r.U32()
	k.Created = readTime(r)
	k.Expires = readTime(r)
	k.Public = bytes.Clone(r.LP16(KEMKeySize))
	sig = r.Fixed(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, nil, err
	}
	return k, sig, nil
}

func (k *OneTimeKey) check() error {
	if err := checkLife(k.Created, k.Expires, OneTimeKeyLife); err != nil {
		return err
	}
	switch k.Kind {
	case KindOneTimeKEM:
		return CheckKEMKey(k.Public)
	case KindOneTime:
		if len(k.Public) != ExchangeKeySize {
			return fmt.Errorf("%w: X25519 key of %d bytes", wire.ErrMalformed, len(k.Public))
		}
		return CheckExchangeKey([ExchangeKeySize]byte(k.Public))
	}
	return fmt.Errorf("%w: kind %d is no one-time key", wire.ErrMalformed, k.Kind)
}

// Valid says whether the key may be used at the time now; it returns
// ErrBundleExpired.
func (k *OneTimeKey) Valid(now time.Time) error {
	if err := checkNow(now, k.Created, k.Expires); err != nil {
		return fmt.Errorf("one-time key: %w: %w", ErrBundleExpired, err)
	}
	return nil
}
