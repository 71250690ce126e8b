package certificate

import (
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/wire"
)

const (
	compactVersion = 1
	latestTime     = 253_402_300_799 // the end of the year 9999
)

// ParseCompact reads the compact form, of which it keeps no part. It checks the form
// of every link and nothing else: who signed it is for Trust. It returns ErrUntrusted.
func ParseCompact(raw []byte) (*Chain, error) {
	if len(raw) > MaxCompact {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrUntrusted, len(raw), MaxCompact)
	}
	r := wire.NewReader(append([]byte{}, raw...))
	if v := r.U8(); v != compactVersion {
		r.Fail("version %d", v)
	}
	links := r.U8()
	if links != 1 && links != 2 {
		r.Fail("%d links", links)
	}
	var texts [2][]byte
	for i := range links {
		if r.Err() == nil {
			texts[i] = r.LP16(MaxCompact)
		}
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	leaf, err := parseLink(texts[links-1])
	if err != nil {
		return nil, err
	}
	if (leaf.Kind == KindMember) != (links == 2) {
		return nil, fmt.Errorf("%w: a member needs its organisation's certificate, and nobody else has one", ErrUntrusted)
	}
	if links == 1 {
		return &Chain{Leaf: leaf}, nil
	}
	issuer, err := parseLink(texts[0])
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &Chain{Leaf: leaf, Issuer: issuer}, nil
}

func parseLink(raw []byte) (*Certificate, error) {
	c := &Certificate{tag: tagCompact}
	r := wire.NewReader(raw)
	c.Kind = Kind(r.U8())
	r.Into(c.Serial[:])
	key, issuer := r.Fixed(len(c.Key)), r.Fixed(len(c.IssuerKey))
	c.Tier = Tier(r.U8())
	c.Issued, c.Expires = readTime(r), readTime(r)
	c.OrganizationID = string(r.LP8(maxID))
	c.OrganizationDomain = string(r.LP8(maxDomain))
	c.body = raw[:len(raw)-r.Len()]
	c.signature = r.Fixed(identity.SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	var err error
	if c.Key, err = identity.ParsePublicKey(key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if c.IssuerKey, err = identity.ParsePublicKey(issuer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return c, c.fillCompact()
}

// fillCompact sets what the compact form says by the kind alone.
func (c *Certificate) fillCompact() error {
	switch c.Kind {
	case KindOrganization:
		c.ca, c.usage = true, []string{usageSign}
	case KindAgent, KindVerification, KindMember:
		c.AMID, c.usage = c.Key.AMID(), []string{usageTier}
	default:
		return fmt.Errorf("%w: kind %d", ErrUntrusted, c.Kind)
	}
	if c.Kind != KindOrganization && c.Kind != KindMember && c.OrganizationID+c.OrganizationDomain != "" {
		return fmt.Errorf("%w: members of another kind", ErrUntrusted)
	}
	return c.wellFormed()
}

// link is the compact text of c, signed with key.
func (c *Certificate) link(key identity.PrivateKey) []byte {
	w := wire.NewWriter(MaxCompact / 2)
	w.U8(uint8(c.Kind))
	w.Fixed(c.Serial[:])
	w.Fixed(c.Key[:])
	w.Fixed(c.IssuerKey[:])
	w.U8(uint8(c.Tier))
	w.I64(c.Issued.Unix())
	w.I64(c.Expires.Unix())
	w.LP8([]byte(c.OrganizationID))
	w.LP8([]byte(c.OrganizationDomain))
	w.Fixed(key.Sign(tagCompact, w.Bytes()))
	return w.Bytes()
}

// compact puts links together, the one next to the root first.
func compact(links ...[]byte) []byte {
	w := wire.NewWriter(MaxCompact)
	w.U8(compactVersion)
	w.U8(uint8(len(links)))
	for _, l := range links {
		w.LP16(l)
	}
	return w.Bytes()
}

func readTime(r *wire.Reader) time.Time {
	s := r.I64()
	if s < 0 || s > latestTime {
		r.Fail("time %d", s)
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
