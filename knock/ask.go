package knock

import (
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/wire"
	"amesh/ratchet"
)

// Asking is what A needs to knock.
type Asking struct {
	Key         identity.PrivateKey
	Certificate []byte // A's signed key certificate
	Exchange    ratchet.Secret
	Peer        *identity.Bundle     // B's newest bundle
	OneTimeKEM  *identity.OneTimeKey // nil: the bundle's last-resort key
	OneTime     *identity.OneTimeKey // nil: none
	Request     content.Request
	Issued      time.Time
	Expires     time.Time
}

// Asked is a knock ready to be stored and then sent, with the session that the
// answer will come in.
type Asked struct {
	Bytes   []byte   // the envelope, without tail
	Hash    [32]byte // the knock hash
	Session *ratchet.Session
}

// NewKnock makes a knock. It returns identity.ErrBundleExpired, ErrMismatch or ErrKey,
// ratchet.ErrLowOrder, ErrKey or ErrKEM for a bundle or key that cannot be used,
// and ErrMalformed for a request that breaks the rules.
func NewKnock(rand io.Reader, a Asking) (*Asked, error) {
	q, err := a.prepare(rand)
	if err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	asked, err := q.finish(rand)
	if err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	return asked, nil
}

// question is a knock half made: the clear part stands, message 0 does not.
type question struct {
	Asking
	request []byte
	clear   []byte
	offer   *ratchet.Offer
	kem     KeyName
	kemKey  []byte
	oneTime KeyName
	public  *ratchet.Point // of the one-time key
}

func (a Asking) prepare(rand io.Reader) (*question, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	q := &question{Asking: a}
	var err error
	if q.request, err = a.Request.Encode(); err != nil {
		return nil, err
	}
	q.kem, q.kemKey = KeyName{identity.KindLastResort, a.Peer.KEMKeyID}, a.Peer.KEMKey
	if a.OneTimeKEM != nil {
		q.kem, q.kemKey = KeyName{a.OneTimeKEM.Kind, a.OneTimeKEM.ID}, a.OneTimeKEM.Public
	}
	if a.OneTime != nil {
		p := ratchet.Point(a.OneTime.Public)
		q.oneTime, q.public = KeyName{a.OneTime.Kind, a.OneTime.ID}, &p
	}
	if q.offer, err = ratchet.NewOffer(rand, q.kemKey); err != nil {
		return nil, err
	}
	return q, q.writeClear()
}

func (a *Asking) check() error {
	if a.Peer.SigningKey == a.Key.Public() {
		return fmt.Errorf("%w: our own key came back", identity.ErrKey)
	}
	if err := checkTimes(a.Issued, a.Expires); err != nil {
		return err
	}
	if err := a.Peer.Usable(a.Issued); err != nil {
		return err
	}
	if err := a.checkOneTime(a.OneTimeKEM, identity.KindOneTimeKEM); err != nil {
		return err
	}
	return a.checkOneTime(a.OneTime, identity.KindOneTime)
}

func (a *Asking) checkOneTime(k *identity.OneTimeKey, kind identity.KeyKind) error {
	if k == nil {
		return nil
	}
	if k.AMID != a.Peer.AMID || k.Epoch != a.Peer.Epoch || k.Kind != kind {
		return fmt.Errorf("%w: one-time key of another agent, epoch or kind", identity.ErrMismatch)
	}
	return k.Valid(a.Issued)
}

func (q *question) writeClear() error {
	cert, err := identity.ParseKeyCertificate(q.Certificate, q.Key.Public())
	if err != nil {
		return fmt.Errorf("our own %w", err)
	}
	if cert.Exchange != q.Exchange.Public() {
		return fmt.Errorf("our own key certificate: %w", identity.ErrMismatch)
	}
	if err := cert.Valid(q.Issued); err != nil {
		return fmt.Errorf("our own %w", err)
	}
	prefix, key, from := ratchet.Prefix(ratchet.TypeKnock), q.Key.Public(), q.Key.AMID()
	ek, id := q.offer.EKPublic(), q.Peer.ID()
	w := wire.NewWriter(clearSize)
	w.Fixed(prefix[:])
	w.U8(identity.Suite2)
	w.U32(cert.Epoch)
	w.Fixed(from[:])
	w.Fixed(q.Peer.AMID[:])
	w.Fixed(key[:])
	w.Fixed(q.Certificate)
	w.Fixed(ek[:])
	w.Fixed(q.offer.Ciphertext())
	w.U32(q.Peer.SignedPrekeyID)
	w.U8(uint8(q.kem.Kind))
	w.U32(q.kem.ID)
	w.U8(uint8(q.oneTime.Kind))
	w.U32(q.oneTime.ID)
	w.Fixed(id[:])
	w.I64(q.Issued.Unix())
	w.I64(q.Expires.Unix())
	q.clear = w.Bytes()
	return nil
}

func (q *question) finish(rand io.Reader) (*Asked, error) {
	th0 := transcript(q.clear, q.Peer, q.kem, q.kemKey, q.oneTime, q.public)
	s, err := q.offer.Initiate(rand, ratchet.InitiatorKeys{
		Exchange:     q.Exchange,
		PeerExchange: q.Peer.Certificate.Exchange,
		PeerPrekey:   q.Peer.SignedPrekey,
		PeerOneTime:  q.public,
	}, th0)
	if err != nil {
		return nil, err
	}
	message0, err := s.SealFirst(rand, q.request)
	if err != nil {
		return nil, err
	}
	w := wire.NewWriter(clearSize + 2 + len(message0) + identity.SignatureSize)
	w.Fixed(q.clear)
	w.LP16(message0)
	w.Fixed(q.Key.Sign(identity.TagKnock, w.Bytes()))
	raw := w.Bytes()
	if len(raw) > MaxKnock {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(raw), MaxKnock)
	}
	if err := s.Bind(raw); err != nil {
		return nil, err
	}
	return &Asked{Bytes: raw, Hash: sha256.Sum256(raw), Session: s}, nil
}

func transcript(clear []byte, b *identity.Bundle, kem KeyName, kemKey []byte, oneTime KeyName, public *ratchet.Point) [32]byte {
	return ratchet.TranscriptHash(ratchet.Transcript{
		Clear:       clear,
		SigningKey:  b.SigningKey,
		Exchange:    b.Certificate.Exchange,
		BundleID:    b.ID(),
		PrekeyID:    b.SignedPrekeyID,
		Prekey:      b.SignedPrekey,
		KEMKind:     uint8(kem.Kind),
		KEMID:       kem.ID,
		KEMKey:      kemKey,
		OneTimeKind: uint8(oneTime.Kind),
		OneTimeID:   oneTime.ID,
		OneTime:     public,
	})
}

// WithTail seals a first message behind the knock, for a peer that gave A a
// grant or an invite. It returns the whole envelope; the session moves on and
// must be stored with it. The hash stays what it was. It returns
// ratchet.ErrTooLong, and the session untouched, for a plaintext that pads to more
// than MaxTail.
func (a *Asked) WithTail(rand io.Reader, plaintext []byte) ([]byte, error) {
	if n := ratchet.PaddedSize(len(plaintext)); n == 0 || n > MaxTail {
		return nil, fmt.Errorf("knock: tail: %w: plaintext of %d bytes", ratchet.ErrTooLong, len(plaintext))
	}
	next := a.Session.Clone()
	tail, _, err := next.Seal(rand, plaintext)
	if err != nil {
		return nil, fmt.Errorf("knock: tail: %w", err)
	}
	*a.Session = *next
	return append(a.Bytes[:len(a.Bytes):len(a.Bytes)], tail...), nil
}
