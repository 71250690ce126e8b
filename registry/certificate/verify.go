package certificate

import (
	"fmt"
	"slices"
	"time"

	"amesh/identity"
)

// Trust is what a verifier goes by: the roots that its owner trusts, and the newest
// revocation list of each. It is a value to read from; Update returns a changed one.
type Trust struct {
	Roots []identity.PublicKey
	lists map[identity.PublicKey]*List
}

// Update takes a newer revocation list of a trusted root. It returns ErrUntrusted for
// one that no root signed, or that is older than the one it has: an old list would
// bring back what was revoked since.
func (t Trust) Update(raw []byte, now time.Time) (Trust, error) {
	list, err := ParseList(raw)
	if err != nil {
		return t, err
	}
	if !slices.Contains(t.Roots, list.IssuerKey) {
		return t, fmt.Errorf("%w: revocation list of a foreign root", ErrUntrusted)
	}
	if list.ThisUpdate.After(now.Add(Skew)) {
		return t, fmt.Errorf("%w: revocation list from the future", ErrUntrusted)
	}
	if old := t.lists[list.IssuerKey]; old != nil && list.Number < old.Number {
		return t, fmt.Errorf("%w: revocation list %d is older than %d", ErrUntrusted, list.Number, old.Number)
	}
	lists := map[identity.PublicKey]*List{list.IssuerKey: list}
	for k, l := range t.lists {
		if k != list.IssuerKey {
			lists[k] = l
		}
	}
	t.lists = lists
	return t, nil
}

// Verify says whether the chain proves the tier of its leaf for the agent with this
// key at the time now. It returns ErrUntrusted, ErrExpired, ErrRevoked or ErrStale, in
// this order when several hold; then the agent counts as anonymous, and nothing else
// follows: messages still flow.
func (t Trust) Verify(c *Chain, agent identity.PublicKey, now time.Time) error {
	root := c.Leaf.IssuerKey
	if c.Issuer != nil {
		root = c.Issuer.IssuerKey
	}
	if !slices.Contains(t.Roots, root) {
		return fmt.Errorf("%w: issued under a foreign root", ErrUntrusted)
	}
	if err := c.holdsUnder(root); err != nil {
		return err
	}
	if c.Leaf.Kind == KindOrganization || c.Leaf.Key != agent {
		return fmt.Errorf("%w: not of this agent", ErrUntrusted)
	}
	for _, link := range c.links() {
		if err := link.inTime(now); err != nil {
			return err
		}
	}
	return t.lists[root].allows(c, now)
}

func (c *Chain) links() []*Certificate {
	if c.Issuer == nil {
		return []*Certificate{c.Leaf}
	}
	return []*Certificate{c.Issuer, c.Leaf}
}

// holdsUnder checks the signatures and that each link was allowed to sign the next.
func (c *Chain) holdsUnder(root identity.PublicKey) error {
	if c.Issuer == nil {
		if c.Leaf.Kind == KindMember {
			return fmt.Errorf("%w: a member that no organisation signed", ErrUntrusted)
		}
		return c.Leaf.signedBy(root)
	}
	o := c.Issuer
	if err := o.signedBy(root); err != nil {
		return fmt.Errorf("organisation: %w", err)
	}
	switch {
	case o.Kind != KindOrganization:
		return fmt.Errorf("%w: signed by an agent", ErrUntrusted)
	case c.Leaf.Kind != KindMember:
		return fmt.Errorf("%w: an organisation signs its agents, and nothing else", ErrUntrusted)
	case o.OrganizationID != c.Leaf.OrganizationID || o.OrganizationDomain != c.Leaf.OrganizationDomain:
		return fmt.Errorf("%w: signed by another organisation", ErrUntrusted)
	case c.Leaf.Expires.After(o.Expires):
		return fmt.Errorf("%w: outlives its organisation", ErrUntrusted)
	}
	return c.Leaf.signedBy(o.Key)
}

func (c *Certificate) signedBy(key identity.PublicKey) error {
	if c.IssuerKey != key {
		return fmt.Errorf("%w: names another issuer", ErrUntrusted)
	}
	if err := key.Verify(c.tag, c.body, c.signature); err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return nil
}

func (c *Certificate) inTime(now time.Time) error {
	if now.Before(c.Issued.Add(-Skew)) || !now.Before(c.Expires) {
		return fmt.Errorf("%w: holds from %s to %s", ErrExpired, formatTime(c.Issued), formatTime(c.Expires))
	}
	return nil
}
