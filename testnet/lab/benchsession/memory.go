package main

import (
	"bytes"
	"crypto/rand"
	"time"

	"amesh/ratchet"
	"amesh/testnet/lab/bench"
	"amesh/testnet/lab/meeting"
)

const bodySize = 1 << 10

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
	hands, err := newFloorHandshake(meeting.TranscriptSize)
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
			Floor:   bench.Loop(func() error { return hands.run(ratchet.PaddedSize(meeting.RequestSize), text[:meeting.RequestSize]) }),
			Product: bench.Loop(meeting.New().Handshake),
		},
	}, nil
}

// pair is a session of the product at both ends.
type pair struct {
	a, b *ratchet.Session
}

func newPair() (*pair, error) {
	a, b, err := meeting.New().Meet()
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
