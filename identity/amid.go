package identity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/mr-tron/base58"
)

// AMIDSize is the number of bytes behind an AMID's text.
const AMIDSize = 20

// didPrefix starts the DID of every agent (AgentMesh §1.5).
const didPrefix = "did:agentmesh:"

// ErrAMID reports text that is not the one right spelling of an AMID.
var ErrAMID = errors.New("not an AMID")

// AMID is an agent's name: the first 20 bytes of the SHA-256 of its Ed25519
// public key, written in base58 with the Bitcoin alphabet (AgentMesh §1.2).
// The zero value names nobody.
type AMID [AMIDSize]byte

// AMIDOf computes the name that belongs to a public key.
func AMIDOf(k PublicKey) AMID {
	sum := sha256.Sum256(k[:])
	return AMID(sum[:AMIDSize])
}

// ParseAMID reads the text form of an AMID or of its DID. It returns ErrAMID
// for anything that String would not have written.
func ParseAMID(s string) (AMID, error) {
	text := strings.TrimPrefix(s, didPrefix)
	if len(text) < AMIDSize || len(text) > 28 {
		return AMID{}, fmt.Errorf("%w: %.40q (want 20 to 28 base58 characters)", ErrAMID, s)
	}
	raw, err := base58.Decode(text)
	if err != nil || len(raw) != AMIDSize {
		return AMID{}, fmt.Errorf("%w: %.40q", ErrAMID, s)
	}
	a := AMID(raw)
	if a.String() != text {
		return AMID{}, fmt.Errorf("%w: %.40q is not in canonical form", ErrAMID, s)
	}
	return a, nil
}

// String is the base58 text, 27 or 28 characters as a rule.
func (a AMID) String() string { return base58.Encode(a[:]) }

// DID is the agent's decentralised identifier, did:agentmesh:<AMID>.
func (a AMID) DID() string { return didPrefix + a.String() }

// IsZero reports whether a names nobody.
func (a AMID) IsZero() bool { return a == AMID{} }

// Short is an abbreviation for people and logs, never an identifier.
func (a AMID) Short() string {
	s := a.String()
	if len(s) <= 10 {
		return s
	}
	return s[:4] + "…" + s[len(s)-4:]
}

// MarshalText writes the base58 text, so that AMIDs are strings in JSON.
func (a AMID) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote; it returns ErrAMID otherwise.
func (a *AMID) UnmarshalText(b []byte) error {
	v, err := ParseAMID(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}
