package ratchet

import "time"

// Sizes on the wire, in bytes (session.md §4).
const (
	PrefixSize   = 6
	MaxEnvelope  = 45184
	MaxPlaintext = maxPadded - paddingHeader

	headerSize       = 42
	sealOverhead     = 40 // a 24-byte nonce in front, a 16-byte tag behind
	sealedHeaderSize = headerSize + sealOverhead
	bodyOffset       = PrefixSize + sealedHeaderSize
	messageOverhead  = bodyOffset + sealOverhead
	paddingHeader    = 4
	maxPadded        = MaxEnvelope - messageOverhead
)

// What a session keeps for messages that come late (session.md §6). The values
// are part of the protocol: a peer sends no more than they allow.
const (
	// MaxSkip is how far ahead of the last message of a chain one may be. It
	// bounds the keys that one header can make us derive.
	MaxSkip = 1000
	// MaxSkipped is the number of keys a session keeps for skipped messages.
	MaxSkipped = 2000
	// MaxSkippedChains is the number of chains those keys may belong to.
	MaxSkippedChains = 64
	// SkippedLife is how long such a key is kept.
	SkippedLife = 7 * 24 * time.Hour
)
