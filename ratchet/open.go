package ratchet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

var (
	// ErrDecrypt reports an envelope that does not open: not ours, forged or
	// changed. Nothing more precise is ever told.
	ErrDecrypt = errors.New("decrypt_failed")
	// ErrDuplicate reports a message whose key is gone: opened before, or too old.
	ErrDuplicate = errors.New("duplicate_or_expired")
	// ErrSkipLimit reports a message too far ahead in its chain. No key was
	// derived for it.
	ErrSkipLimit = errors.New("skip_limit")
)

// Opened is the outcome of an envelope that was authentic.
type Opened struct {
	Plaintext []byte
	// Number is the message's place in the peer's chain.
	Number uint32
	// NewChain says that the peer used a new ratchet key: it has seen ours, so
	// everything sealed before this call was in a chain that has ended.
	NewChain bool
}

// Open decrypts an envelope of type 2. The session moves on only if every tag
// verified; otherwise it returns ErrMalformed, ErrDecrypt, ErrDuplicate,
// ErrSkipLimit, ErrLowOrder or ErrKey and the session is untouched. rand is read
// only for a message under a new ratchet key. now stamps the keys kept for
// messages not yet seen.
func (s *Session) Open(now time.Time, rand io.Reader, envelope []byte) (Opened, error) {
	if s.stage != stageBound {
		return Opened{}, fmt.Errorf("open: %w", ErrStage)
	}
	o, err := s.open(now, rand, TypeMessage, s.ad, envelope)
	if err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	return o, nil
}

// OpenFirst opens message 0 on B's side and makes B's first ratchet step. Bind
// comes next. It returns what Open returns.
func (s *Session) OpenFirst(now time.Time, rand io.Reader, message0 []byte) (Opened, error) {
	if s.stage != stageFresh || s.sending {
		return Opened{}, fmt.Errorf("open message 0: %w", ErrStage)
	}
	o, err := s.open(now, rand, TypeFirst, s.th0, message0)
	if err != nil {
		return Opened{}, fmt.Errorf("open message 0: %w", err)
	}
	s.stage = stageFirst
	return o, nil
}

// plan is what a message would do to the session. It is carried out by commit,
// and only after the body's tag verified.
type plan struct {
	next     state
	own      *keyPair // our new ratchet key, when a new chain began
	key      Secret   // the message key
	fresh    []chain
	used     bool // the key is a stored one: of chain at, under number
	at       int
	number   uint32
	newChain bool
}

func (s *Session) open(now time.Time, rand io.Reader, t Type, ad [32]byte, env []byte) (Opened, error) {
	if err := checkShape(t, env); err != nil {
		return Opened{}, err
	}
	p, err := s.plan(now, rand, t, env)
	if err != nil {
		return Opened{}, err
	}
	covered := bodyAD(ad, env)
	opened, ok := openBox(covered, env[bodyOffset:], &p.key, covered)
	if !ok {
		return Opened{}, ErrDecrypt
	}
	plaintext, err := unpad(opened[len(covered):])
	if err != nil {
		return Opened{}, err
	}
	s.commit(p, now)
	return Opened{Plaintext: plaintext, Number: p.number, NewChain: p.newChain}, nil
}

// CheckMessage returns ErrMalformed for bytes whose length and prefix alone say that
// they are no ratchet message.
func CheckMessage(envelope []byte) error { return checkShape(TypeMessage, envelope) }

// checkShape refuses by length and prefix alone what cannot be a message.
func checkShape(t Type, env []byte) error {
	prefix := Prefix(t)
	if len(env) < messageOverhead || string(env[:PrefixSize]) != string(prefix[:]) {
		return fmt.Errorf("%w: no message of type %d", ErrMalformed, t)
	}
	size := len(env) - messageOverhead
	if size > maxPadded || size == 0 || classFor(size) != size {
		return fmt.Errorf("%w: message of %d bytes", ErrMalformed, len(env))
	}
	return nil
}

// plan finds the header key that opens env, in the order of session.md §6.
func (s *Session) plan(now time.Time, rand io.Reader, t Type, env []byte) (plan, error) {
	if s.receiving {
		if h, ok := openHeader(&s.hkr, env); ok {
			return s.planPresent(now, h)
		}
	}
	if h, ok := openHeader(&s.nhkr, env); ok {
		return s.planNext(now, rand, t, h)
	}
	for i := range s.skipped.chains {
		c := &s.skipped.chains[i]
		if s.receiving && c.header.equal(&s.hkr) {
			continue // the present chain, tried above
		}
		if h, ok := openHeader(&c.header, env); ok {
			return s.planStored(now, i, h)
		}
	}
	return plan{}, ErrDecrypt
}

