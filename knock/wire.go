package knock

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/wire"
	"amesh/ratchet"
)

const clearSize = 1401

var (
	// ErrMalformed reports bytes that are no knock; it is wire.ErrMalformed.
	ErrMalformed = wire.ErrMalformed
	// ErrWrongRecipient reports a knock for somebody else.
	ErrWrongRecipient = errors.New("wrong_recipient")
	// ErrKnockExpired reports a knock outside its times.
	ErrKnockExpired = errors.New("knock_expired")
	// ErrPrekeyUnknown reports a knock that names keys or a bundle which are not
	// those it is to be opened with.
	ErrPrekeyUnknown = errors.New("prekey_unknown")
)

// KeyName names one of B's keys.
type KeyName struct {
	Kind identity.KeyKind
	ID   uint32
}

// Knock is a knock as it came. Until VerifySignature returned nil every field is
// what a stranger wrote; until Open returned nil nothing says that it is not a
// copy.
type Knock struct {
	Epoch        uint32
	From         identity.AMID
	To           identity.AMID
	EK           ratchet.Point
	Ciphertext   []byte
	SignedPrekey uint32
	KEM          KeyName // KindLastResort or KindOneTimeKEM
	OneTime      KeyName // KindNone or KindOneTime
	BundleID     [32]byte
	Issued       time.Time
	Expires      time.Time
	// Tail is empty or one ratchet message, opened by the session after Open.
	Tail []byte

	raw         []byte // the whole envelope
	size        int    // of raw without the tail
	signingKey  []byte
	certificate []byte
	message0    []byte
	signed      []byte // what the signature covers
	signature   []byte
	exchange    ratchet.Point
	verified    bool
}

// SigningKey is A's, which VerifySignature checked and found to be From's.
func (k *Knock) SigningKey() identity.PublicKey { return identity.PublicKey(k.signingKey) }

// ParseKnock reads an envelope of type 1. It looks at syntax only; it returns
// ErrMalformed, ratchet.ErrLegacy or ratchet.ErrUnsupported. It keeps a copy.
func ParseKnock(raw []byte) (*Knock, error) {
	t, err := ratchet.ParsePrefix(raw)
	if err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	if t != ratchet.TypeKnock {
		return nil, fmt.Errorf("knock: %w: envelope of type %d", ErrMalformed, t)
	}
	k := &Knock{raw: bytes.Clone(raw)}
	r := wire.NewReader(k.raw)
	k.readClear(r)
	k.message0 = r.LP16(MaxKnock)
	k.signed = k.raw[:len(k.raw)-r.Len()]
	k.signature = r.Fixed(identity.SignatureSize)
	k.size = len(k.raw) - r.Len()
	k.Tail = r.Fixed(r.Len())
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	if err := k.checkSyntax(); err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	return k, nil
}

func (k *Knock) readClear(r *wire.Reader) {
	r.Fixed(ratchet.PrefixSize)
	if s := r.U8(); s != identity.Suite2 {
		r.Fail("suite %d", s)
	}
	k.Epoch = r.U32()
	r.Into(k.From[:])
	r.Into(k.To[:])
	k.signingKey = r.Fixed(32)
	k.certificate = r.Fixed(identity.KeyCertificateSize)
	r.Into(k.EK[:])
	k.Ciphertext = r.Fixed(ratchet.KEMCiphertextSize)
	k.SignedPrekey = r.U32()
	k.KEM = KeyName{identity.KeyKind(r.U8()), r.U32()}
	k.OneTime = KeyName{identity.KeyKind(r.U8()), r.U32()}
	r.Into(k.BundleID[:])
	k.Issued = readTime(r)
	k.Expires = readTime(r)
}

func (k *Knock) checkSyntax() error {
	if k.size > MaxKnock {
		return fmt.Errorf("%w: %d bytes without tail, at most %d", ErrMalformed, k.size, MaxKnock)
	}
	if err := checkKinds(k.KEM, k.OneTime); err != nil {
		return err
	}
	if err := checkTimes(k.Issued, k.Expires); err != nil {
		return err
	}
	if len(k.Tail) == 0 {
		k.Tail = nil
		return nil
	}
	if err := ratchet.CheckMessage(k.Tail); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	return nil
}

