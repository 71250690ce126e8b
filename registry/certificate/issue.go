package certificate

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"amesh/identity"
)

// ErrRequest reports facts that no certificate can be made of.
var ErrRequest = errors.New("certificate_request_invalid")

// Issuer signs certificates and revocation lists with a registry's root key. It keeps
// nothing: who issues also stores. It is safe for concurrent use if rand is.
type Issuer struct {
	root identity.PrivateKey
	rand io.Reader
	now  func() time.Time
}

// NewIssuer signs with root. Serials are read from rand; now is the wall clock.
func NewIssuer(root identity.PrivateKey, rand io.Reader, now func() time.Time) *Issuer {
	return &Issuer{root: root, rand: rand, now: now}
}

// Root is the key that verifiers trust.
func (i *Issuer) Root() identity.PublicKey { return i.root.Public() }

// Issued is a new certificate in both forms.
type Issued struct {
	Certificate *Certificate
	Text        string // for lookup and the answers of the 0.2 API
	Compact     []byte // for a knock; empty for an organisation
}

// Agent says who a certificate is for.
type Agent struct {
	Key  identity.PublicKey
	Tier Tier // Verified or Organization
}

// Verification says which account verified an agent.
type Verification struct {
	Key        identity.PublicKey
	Provider   string // such as github
	ProviderID string // the account's number there
}

// OrganizationFacts says which organisation a certificate is for.
type OrganizationFacts struct {
	ID     string // a UUID, or at most 64 bytes
	Name   string // at most 255 bytes
	Domain string // at most 253 bytes, lower case
}

// IssueAgent makes the certificate of an agent that the registry itself verified. It
// returns ErrRequest.
func (i *Issuer) IssueAgent(a Agent) (*Issued, error) {
	c := &Certificate{Kind: KindAgent, Key: a.Key, AMID: a.Key.AMID(), Tier: a.Tier, usage: []string{usageTier}}
	return i.issueLeaf(c)
}

// IssueVerification makes the certificate of an agent that an account elsewhere
// verified. It returns ErrRequest.
func (i *Issuer) IssueVerification(v Verification) (*Issued, error) {
	if v.Provider == "" || v.ProviderID == "" || len(v.Provider) > maxName || len(v.ProviderID) > maxName {
		return nil, fmt.Errorf("%w: provider and its account are 1 to %d bytes", ErrRequest, maxName)
	}
	c := &Certificate{Kind: KindVerification, Key: v.Key, AMID: v.Key.AMID(), Tier: Verified,
		Provider: v.Provider, ProviderID: v.ProviderID, usage: []string{usageTier}}
	return i.issueLeaf(c)
}

// IssueOrganization makes the certificate of an organisation whose domain was
// verified. Text is what IssueMember wants. It returns ErrRequest.
func (i *Issuer) IssueOrganization(o OrganizationFacts) (*Issued, error) {
	c := &Certificate{Kind: KindOrganization, Tier: Organization, OrganizationID: o.ID, OrganizationName: o.Name,
		OrganizationDomain: o.Domain, ca: true, usage: []string{usageSign}}
	if err := i.fill(c, i.Root()); err != nil {
		return nil, err
	}
	key, err := i.organizationKey(c.Serial)
	if err != nil {
		return nil, err
	}
	c.Key = key.Public()
	return i.finish(c, i.root, "")
}

// IssueMember makes the certificate of an organisation's agent, signed with the
// organisation's key. organization is the text of the organisation's certificate; a
// member's certificate ends with it. It returns ErrRequest, and what Trust.Verify
// would say of an organisation that cannot sign any more.
func (i *Issuer) IssueMember(organization string, key identity.PublicKey) (*Issued, error) {
	chain, err := Parse(organization)
	if err != nil {
		return nil, fmt.Errorf("issue member: %w", err)
	}
	o := chain.Leaf
	if o.Kind != KindOrganization {
		return nil, fmt.Errorf("issue member: %w: not the certificate of an organisation", ErrRequest)
	}
	if err := o.signedBy(i.Root()); err != nil {
		return nil, fmt.Errorf("issue member: %w", err)
	}
	if err := o.inTime(i.now()); err != nil {
		return nil, fmt.Errorf("issue member: %w", err)
	}
	signer, err := i.organizationKey(o.Serial)
	if err != nil {
		return nil, err
	}
	c := &Certificate{Kind: KindMember, Key: key, AMID: key.AMID(), Tier: Organization, OrganizationID: o.OrganizationID,
		OrganizationDomain: o.OrganizationDomain, usage: []string{usageTier}}
	if err := i.fill(c, o.Key); err != nil {
		return nil, err
	}
	if o.Expires.Before(c.Expires) {
		c.Expires = o.Expires
	}
	issued, err := i.finish(c, signer, organization)
	if err != nil {
		return nil, err
	}
	bare := *o
	bare.OrganizationName = ""
	issued.Compact = compact(bare.link(i.root), c.link(signer))
	return issued, nil
}

func (i *Issuer) issueLeaf(c *Certificate) (*Issued, error) {
	if err := i.fill(c, i.Root()); err != nil {
		return nil, err
	}
	issued, err := i.finish(c, i.root, "")
	if err != nil {
		return nil, err
	}
	issued.Compact = compact(c.link(i.root))
	return issued, nil
}

func (i *Issuer) fill(c *Certificate, issuer identity.PublicKey) error {
	if _, err := io.ReadFull(i.rand, c.Serial[:]); err != nil {
		return fmt.Errorf("certificate serial: %w", err)
	}
	c.IssuerKey = issuer
	c.Issued = i.now().UTC().Truncate(time.Second)
	c.Expires = c.Issued.Add(Life)
	return nil
}

// finish reads back what it wrote, so that nothing leaves that a verifier refuses.
func (i *Issuer) finish(c *Certificate, signer identity.PrivateKey, issuer string) (*Issued, error) {
	if err := c.wellFormed(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	raw, err := c.sealed(signer, issuer)
	if err != nil {
		return nil, err
	}
	text := base64.StdEncoding.EncodeToString(raw)
	if c.Kind == KindAgent {
		text = armour(raw)
	}
	chain, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return &Issued{Certificate: chain.Leaf, Text: text}, nil
}

// organizationKey is the key with which the organisation of a certificate signs. It
// is computed, so that there is one secret to keep, and differs with every certificate,
// so that a revoked one stays worthless.
func (i *Issuer) organizationKey(s Serial) (identity.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, i.root.Seed(), nil, strings.Join([]string{"amesh/1 organisation key", s.String()}, "\x00"), 32)
	if err != nil {
		return identity.PrivateKey{}, fmt.Errorf("organisation key: %w", err)
	}
	return identity.PrivateKeyFromSeed(seed)
}
