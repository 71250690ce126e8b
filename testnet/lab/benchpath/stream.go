package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/node/direct"
	"amesh/ratchet"
	"amesh/testnet/lab/bench"
	"amesh/testnet/lab/meeting"
)

const (
	bodySize = 1 << 10
	// patience is for everything that must not take long.
	patience = 10 * time.Second
)

// stream is messages of 1 KiB, sealed, sent on the stream between two nodes, opened and
// acknowledged, as many under way as a node allows; against writing and reading as many
// bytes on one stream of QUIC.
func (h *house) stream() (bench.Case, error) {
	c := bench.Case{Name: "stream: 1 KiB with E2EE, against raw quic-go", Bar: 0.5, Aim: 0.8, Slice: 100 * time.Millisecond}
	raw, err := h.openRaw()
	if err != nil {
		return c, err
	}
	pair, err := h.openPair()
	if err != nil {
		return c, err
	}
	c.Floor, c.Product = raw.carry, pair.carry
	return c, nil
}

// pair is two nodes as far as their stream goes, and a session between their agents.
type pair struct {
	a      *direct.Transport
	to     string // the peer id of the other
	sender *ratchet.Session
	opener *ratchet.Session
	body   []byte
	opened atomic.Int64
	failed atomic.Pointer[error]
}

func (h *house) openPair() (*pair, error) {
	p := &pair{body: bytes.Repeat([]byte{1}, bodySize)}
	var err error
	if p.sender, p.opener, err = meeting.New().Meet(); err != nil {
		return nil, err
	}
	a, _, err := h.node(func(direct.Delivery) {})
	if err != nil {
		return nil, err
	}
	_, at, err := h.node(p.deliver)
	if err != nil {
		return nil, err
	}
	target, err := dht.ParseBootstrap(at)
	if err != nil {
		return nil, err
	}
	p.a, p.to = a, target[0].ID.String()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = a.Dial(ctx, direct.Target{PeerIDs: []string{p.to}, Addresses: at})
	return p, err
}

// node is a host on loopback and the service of its streams; at is where it listens.
func (h *house) node(deliver func(direct.Delivery)) (t *direct.Transport, at []string, err error) {
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	host, err := dht.NewHost(dht.HostConfig{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
	if err != nil {
		return nil, nil, err
	}
	h.atEnd(host.Close)
	t, err = direct.New(host, direct.Config{Deliver: deliver})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- t.Run(ctx) }()
	h.atEnd(func() error { cancel(); return <-ran })
	return t, dht.Multiaddrs(host), nil
}

func (p *pair) deliver(d direct.Delivery) {
	body, err := p.opener.Open(time.Now(), rand.Reader, d.Data)
	if err == nil && !bytes.Equal(body.Plaintext, p.body) {
		err = errors.New("another message came")
	}
	if err != nil {
		p.failed.CompareAndSwap(nil, &err)
	}
	p.opened.Add(1)
	d.Ack()
}

// carry sends n messages and returns when all were acknowledged.
func (p *pair) carry(n int) (time.Duration, error) {
	room := make(chan error, direct.DefaultLimits().Outstanding)
	for range cap(room) {
		room <- nil
	}
	before, start := p.opened.Load(), time.Now()
	for range n {
		if err := <-room; err != nil {
			return 0, err
		}
		data, _, err := p.sender.Seal(rand.Reader, p.body)
		if err != nil {
			return 0, err
		}
		if err := p.a.Send(p.to, direct.Envelope{ID: ratchet.EnvelopeID(data), Data: data}, func(err error) { room <- err }); err != nil {
			return 0, err
		}
	}
	for range cap(room) {
		if err := <-room; err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	if err := p.failed.Load(); err != nil {
		return 0, *err
	}
	if came := p.opened.Load() - before; came != int64(n) {
		return 0, fmt.Errorf("%d of %d messages came", came, n)
	}
	return took, nil
}
