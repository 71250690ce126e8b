package amtp

import (
	"encoding/json"
	"net/http"
	"time"
)

// Version is the one version of AMTP that is spoken here.
const Version = "1.0"

// OriginalIDHeader is the member of a message's headers that keeps the id which its
// sender gave it, when it travels under another.
const OriginalIDHeader = "amtp-original-message-id"

// Message is one message as it came in, with what it lacked filled in. Its raw
// parts are parts of the body that Parse was given: the body must not be written
// to afterwards. A Message is not changed once it is made and may be read by many.
type Message struct {
	Version        string // always Version
	MessageID      string // UUIDv7 in lower case
	IdempotencyKey string // UUIDv4 in lower case
	Timestamp      time.Time
	Sender         Address
	Recipients     []Address // at least one, none twice; not in a document
	Subject        string
	Schema         string          // agntcy:domain.entity.vN, or empty
	Coordination   json.RawMessage // an object, or nil
	Headers        json.RawMessage // an object, or nil
	Payload        json.RawMessage // any value; {} when the sender gave none
	Signature      json.RawMessage // an object, not verified; or nil
	Attachments    []Attachment
	InReplyTo      string
	ResponseType   string
	WorkflowID     string

	IDMinted   bool   // the sender gave no message_id
	KeyDerived bool   // the sender gave no idempotency_key: made by DeriveKey
	OriginalID string // the sender's UUIDv4, for which MessageID stands
	Signed     bool   // Signature is there

	timestamp   string // as it stands in the document
	attachments json.RawMessage
	unknown     []byte // ,"name":value… of members that are not ours; of signed messages only
}

// Rules say how a message is read. The zero value reads strictly.
type Rules struct {
	MaxSize int64     // of the body, in bytes; MaxMessageSize when zero
	Now     time.Time // for what a message lacks; time.Now when zero

	// Lenient takes message ids and in_reply_to of version 4, which AMTP's Python
	// SDK gives. The message gets a version 7 id, always the same for the same
	// sender, id and timestamp; its own stays in headers under OriginalIDHeader. And it
	// takes schemas of other registries than AGNTCY's.
	Lenient bool
}

func (r Rules) maxSize() int64 {
	if r.MaxSize > 0 {
		return r.MaxSize
	}
	return MaxMessageSize
}

func (r Rules) now() time.Time {
	if r.Now.IsZero() {
		return time.Now().UTC()
	}
	return r.Now.UTC()
}

// TooLarge is the error for a body of more than limit bytes, for those who find it
// out while they read.
func TooLarge(limit int64) *Error {
	return Errorf(http.StatusRequestEntityTooLarge, CodePayloadTooLarge,
		"the message has more than %d bytes; send large content as attachments, by URL", limit).
		With("max_size", limit)
}

// unreadable is the error for a body that is not a message's JSON.
func unreadable(format string, args ...any) *Error {
	e := Errorf(http.StatusBadRequest, CodeInvalidRequestFormat, format, args...)
	return e.With("parse_error", e.Message)
}

// invalid is the error for a member that breaks a rule which agentry checks first.
func invalid(format string, args ...any) *Error {
	e := Errorf(http.StatusBadRequest, CodeValidationFailed, format, args...)
	return e.With("validation_error", e.Message)
}

// invalidMessage is the error for one that agentry checks later.
func invalidMessage(format string, args ...any) *Error {
	e := Errorf(http.StatusBadRequest, CodeMessageValidationFailed, format, args...)
	return e.With("validation_error", e.Message)
}
