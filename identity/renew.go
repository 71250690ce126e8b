package identity

import (
	"fmt"

	"amesh/internal/wire"
)

// RenewCode says why B could not open a knock with the keys that it named.
type RenewCode uint8

// The reasons for a renew.
const (
	RenewOneTime RenewCode = 1 // a one-time key unknown or used
	RenewErased  RenewCode = 2 // the bundle's private parts erased, or the bundle unknown
	RenewExpired RenewCode = 3 // the bundle expired before the knock was issued
	RenewEpoch   RenewCode = 4 // the bundle is of an older epoch
)

// maxBundle is more than a bundle with every suite has, in bytes.
const maxBundle = 2048

// Renew is an agent's answer to a knock whose prekeys fail: knock again, with this
// bundle (session.md §8.5).
type Renew struct {
	From   AMID // who was asked, and signs
	To     AMID // who asked
	Knock  [32]byte
	Code   RenewCode
	Bundle *Bundle // From's newest
}

// SignRenew returns the whole envelope: prefix, the fields of r, the signature over
// both. From is taken from key, and the bundle must be the same agent's.
func SignRenew(key PrivateKey, prefix []byte, r Renew) ([]byte, error) {
	r.From = key.AMID()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("sign renew: %w", err)
	}
	w := wire.NewWriter(len(prefix) + 139 + len(r.Bundle.raw))
	w.Fixed(prefix)
	w.Fixed(r.From[:])
	w.Fixed(r.To[:])
	w.Fixed(r.Knock[:])
	w.U8(uint8(r.Code))
	w.LP16(r.Bundle.raw)
	w.Fixed(key.Sign(TagRenew, w.Bytes()))
	return w.Bytes(), nil
}

// ParseRenew reads an envelope behind its first prefixSize bytes, which the caller
// has looked at and the signature covers. It verifies the bundle and, with its key,
// the signature. It returns wire.ErrMalformed, ErrMismatch when the bundle is not
// From's, ErrSignature, or what ParseBundle returns. Whether the knock is known, and
// the bundle not an old one, is for the caller.
func ParseRenew(raw []byte, prefixSize int) (*Renew, error) {
	n := &Renew{}
	r := wire.NewReader(raw)
	r.Fixed(prefixSize)
	r.Into(n.From[:])
	r.Into(n.To[:])
	r.Into(n.Knock[:])
	n.Code = RenewCode(r.U8())
	bundle := r.LP16(maxBundle)
	sig := r.Fixed(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	var err error
	if n.Bundle, err = ParseBundle(bundle); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	body, _ := split(raw)
	if err := n.Bundle.SigningKey.Verify(TagRenew, body, sig); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	return n, nil
}

func (n *Renew) check() error {
	if n.Code < RenewOneTime || n.Code > RenewEpoch {
		return fmt.Errorf("%w: code %d", wire.ErrMalformed, n.Code)
	}
	if n.Bundle.AMID != n.From {
		return fmt.Errorf("%w: bundle of %s in a renew of %s", ErrMismatch, n.Bundle.AMID, n.From)
	}
	return nil
}
