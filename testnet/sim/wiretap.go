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
	keys map[direction][]headerKey // the newest last
	born map[string]int            // the life of its owner in which a session began, by owner and sid
}

// headerKey seals the headers of one sending chain of a session.
type headerKey struct {
	key [32]byte
	sid string
}

// sight is what the wiretap sees of an envelope.
type sight struct {
	marks []Mark
	sid   string // of the session that sealed it, as it stands in its row's key
	tail  string // the envelope behind a knock
	knock string // the hash of a knock
	names []string
}

type direction struct{ from, to identity.AMID }

func newWiretap() wiretap {
	return wiretap{keys: make(map[direction][]headerKey), born: make(map[string]int)}
}

// Sizes of session.md §6.
const (
	nonceSize  = chacha20poly1305.NonceSizeX
	headerSize = nonceSize + 42 + chacha20poly1305.Overhead
	bodyAt     = ratchet.PrefixSize + headerSize
	// clearSize is where message 0 of a knock begins (session.md §5.2).
	clearSize = 1401
)

// learn takes the sending header key out of a session as it is stored by its owner in
// some life.
func (w *wiretap) learn(d direction, sid string, life int, stored []byte) error {
	if _, known := w.born[bornKey(d, sid)]; !known {
		w.born[bornKey(d, sid)] = life
	}
	r := wire.NewReader(stored)
	if v := r.U8(); v != 1 {
		return fmt.Errorf("stored session of version %d: teach the wiretap its layout", v)
	}
	r.Fixed(1 + 16 + 32 + 32 + 4*32) // stage, sid, th0, ad, DHs, DHs public, DHr, RK
	sending := r.Bool()
	r.Fixed(32) // CKs
	k := headerKey{sid: sid}
	r.Into(k.key[:])
	if r.Err() != nil || !sending || slices.Contains(w.keys[d], k) {
		return r.Err()
	}
	w.keys[d] = append(w.keys[d], k)
	return nil
}

func bornKey(d direction, sid string) string { return string(d.from[:]) + string(d.to[:]) + sid }

// look reads an envelope. Without marks it carries a header that no known key opens.
func (w *wiretap) look(d direction, envelope []byte) sight {
	typ, err := ratchet.ParsePrefix(envelope)
	if err != nil {
		return sight{}
	}
	switch typ {
	case ratchet.TypeRenew:
		id := ratchet.EnvelopeID(envelope).String()
		return sight{marks: []Mark{{"renew " + id, id}}}
	case ratchet.TypeKnock:
		return w.knock(d, envelope)
	}
	return w.message(d, envelope)
}

func (w *wiretap) knock(d direction, envelope []byte) sight {
	k, err := knock.ParseKnock(envelope)
	if err != nil {
		return sight{}
	}
	n := int(binary.BigEndian.Uint16(envelope[clearSize:]))
	seen := w.message(d, envelope[clearSize+2:][:n])
	hash := k.Hash()
	seen.knock = fmt.Sprintf("%x", hash)
	for _, name := range []knock.KeyName{k.KEM, k.OneTime} {
		if name.Kind == identity.KindOneTimeKEM || name.Kind == identity.KindOneTime {
			seen.names = append(seen.names, keyName(name))
		}
	}
	if seen.marks == nil || len(k.Tail) == 0 {
		return seen
	}
	seen.tail = ratchet.EnvelopeID(k.Tail).String()
	if behind := w.message(d, k.Tail); behind.marks != nil {
		seen.marks = append(seen.marks, behind.marks...)
	} else {
		seen.marks = nil
	}
	return seen
}

// keyName is how a one-time key is called in a history.
func keyName(n knock.KeyName) string { return fmt.Sprintf("%d-%d", n.Kind, n.ID) }

func (w *wiretap) message(d direction, m []byte) sight {
	if len(m) < bodyAt+nonceSize {
		return sight{}
	}
	prefix, box := m[:ratchet.PrefixSize], m[ratchet.PrefixSize:bodyAt]
	for _, k := range slices.Backward(w.keys[d]) {
		aead, err := chacha20poly1305.NewX(k.key[:])
		if err != nil {
			return sight{}
		}
		header, err := aead.Open(nil, box[:nonceSize], box[nonceSize:], prefix)
		if err != nil {
			continue
		}
		chain, number, sum := header[:32], binary.BigEndian.Uint32(header[36:]), ratchet.EnvelopeID(m).String()
		return sight{sid: k.sid, marks: []Mark{
			{fmt.Sprintf("message key %x/%d", chain[:8], number), sum},
			{fmt.Sprintf("nonce %x", box[:nonceSize]), sum},
			{fmt.Sprintf("nonce %x", m[bodyAt:][:nonceSize]), sum},
		}}
	}
	return sight{}
}
