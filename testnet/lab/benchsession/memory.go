package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"time"

	"amesh/ratchet"
	"amesh/testnet/lab/bench"
)

const (
	bodySize    = 1 << 10
	requestSize = 200 // a request with an intent and no certificate
	// transcriptSize is what th0 is the hash of: the clear part of a knock and B's
	// published keys.
	clearSize      = 1401
	transcriptSize = 27 + 4 + clearSize + 3*36 + 5 + 36 + 5 + 4 + 1184 + 5 + 36
)

// memoryCases are the cases whose sessions lie in memory.
func memoryCases() ([]bench.Case, error) {
	line := newFloorLine()
	text := bytes.Repeat([]byte{1}, bodySize)
	padded := ratchet.PaddedSize(len(text))
	oneWay, err := newPair()
	if err != nil {
		return nil, err
	}
	turning, err := newPair()
	if err != nil {
		return nil, err
	}
	ahead := make([]*pair, 64)
	for i := range ahead {
		if ahead[i], err = newPair(); err != nil {
			return nil, err
		}
	}
	hands, err := newFloorHandshake(transcriptSize)
	if err != nil {
		return nil, err
	}
	floorAnswer := bench.Loop(func() error { return line.answer(padded, text) })
	return []bench.Case{
		{
			Name: "seal and open 1 KiB", Bar: 0.60, Aim: 0.85,
			Floor:   bench.Loop(func() error { return line.message(padded, text) }),
			Product: bench.Loop(func() error { return oneWay.message(text) }),
		},
		{
			Name: "DH step every message", Bar: 0.8,
			Floor:   floorAnswer,
			Product: bench.Loop(func() error { return turning.answer(text) }),
		},
		{
			Name: "DH step every message, next key ahead", Bar: 0.8, Aim: 1.2,
			Floor:   floorAnswer,
			Product: func(n int) (time.Duration, error) { return answersAhead(ahead, n, text) },
		},
		{
			Name: "handshake of both sides", Bar: 0.8,
			Floor:   bench.Loop(func() error { return hands.run(ratchet.PaddedSize(requestSize), text[:requestSize]) }),
			Product: bench.Loop(newParties().handshake),
		},
	}, nil
}

// pair is a session of the product at both ends.
type pair struct {
	a, b *ratchet.Session
}

func newPair() (*pair, error) {
	a, b, err := newParties().meet()
	if err != nil {
		return nil, err
	}
	return &pair{a, b}, nil
}

// message is one message from a to b.
func (p *pair) message(text []byte) error {
	env, _, err := p.a.Seal(rand.Reader, text)
	if err != nil {
		return err
	}
	_, err = p.b.Open(time.Now(), rand.Reader, env)
	return err
}

// answer is a message after which the two change places, so that each one opens
// under a new ratchet key.
func (p *pair) answer(text []byte) error {
	err := p.message(text)
	p.a, p.b = p.b, p.a
	return err
}

// answersAhead is n answers, each between two who have just prepared, as a node
// does between two messages. What they prepare is not counted.
func answersAhead(pairs []*pair, n int, text []byte) (time.Duration, error) {
	var took time.Duration
	for n > 0 {
		some := pairs[:min(n, len(pairs))]
		for _, p := range some {
			if err := p.b.Prepare(rand.Reader); err != nil {
				return 0, err
			}
		}
		start := bench.CPU()
		for _, p := range some {
			if err := p.answer(text); err != nil {
				return 0, err
			}
		}
		took += bench.CPU() - start
		n -= len(some)
	}
	return took, nil
}

// parties are the long-lived keys of A and B.
type parties struct {
	exchange   ratchet.Secret
	public     ratchet.Point
	responder  *ratchet.Responder
	oneTime    ratchet.Secret
	transcript ratchet.Transcript
	knock      []byte
	request    []byte
}

func newParties() *parties {
	var a, b, prekey, oneTime ratchet.Secret
	var kem ratchet.KEMSeed
	for _, k := range [][]byte{a[:], b[:], prekey[:], oneTime[:], kem[:]} {
		rand.Read(k)
	}
	public := oneTime.Public()
	return &parties{
		exchange: a, public: a.Public(), responder: ratchet.NewResponder(b, prekey, kem), oneTime: oneTime,
		transcript: ratchet.Transcript{
			Clear: make([]byte, clearSize), Exchange: b.Public(), PrekeyID: 1, Prekey: prekey.Public(),
			KEMKind: 2, KEMID: 1, KEMKey: kem.Public(), OneTimeKind: 4, OneTimeID: 1, OneTime: &public,
		},
		knock: make([]byte, 2048), request: make([]byte, requestSize),
	}
}

func (p *parties) handshake() error {
	_, _, err := p.meet()
	return err
}

// meet makes a session at both ends, message 0 opened and everything bound.
func (p *parties) meet() (a, b *ratchet.Session, err error) {
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