func (s *Session) planStored(now time.Time, at int, h header) (plan, error) {
	if h.extension != 0 {
		return plan{}, errExtension
	}
	key, ok := s.skipped.chains[at].find(h.n, now)
	if !ok {
		return plan{}, ErrDuplicate
	}
	return plan{next: s.state, key: key, used: true, at: at, number: h.n}, nil
}

func (s *Session) planPresent(now time.Time, h header) (plan, error) {
	if h.extension != 0 {
		return plan{}, errExtension
	}
	if h.n < s.nr {
		if i := s.skipped.index(&s.hkr); i >= 0 {
			return s.planStored(now, i, h)
		}
		return plan{}, ErrDuplicate
	}
	p := plan{next: s.state, number: h.n}
	return p, p.advance(h.n, now)
}

func (s *Session) planNext(now time.Time, rand io.Reader, t Type, h header) (plan, error) {
	switch {
	case h.extension != 0:
		return plan{}, errExtension
	case t == TypeFirst && (h.n != 0 || h.pn != 0):
		return plan{}, fmt.Errorf("%w: message 0 has the number %d after %d", ErrMalformed, h.n, h.pn)
	case h.n > MaxSkip, !s.receiving && h.pn > MaxSkip:
		return plan{}, ErrSkipLimit
	}
	if err := checkPeer(h.key, s.dhsPublic); err != nil {
		return plan{}, err
	}
	p := plan{next: s.state, number: h.n, newChain: true}
	if s.receiving && h.pn > s.nr {
		if err := p.skip(h.pn, now); err != nil {
			return plan{}, err
		}
	}
	if err := p.turn(s, rand, h.key); err != nil {
		return plan{}, err
	}
	return p, p.advance(h.n, now)
}

// skip stores the keys of the present chain up to number until.
func (p *plan) skip(until uint32, now time.Time) error {
	n := &p.next
	if until-n.nr > MaxSkip {
		return ErrSkipLimit
	}
	if until == n.nr {
		return nil
	}
	c := chain{header: n.hkr, keys: make([]storedKey, 0, until-n.nr)}
	for n.nr < until {
		var k storedKey
		k.number, k.stored = n.nr, now.Unix()
		k.key, n.ckr = chainStep(n.ckr)
		c.keys = append(c.keys, k)
		n.nr++
	}
	p.fresh = append(p.fresh, c)
	return nil
}

// advance goes to message number of the present chain and takes its key.
func (p *plan) advance(number uint32, now time.Time) error {
	if number == math.MaxUint32 {
		return ErrSkipLimit
	}
	if err := p.skip(number, now); err != nil {
		return err
	}
	p.key, p.next.ckr = chainStep(p.next.ckr)
	p.next.nr++
	return nil
}

// turn is DHRatchetHE: the peer showed a new ratchet key, we make one too, or take
// the one that Prepare made.
func (p *plan) turn(s *Session, rand io.Reader, peer Point) error {
	n := &p.next
	n.pn, n.ns, n.nr = n.ns, 0, 0
	n.hks, n.hkr = n.nhks, n.nhkr
	n.dhr = peer
	dh, err := ready(s.own, s.dhs).exchange(peer)
	if err != nil {
		return err
	}
	n.rk, n.ckr, n.nhkr = rootStep(n.rk, dh)
	if p.own = s.spare; p.own == nil {
		if p.own, err = generateKeyPair(rand); err != nil {
			return err
		}
	}
	if dh, err = p.own.exchange(peer); err != nil {
		return err
	}
	n.rk, n.cks, n.nhks = rootStep(n.rk, dh)
	n.sending, n.receiving = true, true
	return nil
}

func (s *Session) commit(p plan, now time.Time) {
	s.state = p.next
	if p.newChain {
		s.setOwn(p.own)
		s.spare = nil
	}
	if p.used {
		s.skipped.remove(p.at, p.number)
	}
	s.skipped.expire(now.Add(-SkippedLife))
	for _, c := range p.fresh {
		s.skipped.add(c)
	}
	s.skipped.trim()
}

var errExtension = fmt.Errorf("%w: header extension", ErrMalformed)

type header struct {
	key       Point
	pn, n     uint32
	extension uint16
}

func openHeader(key *Secret, env []byte) (header, bool) {
	var buf [headerSize]byte
	b, ok := openBox(buf[:0], env[PrefixSize:bodyOffset], key, env[:PrefixSize])
	if !ok {
		return header{}, false
	}
	return header{
		key:       Point(b),
		pn:        binary.BigEndian.Uint32(b[32:]),
		n:         binary.BigEndian.Uint32(b[36:]),
		extension: binary.BigEndian.Uint16(b[40:]),
	}, true
}
