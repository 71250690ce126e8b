package content

import (
	"fmt"
	"time"

	"amesh/internal/wire"
	"amesh/ratchet"
)

// SessionType says what a session is for.
type SessionType uint8

// The session types.
const (
	RequestResponse SessionType = 1
	Conversation    SessionType = 2
	Stream          SessionType = 3
)

// Mode says what is signed.
type Mode uint8

// The modes. Private signs nothing but the knock, so that nobody can prove to a
// third party what was said. Accountable signs every message inside (session.md
// §9.5).
const (
	Private     Mode = 1
	Accountable Mode = 2
)

// String is the type's name in session.md §7.1.
func (t SessionType) String() string {
	return nameOf(t, "", "request_response", "conversation", "stream")
}

// ParseSessionType reads a type's name. It returns ErrMalformed.
func ParseSessionType(s string) (SessionType, error) {
	for t := RequestResponse; t <= Stream; t++ {
		if t.String() == s {
			return t, nil
		}
	}
	return 0, malformed("session type %.40q is not request_response, conversation or stream", s)
}

// String is the mode's name in session.md §7.1.
func (m Mode) String() string { return nameOf(m, "", "private", "accountable") }

// ParseMode reads a mode's name. It returns ErrMalformed.
func ParseMode(s string) (Mode, error) {
	for m := Private; m <= Accountable; m++ {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, malformed("mode %.40q is not private or accountable", s)
}

func nameOf[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("(%d)", v)
}

// Limits are what each side may send in a session; 0 means no limit.
type Limits struct {
	Messages uint32
	Bytes    uint64
	Seconds  uint32 // ttl_s
}

// Min takes the stricter of each two limits.
func (l Limits) Min(m Limits) Limits {
	return Limits{stricter(l.Messages, m.Messages), stricter(l.Bytes, m.Bytes), stricter(l.Seconds, m.Seconds)}
}

// Within reports whether no limit of l lets more through than m's.
func (l Limits) Within(m Limits) bool { return l == l.Min(m) }

func stricter[T uint32 | uint64](a, b T) T {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

func (l Limits) write(w *wire.Writer) {
	w.U32(l.Messages)
	w.U64(l.Bytes)
	w.U32(l.Seconds)
}

func (l *Limits) read(r *wire.Reader) {
	l.Messages, l.Bytes, l.Seconds = r.U32(), r.U64(), r.U32()
}

// Request is what a knock asks for. It is the content of message 0 and of
// nothing else (session.md §7.1).
type Request struct {
	Nonce           [32]byte
	Intent          string
	SessionType     SessionType
	Mode            Mode
	Limits          Limits
	Features        uint32
	Prev            [32]byte // knock hash of the session that the asker sends on
	FirstSeq        uint64
	Resume          []ratchet.ID
	TierCertificate []byte
	Invite          []byte
}

// Type is TypeRequest.
func (*Request) Type() Type { return TypeRequest }

// Encode implements Content.
func (c *Request) Encode() ([]byte, error) { return encode(c, 512) }

func (c *Request) check() error {
	if err := CheckIntent(c.Intent); err != nil {
		return err
	}
	if err := checkEnum("session type", c.SessionType, Stream); err != nil {
		return err
	}
	if err := checkEnum("mode", c.Mode, Accountable); err != nil {
		return err
	}
	switch {
	case c.FirstSeq == 0:
		return malformed("first_seq is 0")
	case len(c.Resume) > MaxResume:
		return malformed("%d resume ids", len(c.Resume))
	case len(c.TierCertificate) > MaxTierCertificate:
		return malformed("tier certificate of %d bytes", len(c.TierCertificate))
	case len(c.Invite) > MaxInvite:
		return malformed("invite of %d bytes", len(c.Invite))
	}
	return nil
}

func (c *Request) write(w *wire.Writer) {
	w.Fixed(c.Nonce[:])
	w.LP8([]byte(c.Intent))
	w.U8(uint8(c.SessionType))
	w.U8(uint8(c.Mode))
	c.Limits.write(w)
	w.U32(c.Features)
	w.Fixed(c.Prev[:])
	w.U64(c.FirstSeq)
	w.U8(uint8(len(c.Resume)))
	for _, id := range c.Resume {
		w.Fixed(id[:])
	}
	w.LP16(c.TierCertificate)
	w.LP8(c.Invite)
}

func (c *Request) read(r *wire.Reader) {
	r.Into(c.Nonce[:])
	c.Intent = string(r.LP8(MaxIntent))
	c.SessionType = SessionType(r.U8())
	c.Mode = Mode(r.U8())
	c.Limits.read(r)
	c.Features = r.U32()
	r.Into(c.Prev[:])
	c.FirstSeq = r.U64()
	n := int(r.U8())
	if n > MaxResume {
		r.Fail("%d resume ids", n)
	}
	for range n {
		b := r.Fixed(len(ratchet.ID{}))
		if r.Err() != nil {
			return
		}
		c.Resume = append(c.Resume, ratchet.ID(b))
	}
	c.TierCertificate = notEmpty(r.LP16(MaxTierCertificate))
	c.Invite = notEmpty(r.LP8(MaxInvite))
}

// notEmpty gives nil for no bytes, so that a parsed value equals the written one.
func notEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// FeatureResumed in an Accept says that the answerer had sealed one of the envelopes
// that the request names: both sides give up their older sessions (session.md §8.6).
const FeatureResumed uint32 = 1

// Accept answers a knock with yes (session.md §7.2).
type Accept struct {
	Knock        [32]byte // knock hash
	SessionType  SessionType
	Mode         Mode
	Limits       Limits
	Features     uint32
	FirstSeq     uint64
	GrantExpires time.Time
	Intents      []string // none: every intent
}

// Type is TypeAccept.
func (*Accept) Type() Type { return TypeAccept }

// Encode implements Content.
func (c *Accept) Encode() ([]byte, error) { return encode(c, 256) }

func (c *Accept) check() error {
	if err := checkEnum("session type", c.SessionType, Stream); err != nil {
		return err
	}
	if err := checkEnum("mode", c.Mode, Accountable); err != nil {
		return err
	}
	if err := checkTime("grant expires", c.GrantExpires); err != nil {
		return err
	}
	if c.FirstSeq == 0 {
		return malformed("first_seq is 0")
	}
	if len(c.Intents) > MaxIntents {
		return malformed("%d intents", len(c.Intents))
	}
	for _, s := range c.Intents {
		if err := CheckIntent(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Accept) write(w *wire.Writer) {
	w.Fixed(c.Knock[:])
	w.U8(uint8(c.SessionType))
	w.U8(uint8(c.Mode))
	c.Limits.write(w)
	w.U32(c.Features)
	w.U64(c.FirstSeq)
	w.I64(c.GrantExpires.Unix())
	w.List(c.Intents)
}

func (c *Accept) read(r *wire.Reader) {
	r.Into(c.Knock[:])
	c.SessionType = SessionType(r.U8())
	c.Mode = Mode(r.U8())
	c.Limits.read(r)
	c.Features = r.U32()
	c.FirstSeq = r.U64()
	c.GrantExpires = readSeconds(r)
	c.Intents = r.List(MaxIntents, MaxIntent)
}

// RejectCode says why a knock was refused.
type RejectCode uint8

// The codes. A stranger is told Rejected and never more, so that a policy
// cannot be found out by knocking.
const (
	Rejected RejectCode = 1
	Busy     RejectCode = 2
	Blocked  RejectCode = 3 // only to peers that held a grant
)

// Reject answers a knock with no.
type Reject struct {
	Knock      [32]byte
	Code       RejectCode
	RetryAfter uint32 // seconds; 0: nothing is said
}

// Type is TypeReject.
func (*Reject) Type() Type { return TypeReject }

// Encode implements Content.
func (c *Reject) Encode() ([]byte, error) { return encode(c, 38) }

func (c *Reject) check() error { return checkEnum("reject code", c.Code, Blocked) }

func (c *Reject) write(w *wire.Writer) {
	w.Fixed(c.Knock[:])
	w.U8(uint8(c.Code))
	w.U32(c.RetryAfter)
}

func (c *Reject) read(r *wire.Reader) {
	r.Into(c.Knock[:])
	c.Code = RejectCode(r.U8())
	c.RetryAfter = r.U32()
}

// Pending answers a knock with "the owner is being asked".
type Pending struct {
	Knock [32]byte
	Until time.Time
}

// Type is TypePending.
func (*Pending) Type() Type { return TypePending }

// Encode implements Content.
func (c *Pending) Encode() ([]byte, error) { return encode(c, 41) }

func (c *Pending) check() error { return checkTime("until", c.Until) }

func (c *Pending) write(w *wire.Writer) {
	w.Fixed(c.Knock[:])
	w.I64(c.Until.Unix())
}

func (c *Pending) read(r *wire.Reader) {
	r.Into(c.Knock[:])
	c.Until = readSeconds(r)
}
