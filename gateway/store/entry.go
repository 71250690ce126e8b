package store

import (
	"encoding/json"
	"fmt"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// entry is a message to accept as it goes into rows. It is made outside of the
// transaction.
type entry struct {
	fresh         bool // PostgreSQL has put it in
	void          bool // the notice of an outcome that changed nothing
	id, key, hash []byte
	sender        string
	origin        *string // nil: the sender's domain
	accepted      int64
	keyUntil      int64
	inReplyTo     []byte
	verification  *string
	document      []byte
	firstAnswer   bool
	recipients    []row
	source        NewMessage
}

// row is a recipient as it goes into a row, or came out of one.
type row struct {
	n                            int
	address                      string
	shown                        *string
	mode, state, inbox, attempts int
	dedup                        []byte
	target                       *string
	code, text                   *string
	changed, next, acked         *int64
}

func newEntry(n NewMessage) (*entry, error) {
	m := n.Message
	e := &entry{
		id: packID(m.MessageID), key: packID(m.IdempotencyKey), sender: m.Sender.String(), accepted: sqldb.Micros(n.Accepted),
		inReplyTo: packID(m.InReplyTo), firstAnswer: n.FirstAnswer, source: n,
	}
	if e.id == nil {
		return nil, fmt.Errorf("accept: %q is no message id", m.MessageID)
	}
	document, hash := m.Sealed()
	e.hash, e.document = hash[:sumSize], packDocument(document, e.id, e.key)
	if n.Origin != m.Sender.Domain {
		e.origin = &n.Origin
	}
	if n.KeyTTL > 0 {
		e.keyUntil = sqldb.Micros(n.Accepted.Add(n.KeyTTL))
	}
	if n.Verification != nil {
		raw, err := json.Marshal(n.Verification)
		if err != nil {
			return nil, fmt.Errorf("accept: verification: %w", err)
		}
		e.verification = clean(string(raw))
	}
	seen := make(map[string]bool, len(n.Recipients))
	for _, r := range n.Recipients {
		to := e.recipient(r)
		if !seen[to.address] {
			seen[to.address] = true
			to.n = len(e.recipients)
			e.recipients = append(e.recipients, to)
		}
	}
	return e, nil
}

func (e *entry) recipient(r NewRecipient) row {
	address := r.Address.String()
	to := row{address: address, mode: packMode(r.Mode), state: packState(r.State), code: clean(string(r.Code)), text: clean(r.Text)}
	if r.Mode != Remote {
		if to.address = fold(address); to.address != address {
			to.shown = &address
		}
	}
	switch r.Mode {
	case Pull:
		to.state, to.inbox, to.attempts = delivered, 1, 1
	case Push:
		to.state, to.target = queued, &to.address
	case Remote:
		to.state, to.target = queued, &r.Address.Domain
	default:
		to.state = failed
	}
	if e.keyUntil > 0 {
		to.dedup = dedup(e.source.Origin, e.sender, e.source.Message.IdempotencyKey, to.address)
	}
	return to
}

// targets are the places in the queue that rows need, each once, with their modes.
func targets(rows []row) map[string]int {
	var all map[string]int
	for _, r := range rows {
		if r.state == queued && r.target != nil {
			if all == nil {
				all = make(map[string]int, 1)
			}
			all[*r.target] = r.mode
		}
	}
	return all
}

// receipt is the answer to a message that was accepted as it is.
func (e *entry) receipt() Receipt {
	id := e.source.Message.MessageID
	return Receipt{MessageID: id, Status: status(id, e.accepted, e.source.Verification, e.recipients)}
}

// status is what a message's rows say. accepted is when it was accepted.
func status(id string, accepted int64, v *amtp.Verification, rows []row) amtp.MessageStatus {
	s := amtp.MessageStatus{
		MessageID: id, CreatedAt: sqldb.Time(accepted), UpdatedAt: sqldb.Time(accepted), Verification: v,
		Recipients: make([]amtp.RecipientStatus, len(rows)),
	}
	all := make([]amtp.State, len(rows))
	for i, r := range rows {
		one := r.status(accepted)
		s.Recipients[i], all[i] = one, one.Status
		s.Attempts = max(s.Attempts, one.Attempts)
		if one.Timestamp.After(s.UpdatedAt) {
			s.UpdatedAt = one.Timestamp
		}
		if one.NextRetry != nil && (s.NextRetry == nil || one.NextRetry.Before(*s.NextRetry)) {
			s.NextRetry = one.NextRetry
		}
	}
	if s.Status = amtp.Overall(all); s.Status == amtp.Delivered {
		at := sqldb.Time(accepted)
		for i, r := range s.Recipients {
			if t := rows[i].deliveredAt(accepted); r.Status == amtp.Delivered && t.After(at) {
				at = t
			}
		}
		s.DeliveredAt = &at
	}
	return s
}

// deliveredAt is when a delivered row became so: an acknowledgement changes nothing of it.
func (r row) deliveredAt(accepted int64) time.Time {
	if r.changed == nil {
		return sqldb.Time(accepted)
	}
	return sqldb.Time(*r.changed)
}

func (r row) status(accepted int64) amtp.RecipientStatus {
	s := amtp.RecipientStatus{
		Address: r.address, Status: unpackState(r.state), Timestamp: r.deliveredAt(accepted), Attempts: r.attempts,
		ErrorCode: amtp.Code(text(r.code)), ErrorMessage: text(r.text),
	}
	if r.shown != nil {
		s.Address = *r.shown
	}
	switch unpackMode(r.mode) {
	case Pull:
		s.DeliveryMode, s.LocalDelivery, s.InboxDelivered = amtp.ModePull, true, r.state == delivered
	case Push:
		s.DeliveryMode, s.LocalDelivery = amtp.ModePush, true
	}
	if r.state == retrying && r.next != nil {
		at := sqldb.Time(*r.next)
		s.NextRetry = &at
	}
	if r.acked != nil {
		at := sqldb.Time(*r.acked)
		s.Acknowledged, s.AcknowledgedAt = true, &at
		if at.After(s.Timestamp) {
			s.Timestamp = at
		}
	}
	return s
}
