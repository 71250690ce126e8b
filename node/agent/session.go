package agent

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/internal/wire"
	"amesh/knock"
	"amesh/ratchet"
)

// sessionMeta is what we know of a session beside its keys.
type sessionMeta struct {
	Sid       string              `json:"sid"`
	Asker     bool                `json:"asker"`            // we knocked
	Ask       knock.AskState      `json:"ask"`              // when we are the asker
	Answer    knock.AnswerState   `json:"answer"`           // when the peer is
	Closed    bool                `json:"closed"`           // we only receive
	Void      bool                `json:"void,omitempty"`   // what was sealed in it is sealed again (again.go)
	Resume    bool                `json:"resume,omitempty"` // its knock named envelopes that could not be opened
	Lost      []ratchet.ID        `json:"lost,omitempty"`   // the envelopes that its knock named
	Ended     content.CloseReason `json:"ended"`            // the reason of the close, 0 without one
	BundleID  [32]byte            `json:"bundle_id"`        // the peer's, when we are the asker
	KnockHash [32]byte            `json:"knock_hash"`
	Prev      [32]byte            `json:"prev"`
	Intent    string              `json:"intent"`
	Intents   []string            `json:"intents,omitempty"` // what was granted; empty: every intent
	Invite    string              `json:"invite,omitempty"`  // id of the invite that our knock brought
	Limits    content.Limits      `json:"limits"`
	Type      uint8               `json:"type"`
	Mode      uint8               `json:"mode"`
	Tier      knock.Tier          `json:"tier,omitempty"` // that the peer's knock proved
	PeerEpoch uint32              `json:"peer_epoch"`
	FirstSeq  uint64              `json:"first_seq"` // the asker's, until we accept
	Created   time.Time           `json:"created"`
	Used      time.Time           `json:"used"`
	Expires   time.Time           `json:"expires"`  // of the knock, while it is not answered
	Chain     uint64              `json:"chain"`    // counts our sending chains
	Messages  int                 `json:"messages"` // unconfirmed envelopes of messages in this chain
	Control   int                 `json:"control"`  // and of everything else
	sessionUse
	sessionProof
}

// session is a ratchet with its meta. A batch works on clones.
type session struct {
	sessionMeta
	r *ratchet.Session
}

// accepted reports whether the one who was asked said yes.
func (s *session) accepted() bool {
	if s.Asker {
		return s.Ask == knock.AskAccepted
	}
	return s.Answer == knock.AnswerAccepted
}

// waiting reports whether our knock waits for its answer.
func (s *session) waiting() bool {
	return s.Asker && !s.Void && (s.Ask == knock.AskKnocked || s.Ask == knock.AskDeciding)
}

func (s *session) clone() *session {
	n := *s
	n.r = s.r.Clone()
	return &n
}

func (s *session) contender() knock.Contender {
	return knock.Contender{Hash: s.KnockHash, Prev: s.Prev}
}

func sidText(r *ratchet.Session) string {
	sid := r.SID()
	return hex.EncodeToString(sid[:])
}

func (a *Agent) sessionKey(peer identity.AMID, sid string) []byte {
	raw, _ := hex.DecodeString(sid)
	return a.key(rowSession, peer[:], raw)
}

func (a *Agent) putSession(tx store.Tx, peer identity.AMID, s *session) error {
	meta, err := json.Marshal(s.sessionMeta)
	if err != nil {
		return err
	}
	keys, err := s.r.MarshalBinary()
	if err != nil {
		return err
	}
	w := wire.NewWriter(len(meta) + len(keys) + 8)
	w.LP32(meta)
	w.LP32(keys)
	key := a.sessionKey(peer, s.Sid)
	return tx.Set(key, a.StateKey.Seal(key, w.Bytes()))
}

func (a *Agent) loadSessions(r store.Reader, peer identity.AMID) ([]*session, error) {
	var all []*session
	var bad error
	err := r.Scan(a.key(rowSession, peer[:]), nil, func(k, v []byte) bool {
		s, err := a.openSession(bytes.Clone(k), v)
		if err != nil {
			bad = fmt.Errorf("session of %s: %w", peer.Short(), err)
			return false
		}
		all = append(all, s)
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, bad
}

func (a *Agent) openSession(key, sealed []byte) (*session, error) {
	plain, err := a.StateKey.Open(key, sealed)
	if err != nil {
		return nil, err
	}
	rd := wire.NewReader(plain)
	meta, keys := rd.LP32(1<<20), rd.LP32(16<<20)
	if err := rd.Done(); err != nil {
		return nil, err
	}
	s := &session{}
	if err := json.Unmarshal(meta, &s.sessionMeta); err != nil {
		return nil, err
	}
	s.r, err = ratchet.UnmarshalSession(keys)
	return s, err
}

func findSession(list []*session, sid string) *session {
	for _, s := range list {
		if s.Sid == sid {
			return s
		}
	}
	return nil
}

func (c *clerk) find(sid string) *session { return findSession(c.sess, sid) }

// sender is the session we send on: of the accepted ones the winner of
// docs/protocol/session.md §8.4.
func sender(list []*session) *session {
	var best *session
	for _, s := range list {
		if s.Closed || !s.accepted() || s.oneWay() {
			continue
		}
		if best == nil || s.contender().Beats(best.contender()) {
			best = s
		}
	}
	return best
}

func (c *clerk) sender() *session { return sender(c.sess) }

// asked is the session whose knock waits for the peer's answer.
func (c *clerk) asked() *session {
	for _, s := range c.sess {
		if s.waiting() {
			return s
		}
	}
	return nil
}
