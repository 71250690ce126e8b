package relay

import "amesh/relay/mailbox"

// What the wire and the mailbox have the same words for.
type (
	// Kind is a frame's message_type.
	Kind = mailbox.Kind
	// MessageID names a message by its content.
	MessageID = mailbox.MessageID
	// Size is a number of messages together with their bytes.
	Size = mailbox.Size
)

// The kinds of AgentMesh §2.2.
const (
	KindKnock      = mailbox.KindKnock
	KindAccept     = mailbox.KindAccept
	KindReject     = mailbox.KindReject
	KindMessage    = mailbox.KindMessage
	KindClose      = mailbox.KindClose
	KindStatus     = mailbox.KindStatus
	KindOptimistic = mailbox.KindOptimistic
)

// Magic is how every envelope between amesh nodes begins.
const Magic = mailbox.Magic

// EnvelopeID is the id of an envelope's bytes, or of the UTF-8 of a text payload.
func EnvelopeID(b []byte) MessageID { return mailbox.EnvelopeID(b) }
