package node

import (
	"context"
	"encoding/json"

	"amesh/identity"
	"amesh/node/api"
)

// setKey notes the agent's signing key. Every source proves the same one: the AMID is
// made of it.
func setKey(l *api.Lookup, key identity.PublicKey, from string) {
	if l.SigningKey == "" {
		l.SigningKey, l.KeyFrom, l.Fingerprint = key.Text(), from, digest(key[:])
	}
}

// setCard takes over a verified card, unless a newer one was found.
func setCard(l *api.Lookup, c *identity.Card, from string) {
	if l.Card != nil && l.Card.Sequence >= c.Sequence {
		return
	}
	l.Card = &api.LookupCard{From: from, Sequence: c.Sequence, Issued: c.Issued, Expires: c.Expires, CardContent: api.CardContent{
		Name: c.Name, Description: c.Description, Capabilities: c.Capabilities,
	}}
	if c.Name != "" {
		l.Name, l.NameFrom = c.Name, "card"
	}
}

// addDocument adds the agent's DID document: made here of a verified record, or where
// there is none, as a registry has it.
func (m *mesh) addDocument(ctx context.Context, l *api.Lookup, rec *identity.AgentRecord) {
	if rec != nil {
		relay := ""
		if len(rec.Relays) > 0 {
			relay = rec.Relays[0]
		}
		doc := identity.NewDIDDocument(rec.SigningKey, rec.Bundle.Certificate.Exchange, relay, rec.Created, rec.Created)
		if raw, err := json.Marshal(doc); err == nil {
			l.Document, l.DocumentBy = raw, "this node, of the record"
		}
		return
	}
	for _, line := range m.registries.all() {
		raw, key, err := line.client.Document(ctx, l.AMID)
		if err != nil || key.AMID() != l.AMID {
			continue
		}
		l.Document, l.DocumentBy = raw, line.client.URL()
		return
	}
}
