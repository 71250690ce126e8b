package node

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/api"
	"amesh/registry/client"
	rwire "amesh/registry/wire"
)

// lookupTime is how long a lookup of the owner's may take. He wants to know what every
// source says, and so waits for all.
const lookupTime = 10 * time.Second

// Lookup implements api.Directory.
func (m *mesh) Lookup(ctx context.Context, agent, who string, document bool) (api.Lookup, error) {
	r, err := m.anyRoom(agent)
	if err != nil {
		return api.Lookup{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	amid, err := m.named(ctx, r, who)
	if err != nil {
		return api.Lookup{}, err
	}
	l := api.Lookup{AMID: amid, DID: amid.DID(), Tier: api.LookupTier{Tier: string(rwire.TierAnonymous)},
		Registries: []api.LookupRegistry{}, Sources: []api.Source{}}
	rec, err := m.lookUpRecord(ctx, r, &l)
	if err != nil {
		return l, err
	}
	m.lookUpRegistries(ctx, &l)
	if err := m.lookUpHere(r, &l); err != nil {
		return l, err
	}
	if l.SigningKey == "" && l.Revoked == nil && l.Known == nil {
		return l, unknownAgent(who, l.Sources)
	}
	if document {
		m.addDocument(ctx, &l, rec)
	}
	return l, nil
}

// anyRoom is the agent that a question is about; where it does not matter which, any is.
func (m *mesh) anyRoom(name string) (*room, error) {
	if name == "" && len(m.rooms) > 0 {
		return m.rooms[0], nil
	}
	return m.room(name)
}

func unknownAgent(who string, sources []api.Source) error {
	p := api.Problemf(http.StatusNotFound, api.CodeNotFound, "nobody knows %.80q", who).
		WithHint("check the AMID, or look for what it can do: amesh search")
	for _, s := range sources {
		if s.State == "failed" {
			return p.WithHint("%s did not answer (%s): try again later", s.Name, s.Error)
		}
	}
	return p
}

// named finds out whom a caller means: an AMID, a DID, one of our own agents, a contact
// by the name that its owner gave it, or whoever goes by that name at a registry.
func (m *mesh) named(ctx context.Context, of *room, who string) (identity.AMID, error) {
	if amid, err := identity.ParseAMID(who); err == nil {
		return amid, nil
	}
	for _, r := range m.rooms {
		if r.agent.Name == who {
			return r.agent.AMID(), nil
		}
	}
	if amid, err := of.agent.Resolve(who); err == nil {
		return amid, nil
	}
	var found []identity.AMID
	seen := make(map[identity.AMID]bool)
	for _, l := range m.registries.all() {
		page, err := l.client.Search(ctx, rwire.SearchQuery{Q: who, Limit: 50})
		l.heard(err)
		if err != nil {
			continue // another one may know
		}
		for _, row := range page.Items {
			if amid, err := identity.ParseAMID(row.AMID); err == nil && row.Name == who && !seen[amid] {
				seen[amid] = true
				found = append(found, amid)
			}
		}
	}
	switch len(found) {
	case 0:
		return identity.AMID{}, api.Problemf(http.StatusNotFound, api.CodeNotFound, "nobody goes by the name %.80q", who).
			WithHint("give the AMID or DID; its owner sees it with `amesh id`")
	case 1:
		return found[0], nil
	}
	return identity.AMID{}, api.Problemf(http.StatusConflict, api.CodeConflict, "%d agents go by the name %.80q, such as %s and %s", len(found), who, found[0], found[1]).
		WithHint("give the AMID; nobody vouches for names")
}

// lookUpRecord asks every book for the agent's record; nil where nobody has one.
func (m *mesh) lookUpRecord(ctx context.Context, r *room, l *api.Lookup) (*identity.AgentRecord, error) {
	var best *identity.AgentRecord
	from := ""
	all, err := m.directory(r).ask(ctx, l.AMID, lookupTime)
	if err != nil && !errors.Is(err, errNobodyAsked) {
		return nil, err
	}
	for _, one := range all {
		l.Sources = append(l.Sources, one.source())
	}
	if one := newest(all); one != nil {
		best, from = one.rec, one.from.name
	}
	old, fetched, err := r.agent.RememberedRecord(l.AMID)
	if err != nil {
		return nil, err
	}
	if old != nil && (best == nil || identity.Newer(old.Raw(), best.Raw()) > 0) {
		best, from = old, sourceCache
		l.Sources = append(l.Sources, api.Source{Name: sourceCache + ", fetched " + fetched.UTC().Format(time.RFC3339), State: "found"})
	}
	if best == nil {
		return nil, nil
	}
	setKey(l, best.SigningKey, from)
	b := best.Bundle
	l.Record = &api.LookupRecord{
		From: from, Sequence: best.Sequence, Created: best.Created, Expires: best.Expires, Relays: append([]string{}, best.Relays...),
		PeerIDs: best.PeerIDs, Addresses: best.Addresses, Epoch: b.Epoch, BundleSequence: b.Sequence, BundleExpires: b.Expires,
		ExchangeKey: base64.StdEncoding.EncodeToString(b.Certificate.Exchange[:]), ExchangeFingerprint: digest(b.Certificate.Exchange[:]),
	}
	return best, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// said is what one registry answered about an agent.
type said struct {
	line    *registryLine
	agent   client.Agent
	err     error
	card    *identity.Card
	cardErr error
	gone    *identity.Revocation
	goneErr error
}

// lookUpRegistries asks every registry what it says of the agent.
func (m *mesh) lookUpRegistries(ctx context.Context, l *api.Lookup) {
	lines := m.registries.all()
	all := make([]said, len(lines))
	var wg sync.WaitGroup
	for i, line := range lines {
		wg.Go(func() {
			s := said{line: line}
			s.agent, s.err = line.client.Lookup(ctx, l.AMID)
			line.heard(s.err)
			s.card, s.cardErr = line.client.Card(ctx, l.AMID)
			s.gone, s.goneErr = line.client.Revocation(ctx, l.AMID)
			all[i] = s
		})
	}
	wg.Wait()
	for _, s := range all {
		s.add(l)
	}
}

// add takes over what is proved, and lists the rest as the registry's word.
func (s said) add(l *api.Lookup) {
	url, now := s.line.client.URL(), s.line.clock()
	for code, err := range map[string]error{warnKey: s.err, warnCard: s.cardErr, warnRevocation: s.goneErr} {
		if errors.Is(err, client.ErrLie) {
			s.line.warnings.add(code, l.AMID, now)
			l.Sources = append(l.Sources, api.Source{Name: url, State: "refused", Error: err.Error(), Hint: client.Next(err)})
		}
	}
	if s.gone != nil && l.Revoked == nil {
		setKey(l, s.gone.SigningKey, url)
		l.Revoked, l.RevokedFrom = &api.Revocation{AMID: s.gone.AMID, Issued: s.gone.Issued, Reason: s.gone.Reason.String()}, url
		if s.gone.HasSuccessor() {
			heir := s.gone.Successor.AMID()
			l.Revoked.Successor = &heir
		}
	}
	if s.card != nil {
		setKey(l, s.card.SigningKey, url)
		setCard(l, s.card, url)
	}
	if s.err != nil {
		return
	}
	a := s.agent
	setKey(l, a.Key, url)
	one := api.LookupRegistry{URL: url, Name: a.Name, Organization: a.Organization, Tier: string(a.Tier), Ratings: a.Ratings, Flags: a.Flags,
		Capabilities: a.Capabilities, Relay: a.Relay, Status: string(a.Status), Revoked: a.Revoked, Reputation: &a.Reputation}
	if !a.LastSeen.IsZero() {
		one.LastSeen = &a.LastSeen
	}
	l.Registries = append(l.Registries, one)
	if l.Name == "" && a.Name != "" {
		l.Name, l.NameFrom = a.Name, url
	}
	s.line.judgeTier(l, a)
}

// lookUpHere adds what this node has to do with the agent.
func (m *mesh) lookUpHere(r *room, l *api.Lookup) error {
	for _, own := range m.rooms {
		if own.agent.AMID() == l.AMID {
			setKey(l, own.key.Public(), "this node")
			l.Name, l.NameFrom = own.agent.Name, "own"
		}
	}
	known, err := r.agent.Contacts()
	if err != nil {
		return err
	}
	for _, c := range known {
		if c.AMID != l.AMID {
			continue
		}
		l.Known = &c
		if c.Name != "" {
			l.Name, l.NameFrom = c.Name, "contact"
		}
		if c.Revoked != nil {
			l.Revoked, l.RevokedFrom = c.Revoked, "this node"
		}
	}
	return nil
}
