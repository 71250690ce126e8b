package identity

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"amesh/internal/wire"
)

// Suite2 is the one cryptographic suite: X25519, ML-KEM-768, HKDF-SHA-256,
// HMAC-SHA-256 and XChaCha20-Poly1305. Number 1 is reserved and never offered.
const Suite2 = 2

// BundleLife is the longest time from a bundle's Created to its Expires.
const BundleLife = 14 * 24 * time.Hour

const (
	bundleVersion = 1
	maxSuites     = 16
)

var (
	// ErrStaleEpoch reports a bundle of an epoch below one already seen.
	ErrStaleEpoch = errors.New("stale_epoch")
	// ErrStaleBundle reports a bundle older than one already seen.
	ErrStaleBundle = errors.New("stale_bundle")
	// ErrBundleConflict reports two different bundles signed under one epoch and
	// sequence: somebody else holds the key, or a state was copied. The owner
	// is shown it.
	ErrBundleConflict = errors.New("bundle_conflict")
	// ErrBundleExpired reports a bundle, a one-time key or a certificate used
	// outside its times.
	ErrBundleExpired = errors.New("bundle_expired")
)

// Bundle is what others need to start a session with an agent that is not
// there: its exchange key with certificate, its signed prekey and its
// last-resort KEM key, signed as a whole (session.md §2.4).
type Bundle struct {
	AMID           AMID
	SigningKey     PublicKey
	Epoch          uint32
	Sequence       uint64
	Created        time.Time
	Expires        time.Time
	Certificate    KeyCertificate
	SignedPrekeyID uint32
	SignedPrekey   [ExchangeKeySize]byte
	KEMKeyID       uint32
	KEMKey         []byte
	Suites         []byte
	Features       uint32

	raw []byte
}

// SignBundle returns the signed bytes of b. AMID, SigningKey and the
// certificate's AMID and epoch are taken from key and b.Epoch, and Suites means
// suite 2 when it is empty; everything else must be filled in. It refuses what
// ParseBundle would refuse.
func SignBundle(key PrivateKey, b Bundle) ([]byte, error) {
	b.SigningKey, b.AMID = key.Public(), key.AMID()
	b.Certificate.Epoch = b.Epoch
	if len(b.Suites) == 0 {
		b.Suites = []byte{Suite2}
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("sign bundle: %w", err)
	}
	cert, err := SignKeyCertificate(key, b.Certificate)
	if err != nil {
		return nil, fmt.Errorf("sign bundle: %w", err)
	}
	w := wire.NewWriter(1511)
	w.U8(bundleVersion)
	w.Fixed(b.AMID[:])
	w.Fixed(b.SigningKey[:])
	w.U32(b.Epoch)
	w.U64(b.Sequence)
	writeTime(w, b.Created)
	writeTime(w, b.Expires)
	w.Fixed(cert)
	w.U32(b.SignedPrekeyID)
	w.Fixed(b.SignedPrekey[:])
	w.U32(b.KEMKeyID)
	w.Fixed(b.KEMKey)
	w.LP8(b.Suites)
	w.U32(b.Features)
	w.Fixed(key.Sign(TagBundle, w.Bytes()))
	return w.Bytes(), nil
}

// ParseBundle reads a bundle and verifies everything in it but the time: the
// name, both signatures, every key. It returns wire.ErrMalformed, ErrKey,
// ErrMismatch, ErrSignature, ErrLowOrder or ErrKEM. It keeps a copy of raw.
func ParseBundle(raw []byte) (*Bundle, error) {
	b, cert, err := readBundle(bytes.Clone(raw))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if err := b.verify(cert); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return b, nil
}

func readBundle(raw []byte) (*Bundle, []byte, error) {
	b := &Bundle{raw: raw}
	r := wire.NewReader(raw)
	if v := r.U8(); v != bundleVersion {
		r.Fail("version %d", v)
	}
	r.Into(b.AMID[:])
	r.Into(b.SigningKey[:])
	b.Epoch = r.U32()
	b.Sequence = r.U64()
	b.Created = readTime(r)
	b.Expires = readTime(r)
	cert := r.Fixed(KeyCertificateSize)
	b.SignedPrekeyID = r.U32()
	r.Into(b.SignedPrekey[:])
	b.KEMKeyID = r.U32()
	b.KEMKey = r.Fixed(KEMKeySize)
	b.Suites = r.LP8(maxSuites)
	b.Features = r.U32()
	r.Fixed(SignatureSize)
	return b, cert, r.Done()
}

