package identity

import (
	"fmt"
	"time"

	"amesh/internal/wire"
)

// KeyCertificateSize is the length of a key certificate in bytes.
const KeyCertificateSize = 136

// KeyCertificate binds an X25519 exchange key to an agent for one epoch
// (session.md §2.3). Without it anybody could present somebody else's exchange
// key as his own and have a session attributed to the wrong agent.
type KeyCertificate struct {
	AMID     AMID
	Exchange [ExchangeKeySize]byte
	Epoch    uint32
	Created  time.Time
	Expires  time.Time
}

// SignKeyCertificate returns the signed bytes of c. The AMID is the key's.
// Equal inputs give equal bytes.
func SignKeyCertificate(key PrivateKey, c KeyCertificate) ([]byte, error) {
	c.AMID = key.AMID()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("sign key certificate: %w", err)
	}
	w := wire.NewWriter(KeyCertificateSize)
	w.Fixed(c.AMID[:])
	w.Fixed(c.Exchange[:])
	w.U32(c.Epoch)
	writeTime(w, c.Created)
	writeTime(w, c.Expires)
	w.Fixed(key.Sign(TagKeyCertificate, w.Bytes()))
	return w.Bytes(), nil
}

// ParseKeyCertificate reads a certificate and verifies it under the signing key
// of the agent it names. It returns wire.ErrMalformed, ErrMismatch,
// ErrSignature, ErrKey or ErrLowOrder. Times are left to Valid.
func ParseKeyCertificate(raw []byte, signer PublicKey) (*KeyCertificate, error) {
	c := &KeyCertificate{}
	r := wire.NewReader(raw)
	r.Into(c.AMID[:])
	r.Into(c.Exchange[:])
	c.Epoch = r.U32()
	c.Created = readTime(r)
	c.Expires = readTime(r)
	sig := r.Fixed(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("key certificate: %w", err)
	}
	if err := checkOwner(signer, c.AMID); err != nil {
		return nil, fmt.Errorf("key certificate: %w", err)
	}
	body, _ := split(raw)
	if err := signer.Verify(TagKeyCertificate, body, sig); err != nil {
		return nil, fmt.Errorf("key certificate: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("key certificate: %w", err)
	}
	return c, nil
}

func (c *KeyCertificate) check() error {
	if err := checkLife(c.Created, c.Expires, 0); err != nil {
		return err
	}
	return CheckExchangeKey(c.Exchange)
}

// Valid says whether the certificate holds at the time now; it returns
// ErrBundleExpired.
func (c *KeyCertificate) Valid(now time.Time) error {
	if err := checkNow(now, c.Created, c.Expires); err != nil {
		return fmt.Errorf("key certificate: %w: %w", ErrBundleExpired, err)
	}
	return nil
}
