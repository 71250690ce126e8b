package mailbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// Magic is how every envelope between amesh nodes begins. A payload that is
// base64 of something that begins so is an envelope; any other payload is text
// of a 0.2 client.
const Magic = "\xA3msh"

// MessageID names a message by its content: the first half of a SHA-256. It
// prints as 32 lower-case hex digits.
type MessageID [16]byte

// String writes the id as frames carry it.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// EnvelopeID is the id of an envelope's bytes, or of the UTF-8 of a text payload.
func EnvelopeID(b []byte) MessageID {
	sum := sha256.Sum256(b)
	return MessageID(sum[:16])
}

// PayloadID is the id of an encrypted_payload as it stands in a frame. The same
// envelope has the same id on every path, so base64 is taken off first.
func PayloadID(payload string) MessageID {
	if b, ok := EnvelopeOf(payload); ok {
		return EnvelopeID(b)
	}
	return EnvelopeID([]byte(payload))
}

// EnvelopeOf decodes a payload that is the one right base64 text of an envelope.
func EnvelopeOf(payload string) ([]byte, bool) {
	// The first four characters hold three bytes of the magic: most text is
	// turned away before anything is decoded.
	if len(payload) < 8 || payload[:4] != "o21z" {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(payload)
	if err != nil || len(b) < len(Magic) || string(b[:len(Magic)]) != Magic {
		return nil, false
	}
	// The decoder skips line breaks, which are not canonical.
	if base64.StdEncoding.EncodedLen(len(b)) != len(payload) {
		return nil, false
	}
	return b, true
}

// EnvelopeText is the payload that carries an envelope.
func EnvelopeText(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
