package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"amesh/internal/wire"
)

// NoticeReason says why a relay gave up a message.
type NoticeReason uint8

// The reasons.
const (
	NoticeExpired NoticeReason = 1 // its time was over before the receiver had it
	NoticeCorrupt NoticeReason = 2 // the relay cannot read it any more
)

// String is the word that people use for the reason.
func (r NoticeReason) String() string {
	switch r {
	case NoticeExpired:
		return "expired"
	case NoticeCorrupt:
		return "corrupt"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

const noticeVersion = 1

// RelayNotice is a relay's word that it gave up a message that it had promised to
// keep (relay.md §11). It proves who said so, not that it is true.
type RelayNotice struct {
	Server  string   // host:port of the relay as From dialled it, or empty
	From    AMID     // who sent the message, and is told
	To      AMID     // who did not get it
	Message [16]byte // the envelope id
	Taken   time.Time
	GivenUp time.Time
	Reason  NoticeReason
}

// SignNotice returns the signed bytes of n, at most 393, by the relay's key.
func SignNotice(key PrivateKey, n RelayNotice) ([]byte, error) {
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("sign relay notice: %w", err)
	}
	w := wire.NewWriter(139 + len(n.Server))
	w.U8(noticeVersion)
	w.LP8([]byte(n.Server))
	w.Fixed(n.From[:])
	w.Fixed(n.To[:])
	w.Fixed(n.Message[:])
	writeTime(w, n.Taken)
	writeTime(w, n.GivenUp)
	w.U8(uint8(n.Reason))
	w.Fixed(key.Sign(TagRelayNotice, w.Bytes()))
	return w.Bytes(), nil
}

// ParseNotice reads a notice to from by the relay with this key, which from knows as
// server. It returns wire.ErrMalformed, ErrMismatch or ErrSignature.
func ParseNotice(raw []byte, relay PublicKey, server string, from AMID) (*RelayNotice, error) {
	n := &RelayNotice{}
	r := wire.NewReader(raw)
	if v := r.U8(); v != noticeVersion {
		r.Fail("version %d", v)
	}
	n.Server = string(r.LP8(maxServer))
	r.Into(n.From[:])
	r.Into(n.To[:])
	r.Into(n.Message[:])
	n.Taken = readTime(r)
	n.GivenUp = readTime(r)
	n.Reason = NoticeReason(r.U8())
	sig := r.Fixed(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("relay notice: %w", err)
	}
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("relay notice: %w", err)
	}
	if n.From != from || n.Server != server {
		return nil, fmt.Errorf("relay notice: %w: to %s by %q", ErrMismatch, n.From, n.Server)
	}
	body, _ := split(raw)
	if err := relay.Verify(TagRelayNotice, body, sig); err != nil {
		return nil, fmt.Errorf("relay notice: %w", err)
	}
	return n, nil
}

// NoticeID names a notice, for its acknowledgement: the first half of the SHA-256 of
// what is signed. It is empty for what is too short to be a notice.
func NoticeID(raw []byte) string {
	if len(raw) < SignatureSize {
		return ""
	}
	body, _ := split(raw)
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

func (n *RelayNotice) check() error {
	if len(n.Server) > maxServer || !textOK([]byte(n.Server)) {
		return fmt.Errorf("%w: server %.40q", wire.ErrMalformed, n.Server)
	}
	for _, t := range []time.Time{n.Taken, n.GivenUp} {
		if s := t.Unix(); s < 0 || s > latestTime {
			return fmt.Errorf("%w: time %d", wire.ErrMalformed, s)
		}
	}
	if n.Reason < NoticeExpired || n.Reason > NoticeCorrupt {
		return fmt.Errorf("%w: reason %d", wire.ErrMalformed, n.Reason)
	}
	return nil
}
