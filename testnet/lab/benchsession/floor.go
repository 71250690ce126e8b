package main

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"
)

// The floor is the cryptography of session.md written down in a row: the same
// calls on the same sizes, for one line whose keys are simply there. It has no
// state to keep, nothing to check and nobody to doubt. Each primitive has its
// quickest form, and keys that live long are made ready beforehand; what it makes
// for its caller, an envelope and a plaintext, it allocates as the product does.

const (
	prefixSize = 6
	headerSize = 42
	sealed     = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	bodyOffset = prefixSize + headerSize + sealed
)

// floorLine is both ends of a line.
type floorLine struct {
	chain, headerKey, root [32]byte
	ad                     [32 + bodyOffset]byte // AD ‖ prefix ‖ EH of the message at hand
	prefix                 [prefixSize]byte
	header                 [headerSize]byte
	receiver, sender       *ecdh.PrivateKey
}

func newFloorLine() *floorLine {
	l := &floorLine{receiver: newKey(), sender: newKey()}
	rand.Read(l.chain[:])
	rand.Read(l.headerKey[:])
	rand.Read(l.root[:])
	return l
}

// message seals and opens one padded plaintext: two KDF_CK, a header and a body
// sealed, a header and a body opened.
func (l *floorLine) message(padded int, text []byte) error {
	env, err := l.seal(padded, text)
	if err != nil {
		return err
	}
	if err := l.openHeader(env); err != nil {
		return err
	}
	return l.openBody(env)
}

// answer is a message that opens under a new ratchet key.
func (l *floorLine) answer(padded int, text []byte) error {
	env, err := l.seal(padded, text)
	if err != nil {
		return err
	}
	return l.openNext(env)
}

func (l *floorLine) openNext(env []byte) error {
	if err := l.openHeader(env); err != nil {
		return err
	}
	if err := l.turn(); err != nil {
		return err
	}
	return l.openBody(env)
}

func (l *floorLine) seal(padded int, text []byte) ([]byte, error) {
	env := make([]byte, bodyOffset+sealed+padded)
	copy(env, l.prefix[:])
	box, body := env[prefixSize:bodyOffset], env[bodyOffset:]
	var nonces [2 * chacha20poly1305.NonceSizeX]byte
	rand.Read(nonces[:])
	copy(box, nonces[:chacha20poly1305.NonceSizeX])
	copy(body, nonces[chacha20poly1305.NonceSizeX:])
	plain := box[chacha20poly1305.NonceSizeX:][:headerSize]
	copy(plain, l.header[:])
	if err := sealBox(box, plain, &l.headerKey, env[:prefixSize]); err != nil {
		return nil, err
	}
	key := hmacByte(&l.chain, 1)
	hmacByte(&l.chain, 2)
	copy(l.ad[32:], env)
	plain = body[chacha20poly1305.NonceSizeX:][:padded]
	binary.BigEndian.PutUint32(plain, uint32(len(text)))
	copy(plain[4:], text)
	return env, sealBox(body, plain, &key, l.ad[:])
}

func (l *floorLine) openHeader(env []byte) error {
	_, err := openBox(l.header[:0], env[prefixSize:bodyOffset], &l.headerKey, env[:prefixSize])
	return err
}

func (l *floorLine) openBody(env []byte) error {
	key := hmacByte(&l.chain, 1)
	hmacByte(&l.chain, 2)
	copy(l.ad[32:], env)
	_, err := openBox(nil, env[bodyOffset:], &key, l.ad[:])
	return err
}

// turn is a DH step: two exchanges, a new key and two KDF_RK.
func (l *floorLine) turn() error {
	if err := l.rootStep(l.receiver); err != nil {
		return err
	}
	l.receiver = newKey()
	return l.rootStep(l.receiver)
}

func (l *floorLine) rootStep(own *ecdh.PrivateKey) error {
	dh, err := own.ECDH(l.sender.PublicKey())
	if err != nil {
		return err
	}
	out, err := hkdf.Key(sha256.New, dh, l.root[:], "amesh/session/1 root", 96)
	if err != nil {
		return err
	}
	copy(l.root[:], out)
	return nil
}

