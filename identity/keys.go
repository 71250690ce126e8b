package identity

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/edwards25519"
)

// SignatureSize is the length of every signature in bytes.
const SignatureSize = ed25519.SignatureSize

var (
	// ErrKey reports bytes that are no acceptable Ed25519 public key: wrong
	// length, not canonical, not on the curve, or of small order.
	ErrKey = errors.New("key_invalid")
	// ErrSignature reports a signature that does not verify.
	ErrSignature = errors.New("signature_invalid")
	// ErrMismatch reports a key that does not belong to the AMID named with it.
	ErrMismatch = errors.New("key_mismatch")
)

// PublicKey is an Ed25519 public key that passed ParsePublicKey.
type PublicKey [ed25519.PublicKeySize]byte

// ParsePublicKey accepts 32 bytes that are the canonical encoding of a point
// whose order is not small. Under a small-order key one signature would be
// valid for every message, so such a key proves nothing.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("%w: %d bytes, want %d", ErrKey, len(b), ed25519.PublicKeySize)
	}
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: not a point", ErrKey)
	}
	if string(p.Bytes()) != string(b) {
		return PublicKey{}, fmt.Errorf("%w: not canonical", ErrKey)
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return PublicKey{}, fmt.Errorf("%w: small order", ErrKey)
	}
	return PublicKey(b), nil
}

// ParsePublicKeyText reads padded standard base64, with or without the
// "ed25519:" prefix (AgentMesh §1.1).
func ParsePublicKeyText(s string) (PublicKey, error) {
	b, err := decodeKeyText(s, "ed25519:")
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return ParsePublicKey(b)
}

// Text is the padded base64 form without prefix, as 0.2 frames carry it.
func (k PublicKey) Text() string { return base64.StdEncoding.EncodeToString(k[:]) }

// AMID is the name that belongs to the key.
func (k PublicKey) AMID() AMID { return AMIDOf(k) }

// PrivateKey is an agent's Ed25519 signing key. It prints as "(hidden)".
type PrivateKey struct {
	key ed25519.PrivateKey
}

// GenerateKey makes a signing key from 32 bytes of rand.
func GenerateKey(rand io.Reader) (PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return PrivateKey{}, fmt.Errorf("generate signing key: %w", err)
	}
	return PrivateKeyFromSeed(seed)
}

// PrivateKeyFromSeed makes the key of a 32-byte seed (RFC 8032 §5.1.5).
func PrivateKeyFromSeed(seed []byte) (PrivateKey, error) {
	if len(seed) != ed25519.SeedSize {
		return PrivateKey{}, fmt.Errorf("%w: seed of %d bytes, want %d", ErrKey, len(seed), ed25519.SeedSize)
	}
	return PrivateKey{key: ed25519.NewKeyFromSeed(seed)}, nil
}

// Public is the public half.
func (k PrivateKey) Public() PublicKey { return PublicKey(k.key[ed25519.SeedSize:]) }

// AMID is the name that belongs to the key.
func (k PrivateKey) AMID() AMID { return k.Public().AMID() }

// Seed hands out the secret 32 bytes, for key files and for libp2p's identity.
func (k PrivateKey) Seed() []byte { return k.key.Seed() }

// String hides the key from logs and errors.
func (k PrivateKey) String() string { return "(hidden)" }

// Format hides the key from fmt, whatever the verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText hides the key from JSON and from log/slog.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func decodeKeyText(s, prefix string) ([]byte, error) {
	b, ok := decodeBase64(strings.TrimPrefix(s, prefix))
	if !ok {
		return nil, errors.New("not padded base64")
	}
	if len(b) != 32 {
		return nil, fmt.Errorf("%d bytes, want 32", len(b))
	}
	return b, nil
}

// decodeBase64 takes the one right spelling of b. The package's own strict mode
// overlooks line breaks.
func decodeBase64(text string) (b []byte, ok bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	return b, err == nil && base64.StdEncoding.EncodeToString(b) == text
}
