package ratchet

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
)

var (
	// ErrStage reports a call that does not fit the session's stage, such as
	// Seal before Bind. It is a mistake of the caller, never of the peer.
	ErrStage = errors.New("session is not at that stage")
	// ErrTooLong reports a plaintext that fits no envelope, or a chain that has
	// no number left.
	ErrTooLong = errors.New("too long")
)

// stage is how far a session's start has come.
type stage uint8

const (
	stageFresh stage = iota // message 0 is still to be sealed or opened
	stageFirst              // message 0 is done, Bind is missing
	stageBound              // Seal and Open
)

// state is the Double Ratchet's state with header encryption, in the names of
// its paper. It holds no pointer, so an assignment is a copy.
type state struct {
	dhs       Secret
	dhsPublic Point
	dhr       Point
	rk        Secret
	cks, ckr  Secret
	hks, hkr  Secret
	nhks      Secret
	nhkr      Secret
	ns, nr    uint32
	pn        uint32
	sending   bool // cks and hks are set
	receiving bool // ckr and hkr are set
}

// Session is one side of an encrypted line. It is not safe for concurrent use.
// After an error of any method the session is what it was before the call. It
// prints as "(hidden)".
type Session struct {
	state
	sid     [16]byte
	th0     [32]byte
	ad      [32]byte
	stage   stage
	skipped skipped

	// own is the present ratchet key made ready, spare the next one. Either may be
	// nil; they say when a key is computed and not which, so they are no part of the
	// state and are not stored.
	own, spare *keyPair
}

// SID is a local name of the session. It never travels.
func (s *Session) SID() [16]byte { return s.sid }

// Transcript is th0, the hash of the handshake.
func (s *Session) Transcript() [32]byte { return s.th0 }

// Binding is what every message after message 0 is tied to, H(th0 ‖ knock bytes); zeros
// before Bind. Both sides have the same.
func (s *Session) Binding() [32]byte { return s.ad }

// Sent is the number of messages sealed in the present sending chain.
func (s *Session) Sent() uint32 { return s.ns }

// Clone returns a session that shares nothing with s but what never changes. To
// seal with both is to use a key twice.
func (s *Session) Clone() *Session {
	c := *s
	c.skipped = s.skipped.clone()
	return &c
}

// Prepare makes the key pair of the next DH step, so that the Open which makes
// that step need not: it is a third of its work. Where there is one already
// nothing is done. The right moment is after an Open with NewChain, or after
// UnmarshalSession, when nobody waits.
//
// The spare is used once, by the step that is kept. It is not stored: a session
// read back has none and makes a fresh key, as without Prepare. Clones made before
// the step have the same spare. If a clone that made the step is dropped, and the
// session opens the same message again, both came to the same chain; that is safe
// because the clone was dropped before anything it sealed had left.
func (s *Session) Prepare(rand io.Reader) error {
	s.own = ready(s.own, s.dhs)
	if s.spare != nil {
		return nil
	}
	k, err := generateKeyPair(rand)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	s.spare = k
	return nil
}

func (s *Session) setOwn(k *keyPair) { s.own, s.dhs, s.dhsPublic = k, k.secret, k.public }

// Format hides the session's keys, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// Bind ties all messages from now on to the knock's bytes without its tail. It
// is called once, after message 0.
func (s *Session) Bind(knock []byte) error {
	if s.stage != stageFirst {
		return fmt.Errorf("bind: %w", ErrStage)
	}
	h := sha256.New()
	h.Write(s.th0[:])
	h.Write(knock)
	h.Sum(s.ad[:0])
	s.stage = stageBound
	return nil
}

// SealFirst seals message 0, which A puts into the knock. Bind comes next.
func (s *Session) SealFirst(rand io.Reader, plaintext []byte) ([]byte, error) {
	if s.stage != stageFresh || !s.sending {
		return nil, fmt.Errorf("seal message 0: %w", ErrStage)
	}
	env, _, err := s.seal(rand, TypeFirst, s.th0, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal message 0: %w", err)
	}
	s.stage = stageFirst
	return env, nil
}

