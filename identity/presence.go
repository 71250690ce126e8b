package identity

import (
	"bytes"
	"fmt"
	"time"

	"amesh/internal/wire"
)

// PresenceLife is the longest time from a presence's Issued to its Expires.
const PresenceLife = time.Hour

const (
	presenceVersion = 1
	// presencePeerID is the longest peer id in bytes; those of our keys have 38.
	presencePeerID = 64
)

// Presence is an agent's word that its node is the one with a peer id (lan.md §3).
// Without it any neighbour could show somebody else's record and take that agent's
// mail to itself.
type Presence struct {
	AMID    AMID
	PeerID  []byte // libp2p's binary form, 1 to 64 bytes
	Issued  time.Time
	Expires time.Time
}

// SignPresence returns the signed bytes of p, at most 166. The AMID is the key's.
func SignPresence(key PrivateKey, p Presence) ([]byte, error) {
	p.AMID = key.AMID()
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("sign presence: %w", err)
	}
	w := wire.NewWriter(166)
	w.U8(presenceVersion)
	w.Fixed(p.AMID[:])
	w.LP8(p.PeerID)
	writeTime(w, p.Issued)
	writeTime(w, p.Expires)
	w.Fixed(key.Sign(TagPresence, w.Bytes()))
	return w.Bytes(), nil
}

// ParsePresence reads a presence and verifies it under the signing key of the agent it
// names. It returns wire.ErrMalformed, ErrKey, ErrMismatch or ErrSignature. Time and
// peer id are left to the caller.
func ParsePresence(raw []byte, signer PublicKey) (*Presence, error) {
	p := &Presence{}
	r := wire.NewReader(raw)
	if v := r.U8(); v != presenceVersion {
		r.Fail("version %d", v)
	}
	r.Into(p.AMID[:])
	p.PeerID = bytes.Clone(r.LP8(presencePeerID))
	p.Issued = readTime(r)
	p.Expires = readTime(r)
	sig := r.Fixed(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	if err := checkOwner(signer, p.AMID); err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	body, _ := split(raw)
	if err := signer.Verify(TagPresence, body, sig); err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	return p, nil
}

func (p *Presence) check() error {
	if n := len(p.PeerID); n == 0 || n > presencePeerID {
		return fmt.Errorf("%w: peer id of %d bytes", wire.ErrMalformed, n)
	}
	return checkLife(p.Issued, p.Expires, PresenceLife)
}

// Valid says whether the presence holds at the time now. It returns ErrRecordExpired.
func (p *Presence) Valid(now time.Time) error {
	if err := checkNow(now, p.Issued, p.Expires); err != nil {
		return fmt.Errorf("presence: %w: %w", ErrRecordExpired, err)
	}
	return nil
}
