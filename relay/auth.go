package relay

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/timestamp"

	"github.com/coder/websocket"
)

// Close codes of this protocol beside those of RFC 6455 (relay.md §6).
const (
	// CloseReplaced: a newer connection of the same agent took over.
	CloseReplaced websocket.StatusCode = 4000
	// CloseUnauthorized: the connect frame was refused.
	CloseUnauthorized websocket.StatusCode = 4001
)

// refusal is why a connect frame was not accepted. It is not an error value: it
// goes to the peer, from a closed list of codes.
type refusal struct {
	code string
	text string
}

// authenticate finds out who connects, or why it may not. A signature over the bare
// timestamp counts once; one over a challenge has no second connection to count on.
func (s *Server) authenticate(d threshold, f connectFrame, now time.Time) (identity.PublicKey, *refusal) {
	key, no := verifyConnect(f, now, s.limits, d, s.names, s.keys)
	if no == nil && !f.proves() && !s.replays.first(key.AMID(), f.Signature, now) {
		no = &refusal{CodeInvalidSignature, "timestamp was used before: sign a fresh one"}
	}
	return key, no
}

// proves says whether the frame's signature is over a challenge. It is the signer's
// word, and part of what is signed.
func (f *connectFrame) proves() bool { return slices.Contains(f.Extensions, ExtensionChallenge) }

// verifyConnect checks a connect frame in the order of relay.md §2, which is that of
// AgentMesh §2.3. It returns the agent's key, or why not.
func verifyConnect(f connectFrame, now time.Time, l Limits, d threshold, n dialled.Names, k *keys) (identity.PublicKey, *refusal) {
	if f.Protocol != protocol02 && f.Protocol != protocol01 {
		return identity.PublicKey{}, &refusal{CodeProtocolMismatch, "unsupported protocol version"}
	}
	stamp, err := timestamp.Parse(f.Timestamp)
	if err != nil {
		return identity.PublicKey{}, &refusal{CodeInvalidMessage, "timestamp is not RFC 3339"}
	}
	if now.Sub(stamp) > l.StampPast || stamp.Sub(now) > l.StampFuture {
		return identity.PublicKey{}, &refusal{CodeInvalidSignature, "timestamp outside the accepted window"}
	}
	key, err := k.parse(f.PublicKey)
	if err != nil {
		return identity.PublicKey{}, &refusal{CodeInvalidSignature, "public key not acceptable"}
	}
	if f.AMID != key.AMID().String() {
		return identity.PublicKey{}, &refusal{CodeInvalidSignature, "public key does not belong to the amid"}
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(f.Signature)
	if err != nil {
		return identity.PublicKey{}, &refusal{CodeInvalidSignature, "signature is not base64"}
	}
	if f.proves() {
		no := verifyProof(&f, key, sig, d, n)
		if no == nil {
			k.signed(f.PublicKey)
		}
		return key.PublicKey, no
	}
	// Over the text as received first: the JavaScript SDK signs "…mmmZ", which
	// the Rust relay, knowing only its own rendering, can never verify.
	if key.VerifyTimestamp(f.Timestamp, sig) != nil && key.VerifyTimestamp(timestamp.Rerender(stamp), sig) != nil {
		return identity.PublicKey{}, &refusal{CodeInvalidSignature, "signature does not verify"}
	}
	k.signed(f.PublicKey)
	return key.PublicKey, nil
}

// replays remembers the signatures of accepted connect frames for as long as
// their timestamps are fresh. Two generations are enough: an entry outlives one
// whole lifetime of a timestamp and at most two.
type replays struct {
	life time.Duration

	mu       sync.Mutex
	turned   time.Time
	now, old map[[16]byte]struct{}
}

func newReplays(l Limits) *replays {
	return &replays{life: l.StampPast + l.StampFuture, now: map[[16]byte]struct{}{}}
}

// first reports whether the signature was not seen before, and remembers it.
func (r *replays) first(who identity.AMID, signature string, at time.Time) bool {
	sum := sha256.Sum256(fmt.Appendf(who[:], "%s", signature))
	key := [16]byte(sum[:16])
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.Sub(r.turned) > r.life {
		if at.Sub(r.turned) > 2*r.life {
			r.now = nil
		}
		r.old, r.now, r.turned = r.now, map[[16]byte]struct{}{}, at
	}
	_, seen := r.now[key]
	_, before := r.old[key]
	r.now[key] = struct{}{}
	return !seen && !before
}
