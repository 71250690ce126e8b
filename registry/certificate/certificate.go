package certificate

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
)

// The codes that a verifier answers with. Each is also what goes over a wire.
var (
	// ErrExpired reports a certificate whose time is over, or has not begun.
	ErrExpired = errors.New("cert_expired")
	// ErrRevoked reports a certificate that was taken back, or whose issuer's was.
	ErrRevoked = errors.New("cert_revoked")
	// ErrUntrusted reports everything that is no certificate of a trusted root for
	// this agent: damaged, signed by another, out of place, of somebody else.
	ErrUntrusted = errors.New("cert_untrusted")
	// ErrStale reports that there is no revocation list of the last 24 hours to judge by.
	ErrStale = errors.New("crl_stale")
)

// Tier is how much is known about who is behind an agent. A higher one is better;
// the 0.2 numbers run the other way.
type Tier uint8

// The tiers.
const (
	Anonymous    Tier = 0
	Verified     Tier = 1 // a person, by an account elsewhere
	Organization Tier = 2 // an organisation, by its domain
)

// String is the tier's word in the 0.2 API.
func (t Tier) String() string {
	switch t {
	case Verified:
		return "verified"
	case Organization:
		return "organization"
	}
	return "anonymous"
}

// title is how certificates write the tier (AgentMesh §1.6).
func (t Tier) title() string {
	if t == Organization {
		return "Organization"
	}
	return "Verified"
}

// Kind is which of the documents of AgentMesh §1.6 a certificate is.
type Kind uint8

// The kinds.
const (
	KindAgent        Kind = 1 // an agent that the registry verified
	KindVerification Kind = 2 // an agent and the account that verified it
	KindOrganization Kind = 3 // an organisation; it may sign members
	KindMember       Kind = 4 // an agent of an organisation, signed by it
)

// Serial names a certificate: 128 random bits, never used twice.
type Serial [16]byte

// String is the serial in lower-case hex.
func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// ParseSerial reads what String wrote, and nothing else.
func ParseSerial(text string) (Serial, error) {
	var s Serial
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) || hex.EncodeToString(b) != text {
		return s, fmt.Errorf("%w: serial %.40q (want 32 lower-case hex digits)", ErrUntrusted, text)
	}
	return Serial(b), nil
}

// Certificate is one link: a statement about the holder of Key, signed with IssuerKey.
type Certificate struct {
	Kind   Kind
	Serial Serial
	Key    identity.PublicKey // of the agent, or that an organisation's members are signed with
	AMID   identity.AMID      // of the agent; zero for an organisation
	Tier   Tier

	OrganizationID     string // of the organisation or the member's organisation
	OrganizationName   string // of an organisation, in the JSON form only
	OrganizationDomain string
	Provider           string // who verified the account, in the JSON form only
	ProviderID         string

	Issued, Expires time.Time // whole seconds, UTC

	IssuerKey identity.PublicKey

	ca         bool
	pathLength int
	usage      []string

	tag       identity.Tag
	body      []byte // as received
	signature []byte
}

// Chain is a certificate with what stands between it and a root.
type Chain struct {
	Leaf   *Certificate
	Issuer *Certificate // nil: the root signed the leaf
}

// What the key of a certificate is for.
const (
	usageTier = "tier" // prove the tier of the agent
	usageSign = "sign" // sign members
)

// wellFormed checks what holds for a link whoever signed it.
func (c *Certificate) wellFormed() error {
	if c.Kind == KindOrganization {
		return c.organizationFits()
	}
	switch {
	case c.ca || c.pathLength != 0 || !slices.Equal(c.usage, []string{usageTier}):
		return fmt.Errorf("%w: an agent's key that may sign", ErrUntrusted)
	case c.Key.AMID() != c.AMID:
		return fmt.Errorf("%w: the key is not that of %s", ErrUntrusted, c.AMID)
	case c.Kind == KindMember && (c.Tier != Organization || c.OrganizationID == "" || c.OrganizationDomain == ""):
		return fmt.Errorf("%w: a member of no organisation", ErrUntrusted)
	case c.Kind == KindVerification && c.Tier != Verified:
		return fmt.Errorf("%w: an account that proves tier %s", ErrUntrusted, c.Tier)
	case c.Tier != Verified && c.Tier != Organization:
		return fmt.Errorf("%w: tier %d", ErrUntrusted, c.Tier)
	}
	return c.lifeFits()
}

func (c *Certificate) organizationFits() error {
	switch {
	case !c.ca || c.pathLength != 0 || !slices.Equal(c.usage, []string{usageSign}):
		return fmt.Errorf("%w: an organisation signs its agents, and nothing else", ErrUntrusted)
	case c.Tier != Organization || c.OrganizationID == "" || c.OrganizationDomain == "" || !c.AMID.IsZero():
		return fmt.Errorf("%w: an organisation without a name", ErrUntrusted)
	}
	return c.lifeFits()
}

func (c *Certificate) lifeFits() error {
	if life := c.Expires.Sub(c.Issued); life <= 0 || life > Life {
		return fmt.Errorf("%w: life of %s, at most %s", ErrUntrusted, life, Life)
	}
	if len(c.OrganizationID) > maxID || len(c.OrganizationDomain) > maxDomain || len(c.OrganizationName) > maxName {
		return fmt.Errorf("%w: organisation id, domain or name is too long", ErrUntrusted)
	}
	return nil
}