// Seal encrypts a plaintext of at most MaxPlaintext bytes. It returns the whole
// envelope and its number in the present sending chain. The session must be on
// disk before the envelope leaves, and what is sent again is the same bytes.
func (s *Session) Seal(rand io.Reader, plaintext []byte) (envelope []byte, number uint32, err error) {
	if s.stage != stageBound || !s.sending {
		return nil, 0, fmt.Errorf("seal: %w", ErrStage)
	}
	envelope, number, err = s.seal(rand, TypeMessage, s.ad, plaintext)
	if err != nil {
		return nil, 0, fmt.Errorf("seal: %w", err)
	}
	return envelope, number, nil
}

func (s *Session) seal(rand io.Reader, t Type, ad [32]byte, plaintext []byte) ([]byte, uint32, error) {
	size := PaddedSize(len(plaintext))
	if size == 0 {
		return nil, 0, fmt.Errorf("%w: plaintext of %d bytes, at most %d", ErrTooLong, len(plaintext), MaxPlaintext)
	}
	if s.ns == math.MaxUint32 {
		return nil, 0, fmt.Errorf("%w: chain", ErrTooLong)
	}
	// The binding stands in front of the envelope, so that what the body's tag
	// covers is in one piece.
	bound := make([]byte, len(ad)+messageOverhead+size)
	env := bound[copy(bound, ad[:]):]
	prefix := Prefix(t)
	copy(env, prefix[:])
	header, body := env[PrefixSize:bodyOffset], env[bodyOffset:]
	// Nonces are random although a key is used once: a state that came back from
	// a backup then repeats a key, but no key with its nonce.
	for _, box := range [...][]byte{header, body} {
		if _, err := io.ReadFull(rand, box[:chacha20poly1305.NonceSizeX]); err != nil {
			return nil, 0, err
		}
	}
	plain := header[chacha20poly1305.NonceSizeX:]
	copy(plain, s.dhsPublic[:])
	binary.BigEndian.PutUint32(plain[32:], s.pn)
	binary.BigEndian.PutUint32(plain[36:], s.ns)
	sealInPlace(header, &s.hks, header[:chacha20poly1305.NonceSizeX], env[:PrefixSize])

	mk, next := chainStep(s.cks)
	padInto(body[chacha20poly1305.NonceSizeX:], plaintext)
	sealInPlace(body, &mk, body[:chacha20poly1305.NonceSizeX], bound[:len(ad)+bodyOffset])
	number := s.ns
	s.cks = next
	s.ns++
	return env, number, nil
}

// bodyAD is what the body's tag covers besides the body: the session's binding,
// the prefix and the sealed header as they travel. There is room for the plaintext
// behind it.
func bodyAD(ad [32]byte, env []byte) []byte {
	out := make([]byte, 0, len(ad)+len(env))
	out = append(out, ad[:]...)
	return append(out, env[:bodyOffset]...)
}

// sealInPlace makes nonce ‖ ciphertext ‖ tag of box, in which the plaintext
// already stands where the ciphertext will.
func sealInPlace(box []byte, key *Secret, nonce, ad []byte) {
	n := copy(box, nonce)
	plain := box[n : len(box)-chacha20poly1305.Overhead]
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("ratchet: XChaCha20-Poly1305 refused 32 bytes: " + err.Error())
	}
	aead.Seal(plain[:0], nonce, plain, ad)
}

// openBox is the reverse; it leaves box as it is and appends to dst.
func openBox(dst, box []byte, key *Secret, ad []byte) ([]byte, bool) {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("ratchet: XChaCha20-Poly1305 refused 32 bytes: " + err.Error())
	}
	out, err := aead.Open(dst, box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:], ad)
	return out, err == nil
}
