package certificate

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Owner is a word for somebody, always the same under one root. It counts what belongs
// together without naming anybody: account numbers can be tried out one after the
// other, but not without the root key.
func (i *Issuer) Owner(somebody string) (string, error) {
	key, err := hkdf.Key(sha256.New, i.root.Seed(), nil, "amesh/1 owner\x00"+somebody, 16)
	if err != nil {
		return "", fmt.Errorf("owner: %w", err)
	}
	return hex.EncodeToString(key), nil
}
