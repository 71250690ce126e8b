package certificate

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"amesh/identity"
	"amesh/internal/strictjson"
)

// document has the members of all four kinds (AgentMesh §1.6) in alphabetical order,
// as the reference writes them, with ours among them: ca, critical, issuer_certificate,
// issuer_key, path_length, usage, and serial_number and signing_public_key everywhere.
type document struct {
	AgentAMID          string   `json:"agent_amid,omitempty"`
	AMID               string   `json:"amid,omitempty"`
	CA                 bool     `json:"ca"`
	Chain              []string `json:"chain,omitempty"`
	Critical           []string `json:"critical,omitempty"` // members that a reader must know
	Domain             string   `json:"domain,omitempty"`
	ExpiresAt          string   `json:"expires_at"`
	IssuedAt           string   `json:"issued_at"`
	Issuer             string   `json:"issuer"`
	IssuerCertificate  string   `json:"issuer_certificate,omitempty"`
	IssuerKey          string   `json:"issuer_key"`
	OrganizationDomain string   `json:"organization_domain,omitempty"`
	OrganizationID     string   `json:"organization_id,omitempty"`
	OrganizationName   string   `json:"organization_name,omitempty"`
	PathLength         int      `json:"path_length"`
	Provider           string   `json:"provider,omitempty"`
	ProviderID         string   `json:"provider_id,omitempty"`
	SerialNumber       string   `json:"serial_number"`
	SigningPublicKey   string   `json:"signing_public_key"`
	Tier               string   `json:"tier"`
	Type               string   `json:"type"`
	Usage              []string `json:"usage"`
	VerifiedAt         string   `json:"verified_at,omitempty"`
	Version            int      `json:"version"`
}

// known are the members that a document may declare critical.
var known = []string{"agent_amid", "amid", "ca", "chain", "critical", "domain", "expires_at", "issued_at", "issuer",
	"issuer_certificate", "issuer_key", "organization_domain", "organization_id", "organization_name", "path_length",
	"provider", "provider_id", "serial_number", "signature", "signing_public_key", "tier", "type", "usage", "verified_at", "version"}

// The types of the documents, by kind, and who says so.
var (
	typeOf = map[Kind]string{KindAgent: "agent", KindVerification: "verification_certificate",
		KindOrganization: "org_root_certificate", KindMember: "agent_certificate"}
	issuerOf = map[Kind]string{KindAgent: "AgentMesh Registry", KindVerification: registryName,
		KindOrganization: registryName, KindMember: registryName}
)

const (
	registryName = "agentmesh-registry"

	armourHead = "-----BEGIN AGENTMESH CERTIFICATE-----\n"
	armourTail = "-----END AGENTMESH CERTIFICATE-----\n"
	armourLine = 64
)

// Parse reads the JSON form: base64 of a document, in armour or bare. It checks the
// form of every link and nothing else: who signed it is for Trust. It returns
// ErrUntrusted.
func Parse(text string) (*Chain, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrUntrusted, len(text), MaxText)
	}
	leaf, outer, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	if outer == "" {
		return &Chain{Leaf: leaf}, nil
	}
	issuer, further, err := parseDocument(outer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if further != "" {
		return nil, fmt.Errorf("%w: more than two links", ErrUntrusted)
	}
	return &Chain{Leaf: leaf, Issuer: issuer}, nil
}

// parseDocument reads one link; issuer is the text of the next, if it has one.
func parseDocument(text string) (c *Certificate, issuer string, err error) {
	raw, err := decodeText(text)
	if err != nil {
		return nil, "", err
	}
	members, err := strictjson.Object(raw)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	// encoding/json matches names without regard to case; a certificate has one spelling.
	for _, m := range members {
		if !slices.Contains(known, m.Name) && slices.Contains(known, strings.ToLower(m.Name)) {
			return nil, "", fmt.Errorf("%w: member %.40q", ErrUntrusted, m.Name)
		}
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, "", fmt.Errorf("%w: %v", ErrUntrusted, err)
	}
	c, err = d.certificate()
	if err != nil {
		return nil, "", err
	}
	c.tag = tagDocument
	if c.body, c.signature, err = unseal(raw); err != nil {
		return nil, "", err
	}
	return c, d.IssuerCertificate, nil
}

func (d *document) certificate() (*Certificate, error) {
	if d.Version != 1 {
		return nil, fmt.Errorf("%w: version %d", ErrUntrusted, d.Version)
	}
	for _, name := range d.Critical {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%w: critical member %.40q is unknown", ErrUntrusted, name)
		}
	}
	c := &Certificate{OrganizationID: d.OrganizationID, OrganizationName: d.OrganizationName,
		OrganizationDomain: d.OrganizationDomain, Provider: d.Provider, ProviderID: d.ProviderID,
		ca: d.CA, pathLength: d.PathLength, usage: d.Usage}
	for kind, name := range typeOf {
		if name == d.Type {
			c.Kind = kind
		}
	}
	if c.Kind == 0 || d.Issuer != issuerOf[c.Kind] {
		return nil, fmt.Errorf("%w: type %.40q by %.40q", ErrUntrusted, d.Type, d.Issuer)
	}
	if err := d.names(c); err != nil {
		return nil, err
	}
	if err := d.keysAndTimes(c); err != nil {
		return nil, err
	}
	return c, nil
}

