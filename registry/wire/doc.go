// Package wire is what a registry and its clients say to each other: the JSON of the
// 0.2 API and of our additions to it, and the two kinds of signatures on requests. It
// opens nothing and keeps nothing (docs/protocol/registry.md).
package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"amesh/identity"
)

// Protocol is the version that a registry names on its health page.
const Protocol = "agentmesh/0.2"

// Tier says how well it is known who is behind an agent.
type Tier string

// The tiers of 0.2.
const (
	TierAnonymous    Tier = "anonymous"
	TierVerified     Tier = "verified"
	TierOrganization Tier = "organization"
)

// Status is what an agent says of itself.
type Status string

// The statuses of 0.2.
const (
	StatusOnline  Status = "online"
	StatusAway    Status = "away"
	StatusOffline Status = "offline"
	StatusDND     Status = "dnd"
)

// Valid reports whether s is one of the statuses.
func (s Status) Valid() bool {
	switch s {
	case StatusOnline, StatusAway, StatusOffline, StatusDND:
		return true
	}
	return false
}

// ErrKey reports text that is no key.
var ErrKey = errors.New("not a key of 32 bytes in base64")

// DecodeBase64 reads base64 in any of the spellings that 0.2 clients use: standard or
// URL-safe, padded or not.
func DecodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	if strings.ContainsAny(s, "\r\n") { // which the decoder overlooks
		return nil, errors.New("base64 with line breaks")
	}
	return base64.RawStdEncoding.Strict().DecodeString(s)
}

// EncodeBase64 writes the one spelling that all of them read: standard and padded.
func EncodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decodeKey reads 32 bytes. Either prefix is taken for either role, as the 0.2
// registry does.
func decodeKey(s string) ([32]byte, error) {
	bare, ok := strings.CutPrefix(s, prefixSigning)
	if !ok {
		bare = strings.TrimPrefix(s, prefixExchange)
	}
	b, err := DecodeBase64(bare)
	if err != nil || len(b) != 32 {
		return [32]byte{}, ErrKey
	}
	return [32]byte(b), nil
}

const (
	prefixSigning  = "ed25519:"
	prefixExchange = "x25519:"
)

// ParseSigningKey reads an Ed25519 public key. It returns ErrKey or identity.ErrKey.
func ParseSigningKey(s string) (identity.PublicKey, error) {
	b, err := decodeKey(s)
	if err != nil {
		return identity.PublicKey{}, err
	}
	return identity.ParsePublicKey(b[:])
}

// ParseExchangeKey reads an X25519 public key. It returns ErrKey, identity.ErrKey or
// identity.ErrLowOrder.
func ParseExchangeKey(s string) ([identity.ExchangeKeySize]byte, error) {
	b, err := decodeKey(s)
	if err != nil {
		return b, err
	}
	return b, identity.CheckExchangeKey(b)
}

// SigningKeyText writes a signing key, with its prefix if clients of the 0.2 registry
// want to see the registry's own spelling.
func SigningKeyText(k identity.PublicKey, prefixed bool) string {
	if prefixed {
		return prefixSigning + k.Text()
	}
	return k.Text()
}

// ExchangeKeyText is the same for an exchange key.
func ExchangeKeyText(k [identity.ExchangeKeySize]byte, prefixed bool) string {
	text := EncodeBase64(k[:])
	if prefixed {
		return prefixExchange + text
	}
	return text
}

// didKey begins the DID of a key, which says all that an AMID does, and ed25519Key what
// comes behind it when it is an Ed25519 key.
const (
	didKey     = "did:key:"
	ed25519Key = "z6Mk"
)

// ParseAMID reads an AMID, its DID or the DID of its Ed25519 key, and says so in words
// for a stranger if it is none.
func ParseAMID(s string) (identity.AMID, error) {
	if text, ok := strings.CutPrefix(s, didKey); ok {
		key, err := identity.ParsePublicKeyMultibase(text)
		if err != nil || !strings.HasPrefix(text, ed25519Key) {
			return identity.AMID{}, fmt.Errorf("%.80q is not the DID of an Ed25519 key", s)
		}
		return key.AMID(), nil
	}
	a, err := identity.ParseAMID(s)
	if err != nil {
		return identity.AMID{}, fmt.Errorf("%.60q is not an AMID", s)
	}
	return a, nil
}
