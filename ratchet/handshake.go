package ratchet

import (
	"crypto/mlkem"
	"crypto/sha256"
	"fmt"
	"io"

	"amesh/internal/wire"
)

// KEMCiphertextSize is the length of an ML-KEM-768 ciphertext.
const KEMCiphertextSize = mlkem.CiphertextSize768

// Transcript is everything both sides of a handshake can see. Its hash goes
// into the key schedule: if the two saw different things, or are not who the
// other believes, they get different keys (session.md §5.3).
type Transcript struct {
	Clear       []byte // the knock's clear part as sent
	SigningKey  Point  // B's Ed25519 key
	Exchange    Point  // B's exchange key
	BundleID    [32]byte
	PrekeyID    uint32
	Prekey      Point
	KEMKind     uint8
	KEMID       uint32
	KEMKey      []byte
	OneTimeKind uint8
	OneTimeID   uint32
	OneTime     *Point // nil for kind 0
}

// kindSignedPrekey is the number of the signed prekey in the list of key kinds
// (session.md §5.2); the other kinds are chosen by the knock.
const kindSignedPrekey = 1

// TranscriptHash is th0, also the key under which a replayed knock is known.
func TranscriptHash(t Transcript) [32]byte {
	var oneTime []byte
	if t.OneTime != nil {
		oneTime = t.OneTime[:]
	}
	w := wire.NewWriter(3072)
	w.Fixed([]byte(transcriptLabel))
	w.LP32(t.Clear)
	w.LP32(t.SigningKey[:])
	w.LP32(t.Exchange[:])
	w.LP32(t.BundleID[:])
	w.U8(kindSignedPrekey)
	w.U32(t.PrekeyID)
	w.LP32(t.Prekey[:])
	w.U8(t.KEMKind)
	w.U32(t.KEMID)
	w.LP32(t.KEMKey)
	w.U8(t.OneTimeKind)
	w.U32(t.OneTimeID)
	w.LP32(oneTime)
	return sha256.Sum256(w.Bytes())
}

// Offer is A's fresh part of a handshake: the ephemeral key EK and a shared
// secret sealed to B's KEM key. It is made first because the knock carries both,
// and is good for one Initiate. It prints as "(hidden)".
type Offer struct {
	ek         Secret
	public     Point
	pair       *keyPair // ek made ready
	shared     Secret
	ciphertext []byte
}

// NewOffer makes an offer for the owner of an ML-KEM-768 key; it returns ErrKEM
// for bytes that are none. EK comes from rand, the KEM's randomness always from
// the system, as crypto/mlkem has no other way.
func NewOffer(rand io.Reader, kemPublic []byte) (*Offer, error) {
	key, err := mlkem.NewEncapsulationKey768(kemPublic)
	if err != nil {
		return nil, fmt.Errorf("offer: %w: not an ML-KEM-768 key", ErrKEM)
	}
	ek, err := generateKeyPair(rand)
	if err != nil {
		return nil, fmt.Errorf("offer: %w", err)
	}
	shared, ciphertext := key.Encapsulate()
	return &Offer{ek: ek.secret, public: ek.public, pair: ek, shared: Secret(shared), ciphertext: ciphertext}, nil
}

// EKPublic is the ephemeral public key EK.
func (o *Offer) EKPublic() Point { return o.public }

// Ciphertext is the KEM ciphertext, 1,088 bytes. The caller must not change it.
func (o *Offer) Ciphertext() []byte { return o.ciphertext }

