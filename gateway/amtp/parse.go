package amtp

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"amesh/internal/ijson"
	"amesh/internal/timestamp"
)

// Parse reads the body of POST /v1/messages. Members that are null or, where text
// is expected, empty are taken for absent, as agentry sends them; so is the zero
// time. Members that it does not know are ignored, and kept in the document of a
// signed message. Every error is an *Error.
func Parse(body []byte, r Rules) (*Message, error) {
	if int64(len(body)) > r.maxSize() {
		return nil, TooLarge(r.maxSize())
	}
	members, err := ijson.Object(body, MaxDepth)
	if err != nil {
		return nil, unreadable("the body is not one JSON object in UTF-8 without repeated names: %v", err)
	}
	m := new(Message)
	var raw texts
	for _, member := range members {
		if e := m.take(member, &raw); e != nil {
			return nil, e
		}
	}
	if e := m.check(raw, r); e != nil {
		return nil, e
	}
	m.Signed = m.Signature != nil
	if !m.Signed {
		m.unknown = nil
	}
	if m.IdempotencyKey == "" {
		m.KeyDerived = true
		m.IdempotencyKey = DeriveKey(m)
	}
	return m, nil
}

// texts are members whose text is not yet what Message holds.
type texts struct {
	version, id, key, time, sender, inReplyTo string
	recipients                                []string
}

// take puts one member where it belongs, and says so when it has another type.
func (m *Message) take(member ijson.Member, raw *texts) *Error {
	name, value := member.Name, member.Value
	switch name {
	case "version":
		return takeText(name, value, &raw.version, MaxSubject)
	case "message_id":
		return takeText(name, value, &raw.id, MaxSubject)
	case "idempotency_key":
		return takeText(name, value, &raw.key, MaxSubject)
	case "timestamp":
		return takeText(name, value, &raw.time, MaxSubject)
	case "sender":
		return takeText(name, value, &raw.sender, MaxSubject)
	case "in_reply_to":
		return takeText(name, value, &raw.inReplyTo, MaxSubject)
	case "subject":
		return takeText(name, value, &m.Subject, MaxSubject)
	case "schema":
		return takeText(name, value, &m.Schema, MaxSchema)
	case "response_type":
		return takeText(name, value, &m.ResponseType, MaxResponseType)
	case "workflow_id":
		return takeText(name, value, &m.WorkflowID, MaxWorkflowID)
	case "recipients":
		return takeRecipients(value, &raw.recipients)
	case "coordination":
		return takeObject(name, value, &m.Coordination, MaxCoordination)
	case "headers":
		return takeObject(name, value, &m.Headers, headersLimit(value))
	case "signature":
		return takeObject(name, value, &m.Signature, MaxSignature)
	case "attachments":
		return m.takeAttachments(value)
	case "payload":
		m.Payload = value
	default:
		m.unknown = append(m.unknown, ',')
		m.unknown = appendString(m.unknown, name)
		m.unknown = append(m.unknown, ':')
		m.unknown = ijson.AppendCompact(m.unknown, value)
	}
	return nil
}

func isNull(value []byte) bool { return value[0] == 'n' }

func takeText(name string, value []byte, to *string, limit int) *Error {
	if isNull(value) {
		return nil
	}
	s, ok := ijson.String(value)
	if !ok {
		return unreadable("%s must be a string", name)
	}
	if len(s) > limit {
		return invalid("%s has more than %d bytes", name, limit)
	}
	*to = s
	return nil
}

func takeObject(name string, value []byte, to *json.RawMessage, limit int) *Error {
	if isNull(value) {
		return nil
	}
	if value[0] != '{' {
		return unreadable("%s must be an object", name)
	}
	if len(value) > limit {
		return invalid("%s has more than %d bytes", name, limit)
	}
	*to = value
	return nil
}

// headersLimit leaves room for the member that a gateway on the way adds.
func headersLimit(value []byte) int {
	if bytes.Contains(value, []byte(OriginalIDHeader)) {
		return MaxHeaders + len(OriginalIDHeader) + 64
	}
	return MaxHeaders
}

func takeRecipients(value []byte, to *[]string) *Error {
	if isNull(value) {
		return nil
	}
	elements, err := ijson.Array(value, MaxDepth)
	if err != nil {
		return unreadable("recipients must be an array of addresses: %v", err)
	}
	if len(elements) > MaxRecipients {
		return invalid("more than %d recipients; send the message in several parts", MaxRecipients)
	}
	for i, e := range elements {
		s, ok := ijson.String(e)
		if !ok {
			return unreadable("recipient %d is not a string", i)
		}
		*to = append(*to, s)
	}
	return nil
}

// check goes through the rules in the order in which agentry does.
func (m *Message) check(raw texts, r Rules) *Error {
	if raw.version != "" && raw.version != Version {
		return Errorf(http.StatusBadRequest, CodeUnsupportedVersion,
			"version %.20q is not spoken here; write version %q", raw.version, Version).
			With("supported_versions", []string{Version})
	}
	m.Version = Version
	if e := m.checkAddresses(raw); e != nil {
		return e
	}
	now := r.now()
	if e := m.checkTime(raw.time, now); e != nil {
		return e
	}
	if e := m.checkID(raw.id, now, r.Lenient); e != nil {
		return e
	}
	if m.Coordination != nil {
		if _, err := ParseCoordination(m.Coordination); err != nil {
			return invalid("coordination validation failed: %v", err)
		}
	}
	for i, a := range m.Attachments {
		if err := a.check(); err != nil {
			return invalid("attachment validation failed: attachment %d: %v", i, err)
		}
	}
	return m.checkDeep(raw, r.Lenient)
}

