package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/api"
	"amesh/registry/certificate"
	"amesh/registry/client"
	rwire "amesh/registry/wire"
)

// vouching is what the node goes by when a registry says how well it knows an agent: the
// root key that it showed first, and its newest list of what was taken back.
type vouching struct {
	mu    sync.Mutex
	trust certificate.Trust
}

func (v *vouching) now() certificate.Trust {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trust
}

func (v *vouching) set(t certificate.Trust) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trust = t
}

// learnTrust fetches the registry's root key and revocation list. The owner chose the
// registry, and the key that it shows first is the one that it is held to.
func (l *registryLine) learnTrust(ctx context.Context) error {
	root, err := l.client.RootKey(ctx)
	if errors.Is(err, client.ErrUnsupported) || errors.Is(err, client.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	kept, err := l.book.pinRoot(ctx, l.client.URL(), root)
	if err != nil {
		return err
	}
	if kept != root {
		l.warnings.add(warnRoot, identity.AMID{}, l.clock())
	}
	trust := l.vouching.now()
	trust.Roots = []identity.PublicKey{kept}
	l.vouching.set(trust)
	raw, err := l.client.RevocationList(ctx)
	if err != nil {
		return fmt.Errorf("revocation list: %w", err)
	}
	if trust, err = trust.Update(raw, l.clock()); err != nil {
		l.log.Debug("revocation list not taken", "err", err)
		return nil
	}
	l.vouching.set(trust)
	return nil
}

// shown is a certificate of one of our agents, in both forms.
type shown struct {
	raw   []byte
	chain *certificate.Chain
}

// learnCertificate fetches the agent's own certificate for its knocks. Whoever is knocked
// at judges it anew; here it only has to be the agent's.
func (l *registryLine) learnCertificate(ctx context.Context, r *room, _ *enrolment) error {
	raw, err := l.client.Certificate(ctx, r.agent.AMID())
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("certificate: %w", err)
	}
	chain, bad := certificate.ParseCompact(raw)
	if err == nil && (bad != nil || chain.Leaf.AMID != r.agent.AMID()) {
		l.log.Debug("our own certificate not taken", "err", bad)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || bad != nil || chain.Leaf.AMID != r.agent.AMID() {
		delete(l.shown, r.agent.AMID())
		return nil
	}
	l.shown[r.agent.AMID()] = shown{raw, chain}
	return nil
}

// certificate is what an agent's knocks have to show: the one of the highest tier that
// has not expired, of registries that are equal of the first; nil for none.
func (r *registries) certificate(of identity.AMID) []byte {
	var best shown
	for _, l := range r.all() {
		l.mu.Lock()
		s, ok := l.shown[of]
		l.mu.Unlock()
		if ok && l.clock().Before(s.chain.Leaf.Expires) && (best.chain == nil || s.chain.Leaf.Tier > best.chain.Leaf.Tier) {
			best = s
		}
	}
	return best.raw
}

// prove is the tier that a certificate in a knock proves for the key that signed the
// knock, under the roots of our registries and their newest lists.
func (r *registries) prove(raw []byte, key identity.PublicKey) knock.Tier {
	chain, err := certificate.ParseCompact(raw)
	if err != nil {
		return knock.Anonymous
	}
	for _, l := range r.all() {
		if err = l.vouching.now().Verify(chain, key, l.clock()); err == nil {
			return knock.Tier(chain.Leaf.Tier)
		}
		l.log.Debug("a knock's certificate proves nothing here", "err", err)
	}
	return knock.Anonymous
}

// judgeTier takes over a tier that a certificate proves; what is not proved is shown as
// the registry's claim. A registry that signs certificates and shows none that holds is
// counted.
func (l *registryLine) judgeTier(to *api.Lookup, a client.Agent) {
	if a.Tier == rwire.TierAnonymous {
		return
	}
	chain, err := l.certified(a)
	if err != nil {
		if to.Tier.Proof == "" {
			to.Tier.Claimed, to.Tier.From = string(a.Tier), l.client.URL()
		}
		if l.client.Kind() == client.KindAmesh && !errors.Is(err, certificate.ErrStale) {
			l.warnings.add(warnTier, a.AMID, l.clock())
		}
		return
	}
	if to.Tier.Proof != "" && to.Tier.Tier == string(rwire.TierOrganization) {
		return
	}
	expires := chain.Leaf.Expires
	to.Tier = api.LookupTier{Tier: chain.Leaf.Tier.String(), Proof: proofOf(chain), From: l.client.URL(), Expires: &expires}
}

// certified is the certificate that proves the tier that the registry names.
func (l *registryLine) certified(a client.Agent) (*certificate.Chain, error) {
	chain, err := certificate.Parse(a.Certificate)
	if err != nil {
		return nil, err
	}
	if err := l.vouching.now().Verify(chain, a.Key, l.clock()); err != nil {
		return nil, err
	}
	if chain.Leaf.Tier.String() != string(a.Tier) {
		return nil, fmt.Errorf("%w: it is for the tier %s", certificate.ErrUntrusted, chain.Leaf.Tier)
	}
	return chain, nil
}

// proofOf says in words what a certificate proves.
func proofOf(chain *certificate.Chain) string {
	leaf := chain.Leaf
	until := leaf.Expires.UTC().Format(time.DateOnly)
	if leaf.OrganizationDomain != "" {
		return fmt.Sprintf("certificate of %s, under the registry's, until %s", leaf.OrganizationDomain, until)
	}
	if leaf.Provider != "" {
		return fmt.Sprintf("the registry's certificate, by an account at %s, until %s", leaf.Provider, until)
	}
	return "the registry's certificate, until " + until
}