// Format hides the secrets, whatever the verb.
func (o *Offer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// InitiatorKeys are the keys that A uses besides its Offer.
type InitiatorKeys struct {
	Exchange     Secret
	PeerExchange Point
	PeerPrekey   Point
	PeerOneTime  *Point // nil when there is none
}

// ResponderKeys are the private keys that the knock named.
type ResponderKeys struct {
	Exchange     Secret
	SignedPrekey Secret
	KEM          KEMSeed
	OneTime      *Secret // nil when there is none
}

// Initiate makes A's session. SealFirst comes next. It returns ErrLowOrder or
// ErrKey for a bad key of the peer.
func (o *Offer) Initiate(rand io.Reader, k InitiatorKeys, th0 [32]byte) (*Session, error) {
	ek, exchange := ready(o.pair, o.ek), newKeyPair(k.Exchange)
	own := []Point{exchange.public, o.public}
	peers := []Point{k.PeerExchange, k.PeerPrekey}
	agreed := []agreement{{exchange, k.PeerPrekey}, {ek, k.PeerExchange}, {ek, k.PeerPrekey}}
	if k.PeerOneTime != nil {
		peers = append(peers, *k.PeerOneTime)
		agreed = append(agreed, agreement{ek, *k.PeerOneTime})
	}
	s, err := schedule(peers, own, agreed, o.shared, th0)
	if err != nil {
		return nil, fmt.Errorf("initiate: %w", err)
	}
	if err := s.startAsker(rand, k.PeerPrekey); err != nil {
		return nil, fmt.Errorf("initiate: %w", err)
	}
	return s, nil
}

// Responder is B's published keys made ready to answer knocks. It never changes,
// is safe for any number of goroutines and prints as "(hidden)".
type Responder struct {
	exchange *keyPair
	prekey   *keyPair
	kem      *mlkem.DecapsulationKey768
}

// NewResponder makes keys ready, which takes half as long as an answer. Keys
// that answer more than one knock are made ready once.
func NewResponder(exchange, signedPrekey Secret, kem KEMSeed) *Responder {
	return &Responder{exchange: newKeyPair(exchange), prekey: newKeyPair(signedPrekey), kem: kem.private()}
}

// Format hides the keys, whatever the verb.
func (r *Responder) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// Respond makes B's session; oneTime is nil when the knock named no one-time key.
// OpenFirst comes next; until it succeeded nothing is proven and the session must
// not be stored. It returns ErrLowOrder, ErrKey or ErrKEM. A forged ciphertext of
// the right length is no error here: the keys come out different, and message 0
// does not open.
func (r *Responder) Respond(oneTime *Secret, peerExchange, ek Point, ciphertext []byte, th0 [32]byte) (*Session, error) {
	shared, err := r.kem.Decapsulate(ciphertext)
	if err != nil {
		return nil, fmt.Errorf("respond: %w: ciphertext of %d bytes", ErrKEM, len(ciphertext))
	}
	own := []Point{r.exchange.public, r.prekey.public}
	agreed := []agreement{{r.prekey, peerExchange}, {r.exchange, ek}, {r.prekey, ek}}
	if oneTime != nil {
		k := newKeyPair(*oneTime)
		own = append(own, k.public)
		agreed = append(agreed, agreement{k, ek})
	}
	s, err := schedule([]Point{peerExchange, ek}, own, agreed, Secret(shared), th0)
	if err != nil {
		return nil, fmt.Errorf("respond: %w", err)
	}
	s.setOwn(r.prekey)
	s.nhks, s.nhkr = s.nhkr, s.hks // B sends first under NHK_B and reads HK_A next
	s.hks = Secret{}
	return s, nil
}

// Respond is Responder.Respond for keys that answer one knock.
func Respond(k ResponderKeys, peerExchange, ek Point, ciphertext []byte, th0 [32]byte) (*Session, error) {
	return NewResponder(k.Exchange, k.SignedPrekey, k.KEM).Respond(k.OneTime, peerExchange, ek, ciphertext, th0)
}

// agreement is one X25519 exchange of the key schedule.
type agreement struct {
	own  *keyPair
	peer Point
}

// schedule is the key schedule (session.md §5.4). In the session it returns hks
// is HK_A and nhkr is NHK_B, which is A's view; nothing else but the root key
// is set.
func schedule(peers, own []Point, agreed []agreement, shared Secret, th0 [32]byte) (*Session, error) {
	for _, p := range peers {
		if err := checkPeer(p, own...); err != nil {
			return nil, err
		}
	}
	ikm := make([]byte, 0, 32*(len(agreed)+2))
	for range 32 {
		ikm = append(ikm, 0xFF) // no X25519 key begins so: keeps this use of the keys apart
	}
	for _, a := range agreed {
		dh, err := a.own.exchange(a.peer)
		if err != nil {
			return nil, err
		}
		ikm = append(ikm, dh[:]...)
	}
	ikm = append(ikm, shared[:]...)
	out := derive(ikm, make([]byte, 32), handshakeLabel+string(th0[:]), 112)
	clear(ikm)
	s := &Session{th0: th0}
	s.rk, s.hks, s.nhkr = Secret(out[:32]), Secret(out[32:64]), Secret(out[64:96])
	copy(s.sid[:], out[96:])
	clear(out)
	return s, nil
}

// startAsker is RatchetInitAliceHE. Its ratchet key is not EK, so that the
// secrecy of later messages does not hang on the handshake's key.
func (s *Session) startAsker(rand io.Reader, peerPrekey Point) error {
	key, err := generateKeyPair(rand)
	if err != nil {
		return err
	}
	dh, err := key.exchange(peerPrekey)
	if err != nil {
		return err
	}
	s.setOwn(key)
	s.dhr = peerPrekey
	s.rk, s.cks, s.nhks = rootStep(s.rk, dh)
	s.sending = true
	return nil
}