// verify finishes parsing: signatures before the dearer key checks, so that a
// forger buys as little of our time as possible.
func (b *Bundle) verify(cert []byte) error {
	if err := checkOwner(b.SigningKey, b.AMID); err != nil {
		return err
	}
	body, sig := split(b.raw)
	if err := b.SigningKey.Verify(TagBundle, body, sig); err != nil {
		return err
	}
	c, err := ParseKeyCertificate(cert, b.SigningKey)
	if err != nil {
		return err
	}
	if c.Epoch != b.Epoch {
		return fmt.Errorf("%w: certificate of epoch %d in a bundle of epoch %d", ErrMismatch, c.Epoch, b.Epoch)
	}
	b.Certificate = *c
	return b.check()
}

// check holds the rules that are the same for the one who signs and the one
// who reads.
func (b *Bundle) check() error {
	if err := checkLife(b.Created, b.Expires, BundleLife); err != nil {
		return err
	}
	if err := checkSuites(b.Suites); err != nil {
		return err
	}
	if err := CheckExchangeKey(b.SignedPrekey); err != nil {
		return fmt.Errorf("signed prekey: %w", err)
	}
	return CheckKEMKey(b.KEMKey)
}

func checkSuites(suites []byte) error {
	for i, s := range suites {
		if s < Suite2 || (i > 0 && s <= suites[i-1]) {
			return fmt.Errorf("%w: suites not ascending from %d", wire.ErrMalformed, Suite2)
		}
	}
	if len(suites) > maxSuites || !slices.Contains(suites, Suite2) {
		return fmt.Errorf("%w: suite %d is not offered", wire.ErrMalformed, Suite2)
	}
	return nil
}

// Raw is the bundle as it was signed. The caller must not change it.
func (b *Bundle) Raw() []byte { return b.raw }

// ID is the bundle's name: the hash of its bytes without the signature.
func (b *Bundle) ID() [32]byte {
	body, _ := split(b.raw)
	return sha256.Sum256(body)
}

// Usable says whether a session may be started with b at the time now. It
// returns ErrBundleExpired. How long ago the bundle was fetched is for the
// caller to know.
func (b *Bundle) Usable(now time.Time) error {
	if err := checkNow(now, b.Created, b.Expires); err != nil {
		return fmt.Errorf("bundle: %w: %w", ErrBundleExpired, err)
	}
	return b.Certificate.Valid(now)
}

// Compare orders b after the newest bundle ever verified for the same peer,
// given by its epoch, sequence and id. It returns nil when b is newer or the
// same, else ErrStaleEpoch, ErrStaleBundle or ErrBundleConflict.
func (b *Bundle) Compare(epoch uint32, sequence uint64, id [32]byte) error {
	switch {
	case b.Epoch < epoch:
		return fmt.Errorf("%w: epoch %d after %d", ErrStaleEpoch, b.Epoch, epoch)
	case b.Epoch > epoch:
		return nil
	case b.Sequence < sequence:
		return fmt.Errorf("%w: sequence %d after %d", ErrStaleBundle, b.Sequence, sequence)
	case b.Sequence == sequence && b.ID() != id:
		return fmt.Errorf("%w: epoch %d, sequence %d", ErrBundleConflict, epoch, sequence)
	}
	return nil
}

// CheckKEMKey accepts an ML-KEM-768 encapsulation key that passes the checks of
// FIPS 203 §7.2; it returns ErrKEM.
func CheckKEMKey(key []byte) error {
	if _, err := mlkem.NewEncapsulationKey768(key); err != nil {
		return fmt.Errorf("%w: not an ML-KEM-768 encapsulation key", ErrKEM)
	}
	return nil
}
