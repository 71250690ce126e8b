package relay

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// expiredFrame hands a signed notice to the sender of a message that the relay gave
// up (relay.md §11).
type expiredFrame struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Notice string `json:"notice"`
}

// Expired is a relay's signed word that it gave up a message that it had promised to
// keep. It was verified under the relay's key.
type Expired struct {
	// ID is for Ack, like that of a Delivery.
	ID string
	// Message is the id of the message, as Result.ID was, and To who did not get it.
	Message string
	To      identity.AMID
	// Taken is when the relay took it, At when it gave it up.
	Taken, At time.Time
	Reason    identity.NoticeReason
	// Raw is the signed statement.
	Raw []byte
}

// announce makes a notice of the mailbox ready to be handed out: signed for this
// connection, under an id of its own. It is false if the client knows no notices; then
// it stays in the mailbox until it expires.
func (c *conn) announce(row *mailbox.Row) bool {
	if !slices.Contains(c.agreed, ExtensionExpired) {
		return false
	}
	n := row.Notice
	raw, err := identity.SignNotice(*c.s.key, identity.RelayNotice{
		Server: c.marks.relay, From: c.who, To: n.To, Message: n.ID,
		Taken: n.Taken, GivenUp: n.At, Reason: identity.NoticeReason(n.Reason),
	})
	if err != nil {
		c.s.log.Warn("notice cannot be signed", "err", err)
		return false
	}
	id, err := hex.DecodeString(identity.NoticeID(raw))
	if err != nil {
		return false
	}
	row.ID, row.Payload = MessageID(id), base64.StdEncoding.EncodeToString(raw)
	return true
}

// tellExpired has those who are here hear of what was given up.
func (s *Server) tellExpired() {
	s.mu.Lock()
	var all []*conn
	for _, c := range s.online {
		if slices.Contains(c.agreed, ExtensionExpired) {
			all = append(all, c)
		}
	}
	s.mu.Unlock()
	for _, c := range all {
		c.nudge()
	}
}

// relayKeyText is the relay's key as connected tells it to who understands notices.
func (c *conn) relayKeyText() string {
	if !slices.Contains(c.agreed, ExtensionExpired) {
		return ""
	}
	return c.s.key.Public().Text()
}

// expired verifies a notice.
func (l *link) expired(f expiredFrame) (Expired, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(f.Notice)
	if err != nil {
		return Expired{}, fmt.Errorf("%w: notice: %w", errMalformed, err)
	}
	n, err := identity.ParseNotice(raw, l.relayKey, l.c.noticeServer(l.challenged), l.c.who)
	if err != nil {
		return Expired{}, err
	}
	if f.ID != identity.NoticeID(raw) {
		return Expired{}, fmt.Errorf("%w: notice under the id %.40q", errMalformed, f.ID)
	}
	return Expired{
		ID: f.ID, Message: MessageID(n.Message).String(), To: n.To,
		Taken: n.Taken, At: n.GivenUp, Reason: n.Reason, Raw: raw,
	}, nil
}

// noticeServer is the relay id that notices name: none on a connection whose relay
// was not told it.
func (c *Client) noticeServer(challenged bool) string {
	if challenged {
		return c.id
	}
	return ""
}
