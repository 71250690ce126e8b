package sim

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"amesh/identity"
	"amesh/internal/wire"
	"amesh/knock"
	"amesh/ratchet"
)

// wiretap reads the headers of envelopes with the keys of their senders' sessions,
// which a simulation has: it wrote the disks. A header says which chain and which
// number of it sealed the body, and so whether a message key was used twice.
type wiretap struct {
	keys map[direction][][32]byte // header keys, the newest last
}

type direction struct{ from, to identity.AMID }

// Sizes of session.md §6.
const (
	nonceSize  = chacha20poly1305.NonceSizeX
	headerSize = nonceSize + 42 + chacha20poly1305.Overhead
	bodyAt     = ratchet.PrefixSize + headerSize
	// clearSize is where message 0 of a knock begins (session.md §5.2).
	clearSize = 1401
)

// learn takes the sending header key out of a session as it is stored.
func (w *wiretap) learn(d direction, stored []byte) error {
	r := wire.NewReader(stored)
	if v := r.U8(); v != 1 {
		return fmt.Errorf("stored session of version %d: teach the wiretap its layout", v)
	}
	r.Fixed(1 + 16 + 32 + 32 + 4*32) // stage, sid, th0, ad, DHs, DHs public, DHr, RK
	sending := r.Bool()
	r.Fixed(32) // CKs
	var key [32]byte
	r.Into(key[:])
	if r.Err() != nil || !sending || slices.Contains(w.keys[d], key) {
		return r.Err()
	}
	w.keys[d] = append(w.keys[d], key)
	return nil
}

// marks names the keys and nonces of an envelope, nothing if no key is known that
// opens its header.
func (w *wiretap) marks(d direction, envelope []byte) []Mark {
	typ, err := ratchet.ParsePrefix(envelope)
	if err != nil {
		return nil
	}
	if typ != ratchet.TypeKnock {
		return w.message(d, envelope)
	}
	k, err := knock.ParseKnock(envelope)
	if err != nil {
		return nil
	}
	n := int(binary.BigEndian.Uint16(envelope[clearSize:]))
	marks := w.message(d, envelope[clearSize+2:][:n])
	if marks == nil || len(k.Tail) == 0 {
		return marks
	}
	behind := w.message(d, k.Tail)
	if behind == nil {
		return nil
	}
	return append(marks, behind...)
}

func (w *wiretap) message(d direction, m []byte) []Mark {
	if len(m) < bodyAt+nonceSize {
		return nil
	}
	prefix, box := m[:ratchet.PrefixSize], m[ratchet.PrefixSize:bodyAt]
	for _, key := range slices.Backward(w.keys[d]) {
		aead, err := chacha20poly1305.NewX(key[:])
		if err != nil {
			return nil
		}
		header, err := aead.Open(nil, box[:nonceSize], box[nonceSize:], prefix)
		if err != nil {
			continue
		}
		chain, number, sum := header[:32], binary.BigEndian.Uint32(header[36:]), ratchet.EnvelopeID(m).String()
		return []Mark{
			{fmt.Sprintf("message key %x/%d", chain[:8], number), sum},
			{fmt.Sprintf("nonce %x", box[:nonceSize]), sum},
			{fmt.Sprintf("nonce %x", m[bodyAt:][:nonceSize]), sum},
		}
	}
	return nil
}
