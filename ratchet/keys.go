package ratchet

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrLowOrder reports an X25519 key with which every exchange gives zero.
	ErrLowOrder = errors.New("kex_low_order")
	// ErrKey reports an X25519 key that is not canonical or is one of our own.
	ErrKey = errors.New("key_invalid")
	// ErrKEM reports an ML-KEM key or ciphertext of a wrong form.
	ErrKEM = errors.New("kem_invalid")
)

const hidden = "(hidden)"

// Point is an X25519 public key.
type Point = [32]byte

// Secret is 32 secret bytes: an X25519 private key or a symmetric key. It prints
// as "(hidden)" under every verb.
type Secret [32]byte

// GenerateSecret reads a new X25519 private key from rand.
func GenerateSecret(rand io.Reader) (Secret, error) {
	var s Secret
	if _, err := io.ReadFull(rand, s[:]); err != nil {
		return Secret{}, fmt.Errorf("generate X25519 key: %w", err)
	}
	return s, nil
}

// Public is the X25519 public key that belongs to s.
func (s Secret) Public() Point { return Point(s.private().PublicKey().Bytes()) }

// Format hides the key, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the key from JSON and from log/slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (s Secret) private() *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(s[:])
	if err != nil {
		panic("ratchet: X25519 refused 32 bytes: " + err.Error()) // it takes any
	}
	return k
}

func (s *Secret) equal(t *Secret) bool { return subtle.ConstantTimeCompare(s[:], t[:]) == 1 }

// KEMSeed is the private part of an ML-KEM-768 key (FIPS 203: d ‖ z). It prints
// as "(hidden)" under every verb.
type KEMSeed [mlkem.SeedSize]byte

// GenerateKEMSeed reads a new ML-KEM-768 key from rand.
func GenerateKEMSeed(rand io.Reader) (KEMSeed, error) {
	var s KEMSeed
	if _, err := io.ReadFull(rand, s[:]); err != nil {
		return KEMSeed{}, fmt.Errorf("generate ML-KEM key: %w", err)
	}
	return s, nil
}

// Public is the encapsulation key that belongs to s, 1,184 bytes.
func (s KEMSeed) Public() []byte { return s.private().EncapsulationKey().Bytes() }

// Format hides the key, whatever the verb.
func (s KEMSeed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the key from JSON and from log/slog.
func (s KEMSeed) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (s KEMSeed) private() *mlkem.DecapsulationKey768 {
	k, err := mlkem.NewDecapsulationKey768(s[:])
	if err != nil {
		panic("ratchet: ML-KEM refused a seed of the right length: " + err.Error())
	}
	return k
}

// prime is 2^255 − 19, little-endian.
var prime = Point{
	0xED, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
	0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F,
}

// checkPeer refuses a peer's key that is not canonical or is one of ours. The
// first makes the second sure: X25519 knows several encodings of one key.
func checkPeer(peer Point, own ...Point) error {
	for i := len(peer) - 1; i >= 0; i-- {
		if peer[i] < prime[i] {
			break
		}
		if peer[i] > prime[i] || i == 0 {
			return fmt.Errorf("%w: not canonical", ErrKey)
		}
	}
	for _, k := range own {
		if peer == k {
			return fmt.Errorf("%w: our own key came back", ErrKey)
		}
	}
	return nil
}

// keyPair is an X25519 key made ready for use. crypto/ecdh computes the public
// key whenever it is given a private one, which costs as much as an exchange, so
// a key that is used more than once is kept in this form. It never changes, so
// copies of a session may share it.
type keyPair struct {
	secret  Secret
	public  Point
	private *ecdh.PrivateKey
}

func newKeyPair(s Secret) *keyPair {
	k := s.private()
	return &keyPair{secret: s, public: Point(k.PublicKey().Bytes()), private: k}
}

func generateKeyPair(rand io.Reader) (*keyPair, error) {
	s, err := GenerateSecret(rand)
	if err != nil {
		return nil, err
	}
	return newKeyPair(s), nil
}

// ready is k, or the key pair of s where there is none yet.
func ready(k *keyPair, s Secret) *keyPair {
	if k == nil {
		return newKeyPair(s)
	}
	return k
}

// exchange is X25519(k, peer). It returns ErrLowOrder when the result is zero.
func (k *keyPair) exchange(peer Point) (Secret, error) {
	pub, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %v", ErrKey, err)
	}
	out, err := k.private.ECDH(pub)
	if err != nil {
		return Secret{}, ErrLowOrder
	}
	return Secret(out), nil
}