func checkKinds(kem, oneTime KeyName) error {
	if kem.Kind != identity.KindLastResort && kem.Kind != identity.KindOneTimeKEM {
		return fmt.Errorf("%w: KEM kind %d", ErrMalformed, kem.Kind)
	}
	switch {
	case oneTime.Kind == identity.KindOneTime:
		return nil
	case oneTime == KeyName{}:
		return nil
	}
	return fmt.Errorf("%w: one-time kind %d, id %d", ErrMalformed, oneTime.Kind, oneTime.ID)
}

func checkTimes(issued, expires time.Time) error {
	life := expires.Unix() - issued.Unix()
	if issued.Unix() < 0 || expires.Unix() > latestTime || life <= 0 || life > int64(MaxLife/time.Second) {
		return fmt.Errorf("%w: life of %d s", ErrMalformed, life)
	}
	return nil
}

// latestTime is the last second of the year 9999.
const latestTime = 253402300799

func readTime(r *wire.Reader) time.Time {
	s := r.I64()
	if s < 0 || s > latestTime {
		r.Fail("time %d", s)
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// Bytes is the knock without its tail: what the session is bound to.
func (k *Knock) Bytes() []byte { return k.raw[:k.size] }

// Hash is the knock's name in every answer: the hash of Bytes.
func (k *Knock) Hash() [32]byte { return sha256.Sum256(k.Bytes()) }

// EnvelopeID is the name of the envelope, tail included.
func (k *Knock) EnvelopeID() ratchet.ID { return ratchet.EnvelopeID(k.raw) }

// NoOneTimeKey says that no one-time KEM key was used.
func (k *Knock) NoOneTimeKey() bool { return k.KEM.Kind != identity.KindOneTimeKEM }

// CheckRecipient returns ErrWrongRecipient unless the knock is for self.
func (k *Knock) CheckRecipient(self identity.AMID) error {
	if k.To != self {
		return fmt.Errorf("%w: knock for %s", ErrWrongRecipient, k.To)
	}
	return nil
}

// CheckTimes returns ErrKnockExpired unless the knock may be taken at the time
// now.
func (k *Knock) CheckTimes(now time.Time) error {
	if now.Before(k.Issued.Add(-identity.ClockSkew)) {
		return fmt.Errorf("%w: issued in the future", ErrKnockExpired)
	}
	if now.After(k.Expires.Add(identity.ClockSkew)) {
		return fmt.Errorf("%w: expired %s", ErrKnockExpired, k.Expires.Format(time.RFC3339))
	}
	return nil
}

// VerifySignature checks who knocks: key, name, signature and key certificate,
// which must have been valid when the knock was issued. It returns
// identity.ErrKey, ErrMismatch, ErrSignature, ErrLowOrder or ErrBundleExpired.
func (k *Knock) VerifySignature() error {
	key, err := identity.ParsePublicKey(k.signingKey)
	if err != nil {
		return fmt.Errorf("knock: %w", err)
	}
	if key.AMID() != k.From {
		return fmt.Errorf("knock: %w: key of %s under the name %s", identity.ErrMismatch, key.AMID(), k.From)
	}
	if k.From == k.To {
		return fmt.Errorf("knock: %w: our own key came back", identity.ErrKey)
	}
	if err := key.Verify(identity.TagKnock, k.signed, k.signature); err != nil {
		return fmt.Errorf("knock: %w", err)
	}
	cert, err := identity.ParseKeyCertificate(k.certificate, key)
	if err != nil {
		return fmt.Errorf("knock: %w", err)
	}
	if cert.Epoch != k.Epoch {
		return fmt.Errorf("knock: %w: certificate of epoch %d in a knock of epoch %d", identity.ErrMismatch, cert.Epoch, k.Epoch)
	}
	if err := cert.Valid(k.Issued); err != nil {
		return fmt.Errorf("knock: %w", err)
	}
	k.exchange = cert.Exchange
	k.verified = true
	return nil
}
