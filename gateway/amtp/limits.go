package amtp

import "time"

const (
	// MaxMessageSize is how many bytes a message may have where nothing else is
	// configured, and what a gateway takes whose record names no max-size: 10 MiB.
	MaxMessageSize = 10 << 20

	// MaxDepth is how deep values of a message may be nested.
	MaxDepth = 128

	// MaxRecipients bounds the recipients of one message.
	MaxRecipients = 1000

	// MaxLocal and MaxDomain bound the parts of an address, in bytes, and MaxLabel
	// each label of a domain (RFC 5321 §4.5.3.1, RFC 1035 §2.3.4).
	MaxLocal  = 64
	MaxDomain = 253
	MaxLabel  = 63

	// MaxSubject, MaxSchema, MaxResponseType and MaxWorkflowID bound these members,
	// in bytes of text.
	MaxSubject      = 4 << 10
	MaxSchema       = 256
	MaxResponseType = 64
	MaxWorkflowID   = 256

	// MaxHeaders, MaxCoordination and MaxSignature bound these members, in bytes of
	// JSON as sent.
	MaxHeaders      = 256 << 10
	MaxCoordination = 256 << 10
	MaxSignature    = 8 << 10

	// MaxAttachments bounds how many attachments a message names, and
	// MaxAttachmentText each text of one, in bytes.
	MaxAttachments    = 100
	MaxAttachmentText = 4 << 10

	// MaxCoordinationTimeout bounds the time that a coordination may be given.
	MaxCoordinationTimeout = 366 * 24 * time.Hour

	// MaxRecord is how long the text of one TXT record may be, in bytes.
	MaxRecord = 4 << 10
)
