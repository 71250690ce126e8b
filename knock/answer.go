package knock

import (
	"errors"
	"fmt"
	"io"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// ErrNotVerified reports Open without a successful VerifySignature before it.
var ErrNotVerified = errors.New("knock is not verified")

// ResponderKeys are B's private keys for one knock, with the bundle they belong
// to: the one that the knock names by its id, newest or not.
type ResponderKeys struct {
	Bundle       *identity.Bundle
	Exchange     ratchet.Secret
	SignedPrekey ratchet.Secret
	KEM          ratchet.KEMSeed // of the key that Knock.KEM names
	OneTime      *ratchet.Secret // of the key that Knock.OneTime names, nil if none
}

// Opened is a knock whose message 0 was opened: it was made by the one it names,
// for us, with our keys.
type Opened struct {
	// Session is bound to the knock and has made its first ratchet step: answers
	// can be sealed and the tail opened. It is stored with ReplayKey, the
	// decision and the sealed answer, or not at all.
	Session   *ratchet.Session
	Request   *content.Request
	ReplayKey [32]byte // th0
}

// ReplayKey is th0, by which a copy of the knock is known even in another
// envelope. It returns ErrPrekeyUnknown when keys are not those that the knock
// names, and identity.ErrBundleExpired when their bundle had expired before the
// knock was issued.
func (k *Knock) ReplayKey(keys ResponderKeys) ([32]byte, error) {
	b := keys.Bundle
	if b.AMID != k.To || b.ID() != k.BundleID || b.SignedPrekeyID != k.SignedPrekey ||
		keys.Exchange.Public() != b.Certificate.Exchange || keys.SignedPrekey.Public() != b.SignedPrekey {
		return [32]byte{}, fmt.Errorf("knock: %w: bundle", ErrPrekeyUnknown)
	}
	kemKey := keys.KEM.Public()
	if k.KEM.Kind == identity.KindLastResort && (k.KEM.ID != b.KEMKeyID || string(kemKey) != string(b.KEMKey)) {
		return [32]byte{}, fmt.Errorf("knock: %w: last-resort key", ErrPrekeyUnknown)
	}
	if (k.OneTime.Kind == identity.KindOneTime) != (keys.OneTime != nil) {
		return [32]byte{}, fmt.Errorf("knock: %w: one-time key", ErrPrekeyUnknown)
	}
	if k.Issued.After(b.Expires.Add(identity.ClockSkew)) {
		return [32]byte{}, fmt.Errorf("knock: %w: before the knock was issued", identity.ErrBundleExpired)
	}
	var public *ratchet.Point
	if keys.OneTime != nil {
		p := keys.OneTime.Public()
		public = &p
	}
	return transcript(k.raw[:clearSize], b, k.KEM, kemKey, k.OneTime, public), nil
}

// Open makes B's session and reads the request. It returns what ReplayKey
// returns; ratchet.ErrLowOrder, ErrKey, ErrDecrypt or ErrMalformed for a bad
// handshake; ErrMalformed for a message 0 that is no request. Nothing of the
// knock may be stored, and no one-time key erased, before it returned nil: else
// anybody could burn keys with forged knocks.
func (k *Knock) Open(keys ResponderKeys, now time.Time, rand io.Reader) (*Opened, error) {
	if !k.verified {
		return nil, ErrNotVerified
	}
	th0, err := k.ReplayKey(keys)
	if err != nil {
		return nil, err
	}
	s, err := ratchet.Respond(ratchet.ResponderKeys{
		Exchange:     keys.Exchange,
		SignedPrekey: keys.SignedPrekey,
		KEM:          keys.KEM,
		OneTime:      keys.OneTime,
	}, k.exchange, k.EK, k.Ciphertext, th0)
	if err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	first, err := s.OpenFirst(now, rand, k.message0)
	if err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	c, err := content.Parse(first.Plaintext)
	if err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	request, ok := c.(*content.Request)
	if !ok {
		return nil, fmt.Errorf("knock: %w: message 0 is no request", ErrMalformed)
	}
	if err := s.Bind(k.Bytes()); err != nil {
		return nil, fmt.Errorf("knock: %w", err)
	}
	return &Opened{Session: s, Request: request, ReplayKey: th0}, nil
}
