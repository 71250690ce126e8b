package ratchet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"amesh/internal/wire"
)

// Version is the version byte of session/1.
const Version = 1

// magic starts every envelope of ours. Its first byte is no valid UTF-8, so no
// payload of the 0.2 wire begins like it.
var magic = [4]byte{0xA3, 0x6D, 0x73, 0x68}

// Type says what an envelope holds.
type Type uint8

// The types of envelopes (session.md §4.1).
const (
	TypeKnock   Type = 1
	TypeMessage Type = 2
	TypeFirst   Type = 3 // message 0, inside a knock only
	TypeRenew   Type = 4
)

var (
	// ErrLegacy reports a payload without our magic.
	ErrLegacy = errors.New("legacy")
	// ErrUnsupported reports an envelope of a version or type we do not know. It
	// is shown to the owner and not answered.
	ErrUnsupported = errors.New("unsupported")
	// ErrMalformed reports bytes that cannot be an envelope. It is the same value
	// as wire.ErrMalformed.
	ErrMalformed = wire.ErrMalformed
)

// ParsePrefix reads the first six bytes of an envelope and checks its size. It
// returns ErrLegacy, ErrUnsupported or ErrMalformed; a message 0 outside a knock
// is malformed.
func ParsePrefix(b []byte) (Type, error) {
	if len(b) < len(magic) || [4]byte(b) != magic {
		return 0, ErrLegacy
	}
	if len(b) < PrefixSize || len(b) > MaxEnvelope {
		return 0, fmt.Errorf("%w: envelope of %d bytes", ErrMalformed, len(b))
	}
	if b[4] != Version {
		return 0, fmt.Errorf("%w: version %d", ErrUnsupported, b[4])
	}
	switch t := Type(b[5]); t {
	case TypeKnock, TypeMessage, TypeRenew:
		return t, nil
	case TypeFirst:
		return 0, fmt.Errorf("%w: message 0 outside a knock", ErrMalformed)
	default:
		return 0, fmt.Errorf("%w: type %d", ErrUnsupported, t)
	}
}

// Prefix is the first six bytes of an envelope of type t.
func Prefix(t Type) [PrefixSize]byte {
	return [PrefixSize]byte{magic[0], magic[1], magic[2], magic[3], Version, byte(t)}
}

// ID names an envelope on every path. Whoever has the bytes can compute it.
type ID [16]byte

// EnvelopeID is the name of the envelope b.
func EnvelopeID(b []byte) ID {
	sum := sha256.Sum256(b)
	return ID(sum[:16])
}

// ParseID reads 32 lower-case hex digits.
func ParseID(s string) (ID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(ID{}) || hex.EncodeToString(b) != s {
		return ID{}, fmt.Errorf("%w: %.40q is no envelope id", ErrMalformed, s)
	}
	return ID(b), nil
}

// String is 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes what String gives.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}
