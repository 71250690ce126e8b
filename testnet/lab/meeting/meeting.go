// Package meeting makes sessions at both ends, for what is to be measured with them: the
// handshake without the knocks that carry it.
package meeting

import (
	"crypto/rand"
	"errors"
	"time"

	"amesh/ratchet"
)

const (
	// RequestSize is a request with an intent and no certificate.
	RequestSize = 200
	// TranscriptSize is what th0 is the hash of: the clear part of a knock and B's
	// published keys.
	TranscriptSize = 27 + 4 + clearSize + 3*36 + 5 + 36 + 5 + 4 + 1184 + 5 + 36
	clearSize      = 1401
)

// Parties are the long-lived keys of A and B.
type Parties struct {
	exchange   ratchet.Secret
	public     ratchet.Point
	responder  *ratchet.Responder
	oneTime    ratchet.Secret
	transcript ratchet.Transcript
	knock      []byte
	request    []byte
}

// New makes keys for A and B.
func New() *Parties {
	var a, b, prekey, oneTime ratchet.Secret
	var kem ratchet.KEMSeed
	for _, k := range [][]byte{a[:], b[:], prekey[:], oneTime[:], kem[:]} {
		rand.Read(k)
	}
	public := oneTime.Public()
	return &Parties{
		exchange: a, public: a.Public(), responder: ratchet.NewResponder(b, prekey, kem), oneTime: oneTime,
		transcript: ratchet.Transcript{
			Clear: make([]byte, clearSize), Exchange: b.Public(), PrekeyID: 1, Prekey: prekey.Public(),
			KEMKind: 2, KEMID: 1, KEMKey: kem.Public(), OneTimeKind: 4, OneTimeID: 1, OneTime: &public,
		},
		knock: make([]byte, 2048), request: make([]byte, RequestSize),
	}
}

// Handshake is all of Meet, for whom the sessions do not matter.
func (p *Parties) Handshake() error {
	_, _, err := p.Meet()
	return err
}

// Meet makes a session at both ends, message 0 opened and everything bound.
func (p *Parties) Meet() (a, b *ratchet.Session, err error) {
	offer, err := ratchet.NewOffer(rand.Reader, p.transcript.KEMKey)
	if err != nil {
		return nil, nil, err
	}
	a, err = offer.Initiate(rand.Reader, ratchet.InitiatorKeys{
		Exchange: p.exchange, PeerExchange: p.transcript.Exchange, PeerPrekey: p.transcript.Prekey, PeerOneTime: p.transcript.OneTime,
	}, ratchet.TranscriptHash(p.transcript))
	if err != nil {
		return nil, nil, err
	}
	first, err := a.SealFirst(rand.Reader, p.request)
	if err != nil {
		return nil, nil, err
	}
	b, err = p.responder.Respond(&p.oneTime, p.public, offer.EKPublic(), offer.Ciphertext(), ratchet.TranscriptHash(p.transcript))
	if err != nil {
		return nil, nil, err
	}
	if _, err := b.OpenFirst(time.Now(), rand.Reader, first); err != nil {
		return nil, nil, err
	}
	return a, b, errors.Join(a.Bind(p.knock), b.Bind(p.knock))
}