// floorHandshake is the handshake of both sides up to the first opened message. The
// one-time key is read for this handshake alone, so it is not ready.
type floorHandshake struct {
	exchange, peerExchange, prekey *ecdh.PrivateKey
	oneTime                        []byte
	oneTimePublic                  *ecdh.PublicKey
	kem                            *mlkem.DecapsulationKey768
	kemPublic, transcript          []byte
}

func newFloorHandshake(transcript int) (*floorHandshake, error) {
	kem, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, err
	}
	oneTime := newKey()
	return &floorHandshake{
		exchange: newKey(), peerExchange: newKey(), prekey: newKey(),
		oneTime: oneTime.Bytes(), oneTimePublic: oneTime.PublicKey(),
		kem: kem, kemPublic: kem.EncapsulationKey().Bytes(), transcript: make([]byte, transcript),
	}, nil
}

func (h *floorHandshake) run(padded int, text []byte) error {
	// A: EK and the KEM, the key schedule, its first ratchet key, message 0.
	ek := newKey()
	peerKEM, err := mlkem.NewEncapsulationKey768(h.kemPublic)
	if err != nil {
		return err
	}
	shared, ciphertext := peerKEM.Encapsulate()
	err = h.schedule(shared, []agreement{
		{h.exchange, h.prekey.PublicKey()}, {ek, h.peerExchange.PublicKey()}, {ek, h.prekey.PublicKey()}, {ek, h.oneTimePublic},
	})
	if err != nil {
		return err
	}
	l := &floorLine{sender: h.prekey, receiver: newKey()}
	if err := l.rootStep(l.receiver); err != nil {
		return err
	}
	env, err := l.seal(padded, text)
	if err != nil {
		return err
	}
	// B: the KEM, the key schedule, message 0 behind its first DH step.
	if shared, err = h.kem.Decapsulate(ciphertext); err != nil {
		return err
	}
	oneTime, err := ecdh.X25519().NewPrivateKey(h.oneTime)
	if err != nil {
		return err
	}
	err = h.schedule(shared, []agreement{
		{h.prekey, h.exchange.PublicKey()}, {h.peerExchange, ek.PublicKey()}, {h.prekey, ek.PublicKey()}, {oneTime, ek.PublicKey()},
	})
	if err != nil {
		return err
	}
	return l.openNext(env)
}

// agreement is one X25519 exchange.
type agreement struct {
	own  *ecdh.PrivateKey
	peer *ecdh.PublicKey
}

func (h *floorHandshake) schedule(shared []byte, agreed []agreement) error {
	th0 := sha256.Sum256(h.transcript)
	ikm := make([]byte, 32, 32*(len(agreed)+2))
	for _, a := range agreed {
		dh, err := a.own.ECDH(a.peer)
		if err != nil {
			return err
		}
		ikm = append(ikm, dh...)
	}
	_, err := hkdf.Key(sha256.New, append(ikm, shared...), make([]byte, 32), "amesh/session/1 handshake\x00"+string(th0[:]), 112)
	return err
}

func newKey() *ecdh.PrivateKey {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return k
}

// hmacByte is HMAC-SHA-256 of one byte over arrays, twice as quick as crypto/hmac.
func hmacByte(key *[32]byte, b byte) [32]byte {
	var inner [sha256.BlockSize + 1]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		inner[i], outer[i] = 0x36, 0x5C
	}
	for i, k := range key {
		inner[i] ^= k
		outer[i] ^= k
	}
	inner[sha256.BlockSize] = b
	digest := sha256.Sum256(inner[:])
	copy(outer[sha256.BlockSize:], digest[:])
	return sha256.Sum256(outer[:])
}

func sealBox(box, plain []byte, key *[32]byte, ad []byte) error {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return err
	}
	aead.Seal(plain[:0], box[:chacha20poly1305.NonceSizeX], plain, ad)
	return nil
}

func openBox(dst, box []byte, key *[32]byte, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return nil, err
	}
	return aead.Open(dst, box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:], ad)
}
