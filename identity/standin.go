package identity

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"fmt"
	"io"
	"time"
)

// StandIn makes a bundle in the name of an agent whose own is not known. Nobody has its
// private parts: a knock at it opens nowhere, and its agent answers with a renew that
// brings the right one (invite.md §5.2). It is not to be shown to anybody.
func StandIn(rand io.Reader, of PublicKey, now time.Time) (*Bundle, error) {
	key, err := GenerateKey(rand)
	if err != nil {
		return nil, fmt.Errorf("stand-in: %w", err)
	}
	var points [2][ExchangeKeySize]byte
	for i := range points {
		k, err := ecdh.X25519().GenerateKey(rand)
		if err != nil {
			return nil, fmt.Errorf("stand-in: %w", err)
		}
		points[i] = [ExchangeKeySize]byte(k.PublicKey().Bytes())
	}
	seed := make([]byte, mlkem.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("stand-in: %w", err)
	}
	kem, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, fmt.Errorf("stand-in: %w", err)
	}
	now = now.Truncate(time.Second)
	raw, err := SignBundle(key, Bundle{
		Epoch: 1, Sequence: 1, Created: now, Expires: now.Add(BundleLife),
		Certificate:  KeyCertificate{Exchange: points[0], Created: now, Expires: now.Add(BundleLife)},
		SignedPrekey: points[1], KEMKey: kem.EncapsulationKey().Bytes(),
	})
	if err != nil {
		return nil, fmt.Errorf("stand-in: %w", err)
	}
	b, err := ParseBundle(raw)
	if err != nil {
		return nil, fmt.Errorf("stand-in: %w", err)
	}
	b.SigningKey, b.AMID = of, of.AMID()
	return b, nil
}