func (m *Message) checkAddresses(raw texts) *Error {
	if raw.sender == "" {
		return invalid("sender is required")
	}
	if len(raw.recipients) == 0 {
		return invalid("at least one recipient is required")
	}
	var err error
	if m.Sender, err = ParseAddress(raw.sender); err != nil {
		return invalid("invalid sender email format: %.200s", raw.sender).With("reason", err.Error())
	}
	m.Recipients = make([]Address, 0, len(raw.recipients))
	for _, s := range raw.recipients {
		a, err := ParseAddress(s)
		if err != nil {
			return invalid("invalid recipient email format: %.200s", s).With("reason", err.Error())
		}
		m.Recipients = append(m.Recipients, a)
	}
	m.Recipients = distinct(m.Recipients)
	return nil
}

// distinct drops the addresses that stand there before. Local parts that differ in
// case are two: their domain may tell them apart.
func distinct(all []Address) []Address {
	if len(all) == 1 {
		return all
	}
	seen := make(map[Address]bool, len(all))
	kept := all[:0]
	for _, a := range all {
		if !seen[a] {
			seen[a] = true
			kept = append(kept, a)
		}
	}
	return kept
}

func (m *Message) checkTime(text string, now time.Time) *Error {
	if text != "" {
		t, err := timestamp.Parse(text)
		if err != nil {
			return Errorf(http.StatusBadRequest, CodeInvalidTimestamp,
				"timestamp is not a time of RFC 3339, such as 2026-11-20T09:00:00Z")
		}
		if !t.IsZero() {
			m.Timestamp, m.timestamp = t, text
			return nil
		}
	}
	m.Timestamp = now
	m.timestamp = now.Format(time.RFC3339Nano)
	return nil
}

func (m *Message) checkID(text string, now time.Time, lenient bool) *Error {
	if text == "" {
		m.MessageID, m.IDMinted = NewMessageID(now), true
		return nil
	}
	id, err := CheckMessageID(text)
	if err == nil {
		m.MessageID = id
		return nil
	}
	if original, err := CheckKey(text); lenient && err == nil {
		m.MessageID, m.OriginalID = mapID(m.Sender.String(), original, m.Timestamp), text
		m.Headers = withHeader(m.Headers, OriginalIDHeader, text)
		return nil
	}
	return invalid("invalid message_id format, must be UUIDv7: %.40s", text)
}

func (m *Message) checkDeep(raw texts, lenient bool) *Error {
	if raw.key != "" {
		key, err := CheckKey(raw.key)
		if err != nil {
			return invalidMessage("field format validation failed: invalid idempotency_key format, must be UUIDv4: %.40s", raw.key)
		}
		m.IdempotencyKey = key
	}
	if raw.inReplyTo != "" {
		id, err := CheckMessageID(raw.inReplyTo)
		if err != nil && lenient {
			id, err = CheckKey(raw.inReplyTo)
		}
		if err != nil {
			return invalidMessage("field format validation failed: invalid in_reply_to format, must be UUIDv7: %.40s", raw.inReplyTo)
		}
		m.InReplyTo = id
	}
	if m.Schema != "" && !ValidSchema(m.Schema) && (!lenient || !foreignSchema(m.Schema)) {
		return invalidMessage("field format validation failed: invalid schema identifier, must be agntcy:domain.entity.vN: %.80s", m.Schema)
	}
	if m.Payload == nil {
		m.Payload = json.RawMessage("{}")
	}
	return nil
}

// withHeader returns the object headers with one member set to text.
func withHeader(headers json.RawMessage, name, text string) json.RawMessage {
	out := []byte{'{'}
	members, _ := ijson.Object(headers, MaxDepth) // nil, or checked with the body
	for _, h := range members {
		if h.Name == name {
			continue
		}
		out = appendString(out, h.Name)
		out = append(out, ':')
		out = append(out, h.Value...)
		out = append(out, ',')
	}
	out = appendString(out, name)
	out = append(out, ':')
	return append(appendString(out, text), '}')
}

// appendString appends s as a JSON string. Unlike encoding/json it leaves <, > and
// & alone.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
			continue
		}
		const hex = "0123456789abcdef"
		dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(append(dst, s[from:]...), '"')
}

// ValidSchema says whether id is agntcy:{domain}.{entity}.v{number}, where domain
// and entity are letters, digits, hyphens and underscores.
func ValidSchema(id string) bool {
	rest, ok := strings.CutPrefix(id, "agntcy:")
	if !ok || len(id) > MaxSchema {
		return false
	}
	domain, rest, _ := strings.Cut(rest, ".")
	entity, version, _ := strings.Cut(rest, ".")
	digits, ok := strings.CutPrefix(version, "v")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == "" && schemaLabel(domain) && schemaLabel(entity)
}

// foreignSchema says whether id is an identifier of another registry: a prefix, a
// colon, and printable ASCII without spaces.
func foreignSchema(id string) bool {
	prefix, rest, _ := strings.Cut(id, ":")
	if !schemaLabel(prefix) || prefix == "agntcy" || rest == "" {
		return false
	}
	for i := 0; i < len(rest); i++ {
		if rest[i] <= ' ' || rest[i] > '~' {
			return false
		}
	}
	return true
}

func schemaLabel(s string) bool {
	for i := 0; i < len(s); i++ {
		if !alphanumeric(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != ""
}