// names reads who the certificate is about. A member that belongs to another kind
// is refused: a reader of that kind would take it for the truth.
func (d *document) names(c *Certificate) error {
	amid, other := d.AMID, d.AgentAMID
	if c.Kind == KindMember {
		amid, other = other, amid
	}
	if c.Kind == KindOrganization {
		if amid != "" || d.OrganizationDomain != "" {
			return fmt.Errorf("%w: an organisation with the members of an agent", ErrUntrusted)
		}
		c.OrganizationDomain = d.Domain
	} else {
		var err error
		if c.AMID, err = identity.ParseAMID(amid); err != nil || c.AMID.String() != amid {
			return fmt.Errorf("%w: agent %.40q", ErrUntrusted, amid)
		}
		if d.Domain != "" {
			return fmt.Errorf("%w: an agent with a domain of its own", ErrUntrusted)
		}
	}
	if other != "" || (c.Kind == KindAgent || c.Kind == KindVerification) && c.OrganizationID+c.OrganizationDomain != "" {
		return fmt.Errorf("%w: members of another type", ErrUntrusted)
	}
	if (c.Kind == KindMember) != (d.IssuerCertificate != "") {
		return fmt.Errorf("%w: a member needs its organisation's certificate, and nobody else has one", ErrUntrusted)
	}
	return nil
}

func (d *document) keysAndTimes(c *Certificate) (err error) {
	switch d.Tier {
	case Verified.title():
		c.Tier = Verified
	case Organization.title():
		c.Tier = Organization
	default:
		return fmt.Errorf("%w: tier %.40q", ErrUntrusted, d.Tier)
	}
	if c.Serial, err = ParseSerial(d.SerialNumber); err != nil {
		return err
	}
	if c.Key, err = parseKey(d.SigningPublicKey); err != nil {
		return err
	}
	if c.IssuerKey, err = parseKey(d.IssuerKey); err != nil {
		return err
	}
	if c.Issued, err = parseTime(d.IssuedAt); err != nil {
		return err
	}
	if c.Expires, err = parseTime(d.ExpiresAt); err != nil {
		return err
	}
	return c.wellFormed()
}

// sealed is the JSON text of c as its kind has it, signed with key. issuer is the
// text of the issuer's certificate, or empty.
func (c *Certificate) sealed(key identity.PrivateKey, issuer string) ([]byte, error) {
	d := document{CA: c.ca, PathLength: c.pathLength, Usage: c.usage, Version: 1,
		Type: typeOf[c.Kind], Issuer: issuerOf[c.Kind], IssuerCertificate: issuer,
		IssuerKey: c.IssuerKey.Text(), SigningPublicKey: c.Key.Text(), SerialNumber: c.Serial.String(), Tier: c.Tier.title(),
		IssuedAt: formatTime(c.Issued), ExpiresAt: formatTime(c.Expires)}
	switch c.Kind {
	case KindAgent:
		d.AMID = c.AMID.String()
	case KindVerification:
		d.AMID, d.Provider, d.ProviderID, d.VerifiedAt = c.AMID.String(), c.Provider, c.ProviderID, d.IssuedAt
	case KindOrganization:
		d.OrganizationID, d.OrganizationName, d.Domain = c.OrganizationID, c.OrganizationName, c.OrganizationDomain
	case KindMember:
		d.AgentAMID, d.OrganizationID, d.OrganizationDomain = c.AMID.String(), c.OrganizationID, c.OrganizationDomain
		d.Chain = []string{registryName, c.OrganizationDomain, d.AgentAMID}
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return seal(key, tagDocument, raw), nil
}

// armour wraps the base64 of a document into lines.
func armour(raw []byte) string {
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	b.WriteString(armourHead)
	for len(text) > armourLine {
		b.WriteString(text[:armourLine] + "\n")
		text = text[armourLine:]
	}
	b.WriteString(text + "\n" + armourTail)
	return b.String()
}

// decodeText takes the one spelling that armour writes, or bare base64.
func decodeText(text string) ([]byte, error) {
	bare := text
	if inner, ok := strings.CutPrefix(text, armourHead); ok {
		inner, _ = strings.CutSuffix(inner, armourTail)
		bare = strings.ReplaceAll(inner, "\n", "")
	}
	raw, err := base64.StdEncoding.DecodeString(bare)
	if err != nil || text != base64.StdEncoding.EncodeToString(raw) && text != armour(raw) {
		return nil, fmt.Errorf("%w: neither base64 nor armour", ErrUntrusted)
	}
	return raw, nil
}

func parseKey(text string) (identity.PublicKey, error) {
	k, err := identity.ParsePublicKeyText(text)
	if err != nil || k.Text() != text {
		return k, fmt.Errorf("%w: key %.60q", ErrUntrusted, text)
	}
	return k, nil
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || formatTime(t) != text {
		return t, fmt.Errorf("%w: time %.40q", ErrUntrusted, text)
	}
	return t, nil
}
