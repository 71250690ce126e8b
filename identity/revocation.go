package identity

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"amesh/internal/wire"
)

// ErrRevoked reports anything of a signing key whose revocation was verified.
var ErrRevoked = errors.New("key_revoked")

// RevocationReason says why a signing key leaves.
type RevocationReason uint8

// The reasons.
const (
	Superseded  RevocationReason = 1
	Compromised RevocationReason = 2
	Retired     RevocationReason = 3
)

// String is the word that people use for the reason.
func (r RevocationReason) String() string {
	switch r {
	case Superseded:
		return "superseded"
	case Compromised:
		return "compromised"
	case Retired:
		return "retired"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// ParseRevocationReason reads what String wrote; it returns wire.ErrMalformed.
func ParseRevocationReason(s string) (RevocationReason, error) {
	for _, r := range []RevocationReason{Superseded, Compromised, Retired} {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%w: reason %.40q", wire.ErrMalformed, s)
}

const revocationVersion = 1

// Revocation is the statement with which a signing key leaves for ever, the only way
// there is (session.md §2.8). Who stole a key can make one too, so a successor is
// shown to people and never believed by a program.
type Revocation struct {
	AMID       AMID
	SigningKey PublicKey // that leaves
	Issued     time.Time
	Reason     RevocationReason
	Successor  PublicKey // zero: none

	raw []byte
}

// HasSuccessor reports whether another key takes the place of the one that leaves.
func (v *Revocation) HasSuccessor() bool { return v.Successor != PublicKey{} }

// Raw is the statement as ParseRevocation read it. The caller must not change it.
func (v *Revocation) Raw() []byte { return v.raw }

// SignSuccessor returns the consent of the key that takes the place of v.SigningKey.
// The AMID is that of v.SigningKey, v.Successor the public half of successor.
func SignSuccessor(successor PrivateKey, v Revocation) ([]byte, error) {
	v.AMID, v.Successor = v.SigningKey.AMID(), successor.Public()
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("sign as successor: %w", err)
	}
	return successor.Sign(TagSuccessor, v.body()), nil
}

// SignRevocation returns the signed bytes of v: 128, or 224 with a successor, whose
// consent over the same fields SignSuccessor made. AMID and SigningKey are taken from
// key. It refuses what ParseRevocation would refuse.
func SignRevocation(key PrivateKey, v Revocation, consent []byte) ([]byte, error) {
	v.SigningKey, v.AMID = key.Public(), key.AMID()
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("sign revocation: %w", err)
	}
	body := v.body()
	if err := v.checkConsent(body, consent); err != nil {
		return nil, fmt.Errorf("sign revocation: %w", err)
	}
	w := wire.NewWriter(224)
	w.Fixed(body)
	w.Fixed(key.Sign(TagRevocation, body))
	w.LP8(consent)
	return w.Bytes(), nil
}

// ParseRevocation reads a revocation and verifies everything in it. It returns
// wire.ErrMalformed, ErrKey, ErrMismatch or ErrSignature. It keeps a copy of raw.
func ParseRevocation(raw []byte) (*Revocation, error) {
	v := &Revocation{raw: bytes.Clone(raw)}
	r := wire.NewReader(v.raw)
	if n := r.U8(); n != revocationVersion {
		r.Fail("version %d", n)
	}
	r.Into(v.AMID[:])
	r.Into(v.SigningKey[:])
	v.Issued = readTime(r)
	v.Reason = RevocationReason(r.U8())
	successor := r.LP8(len(v.Successor))
	body := v.raw[:len(v.raw)-r.Len()]
	sig := r.Fixed(SignatureSize)
	consent := r.LP8(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	if err := v.verify(successor, body, sig, consent); err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	return v, nil
}

func (v *Revocation) verify(successor, body, sig, consent []byte) error {
	if err := checkOwner(v.SigningKey, v.AMID); err != nil {
		return err
	}
	if err := v.SigningKey.Verify(TagRevocation, body, sig); err != nil {
		return err
	}
	if len(successor) > 0 {
		key, err := ParsePublicKey(successor)
		if err != nil {
			return fmt.Errorf("successor: %w", err)
		}
		v.Successor = key
	}
	if err := v.check(); err != nil {
		return err
	}
	return v.checkConsent(body, consent)
}

func (v *Revocation) check() error {
	if s := v.Issued.Unix(); s < 0 || s > latestTime {
		return fmt.Errorf("%w: time %d", wire.ErrMalformed, s)
	}
	if v.Reason < Superseded || v.Reason > Retired {
		return fmt.Errorf("%w: reason %d", wire.ErrMalformed, v.Reason)
	}
	if v.Successor == v.SigningKey {
		return fmt.Errorf("%w: a key that succeeds itself", wire.ErrMalformed)
	}
	return nil
}

func (v *Revocation) checkConsent(body, consent []byte) error {
	if !v.HasSuccessor() {
		if len(consent) != 0 {
			return fmt.Errorf("%w: consent without a successor", wire.ErrMalformed)
		}
		return nil
	}
	if len(consent) != SignatureSize {
		return fmt.Errorf("%w: consent of %d bytes", wire.ErrMalformed, len(consent))
	}
	return v.Successor.Verify(TagSuccessor, body, consent)
}

// body is what both keys sign.
func (v *Revocation) body() []byte {
	w := wire.NewWriter(224)
	w.U8(revocationVersion)
	w.Fixed(v.AMID[:])
	w.Fixed(v.SigningKey[:])
	writeTime(w, v.Issued)
	w.U8(uint8(v.Reason))
	if v.HasSuccessor() {
		w.LP8(v.Successor[:])
	} else {
		w.LP8(nil)
	}
	return w.Bytes()
}

// Counts reports whether of two verified revocations of one key v is the one that
// counts: the earlier, and of two of the same second the one with the smaller bytes.
func (v *Revocation) Counts(other *Revocation) bool {
	if !v.Issued.Equal(other.Issued) {
		return v.Issued.Before(other.Issued)
	}
	return bytes.Compare(v.raw, other.raw) <= 0
}
