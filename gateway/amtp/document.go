package amtp

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"amesh/internal/ijson"
)

// head begins every document. The recipients are put in behind it.
const head = `{"version":"` + Version + `"`

// Document is the message as it is kept: compact JSON, what is absent left out,
// without recipients.
func (m *Message) Document() []byte {
	d, _, _ := m.document()
	return d
}

// Sealed is the message's Document, and its Hash, for less than both apart.
func (m *Message) Sealed() (document []byte, hash [32]byte) {
	d, from, to := m.document()
	return d, sha256.Sum256(d[from:to])
}

// document is the message as it is kept, and where in it is what Hash is over.
func (m *Message) document() (d []byte, from, to int) {
	d = make([]byte, 0, 320+len(m.Subject)+len(m.Headers)+len(m.Payload)+len(m.Coordination)+
		len(m.attachments)+len(m.Signature)+len(m.unknown))
	d = append(d, head...)
	d = appendText(d, "message_id", m.MessageID)
	d = appendText(d, "idempotency_key", m.IdempotencyKey)
	d = appendText(d, "timestamp", m.timestamp)
	from = len(d)
	d = m.appendContent(d)
	to = len(d)
	d = appendText(d, "workflow_id", m.WorkflowID)
	d = appendRaw(d, "signature", m.Signature)
	d = append(d, m.unknown...)
	return append(d, '}'), from, to
}

// appendContent appends the sender, and what makes two messages of it say the same.
func (m *Message) appendContent(d []byte) []byte {
	d = appendText(d, "sender", m.Sender.String())
	d = appendText(d, "subject", m.Subject)
	d = appendText(d, "schema", m.Schema)
	d = appendRaw(d, "coordination", m.Coordination)
	d = appendRaw(d, "headers", m.Headers)
	d = appendRaw(d, "payload", m.Payload)
	d = appendRaw(d, "attachments", m.attachments)
	d = appendText(d, "in_reply_to", m.InReplyTo)
	return appendText(d, "response_type", m.ResponseType)
}

// Hash is over the message's content and its sender: not over ids (the workflow's
// neither), key, time, recipients, signature or the space between tokens. Under
// one key it tells a repeated message from another one.
func (m *Message) Hash() [32]byte {
	b := make([]byte, 0, 256+len(m.Payload)+len(m.Headers)+len(m.Coordination)+len(m.attachments))
	return sha256.Sum256(m.appendContent(b))
}

func appendText(d []byte, name, s string) []byte {
	if s == "" {
		return d
	}
	d = appendName(d, name)
	return appendString(d, s)
}

func appendRaw(d []byte, name string, value json.RawMessage) []byte {
	if value == nil {
		return d
	}
	d = appendName(d, name)
	return ijson.AppendCompact(d, value)
}

func appendName(d []byte, name string) []byte {
	d = append(d, ',', '"')
	d = append(d, name...)
	return append(d, '"', ':')
}

// Assemble returns a document as a reader gets it, with these recipients.
func Assemble(document []byte, recipients []string) []byte {
	out := make([]byte, 0, len(document)+32+64*len(recipients))
	out = append(out, head...)
	out = appendRecipients(out, recipients)
	return append(out, document[len(head):]...)
}

func appendRecipients(d []byte, recipients []string) []byte {
	d = append(appendName(d, "recipients"), '[')
	for i, r := range recipients {
		if i > 0 {
			d = append(d, ',')
		}
		d = appendString(d, r)
	}
	return append(d, ']')
}

// ReadDocument reads what Document wrote. The message has no recipients.
func ReadDocument(document []byte) (*Message, error) {
	members, err := ijson.Object(document, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("stored message: %w", err)
	}
	m := &Message{Version: Version}
	var raw texts
	for _, member := range members {
		if e := m.take(member, &raw); e != nil {
			return nil, fmt.Errorf("stored message: %w", e)
		}
	}
	if m.Sender, err = ParseAddress(raw.sender); err != nil {
		return nil, fmt.Errorf("stored message: sender: %w", err)
	}
	m.MessageID, m.IdempotencyKey, m.InReplyTo = raw.id, raw.key, raw.inReplyTo
	if e := m.checkTime(raw.time, m.Timestamp); e != nil {
		return nil, fmt.Errorf("stored message: %w", e)
	}
	m.Signed = m.Signature != nil
	return m, nil
}

// Outbound returns the body of POST /v1/messages to another gateway, for these of
// the message's recipients: all core members are there, what is absent as "" or
// null, as agentry writes and reads them (AMTP §8). It is not signed.
func Outbound(document []byte, recipients []string) ([]byte, error) {
	m, err := ReadDocument(document)
	if err != nil {
		return nil, err
	}
	return m.outbound(recipients), nil
}

// OutboundOne returns the body for one recipient under an id and a key of its own,
// those of ForRecipient: a gateway that knows a message by its key alone would
// drop the second copy otherwise. The message's id is in headers under
// OriginalIDHeader.
func OutboundOne(document []byte, recipient string) ([]byte, error) {
	m, err := ReadDocument(document)
	if err != nil {
		return nil, err
	}
	m.Headers = withHeader(m.Headers, OriginalIDHeader, m.MessageID)
	m.MessageID, m.IdempotencyKey = ForRecipient(m.MessageID, recipient)
	return m.outbound([]string{recipient}), nil
}

func (m *Message) outbound(recipients []string) []byte {
	d := make([]byte, 0, 512+len(m.Payload)+len(m.Headers)+len(m.attachments)+64*len(recipients))
	d = append(d, head...)
	d = coreText(d, "message_id", m.MessageID)
	d = coreText(d, "idempotency_key", m.IdempotencyKey)
	d = coreText(d, "timestamp", m.timestamp)
	d = coreText(d, "sender", m.Sender.String())
	d = appendRecipients(d, recipients)
	d = coreText(d, "subject", m.Subject)
	d = coreText(d, "schema", m.Schema)
	d = coreRaw(d, "coordination", m.Coordination)
	d = coreRaw(d, "headers", m.Headers)
	d = coreRaw(d, "payload", m.Payload)
	d = coreRaw(d, "attachments", m.attachments)
	d = append(d, `,"signature":null`...)
	d = coreText(d, "in_reply_to", m.InReplyTo)
	d = coreText(d, "response_type", m.ResponseType)
	d = coreText(d, "workflow_id", m.WorkflowID)
	return append(d, '}')
}

func coreText(d []byte, name, s string) []byte { return appendString(appendName(d, name), s) }

func coreRaw(d []byte, name string, value json.RawMessage) []byte {
	d = appendName(d, name)
	if value == nil {
		return append(d, "null"...)
	}
	return append(d, value...)
}
