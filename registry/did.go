package registry

import (
	"net/http"

	"amesh/identity"
	"amesh/internal/timestamp"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// didSubject serves agents as DID documents.
func (s *Server) didSubject() {
	s.routes = append(s.routes, route{method: http.MethodGet, path: "/v1/registry/did/{amid}", read: s.didDocument})
}

// didDocument is a document in the shape of the 0.2 registry, where times have an
// explicit offset.
type didDocument struct {
	identity.DIDDocument
	Created string `json:"created"`
	Updated string `json:"updated"`
}

const (
	// contextMultikey defines the type of those keys that other tools can read.
	contextMultikey = "https://w3id.org/security/multikey/v1"
	typeMultikey    = "Multikey"
	suffixMultikey  = "-multikey"
)

func (s *Server) didDocument(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return reply{}, wire.NotFound("DID not found")
	}
	var a db.Agent
	err = r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		a, err = tx.Agent(who)
		return err
	})
	if err != nil {
		return reply{}, orNotFound(err, "DID not found")
	}
	return reply{contentType: "application/did+ld+json", body: documentOf(a)}, nil
}

// documentOf has each key twice: as the 0.2 registry writes it, a z in front of the
// text with its prefix, which is no multibase, and beside it as a Multikey, which is.
func documentOf(a db.Agent) didDocument {
	doc := identity.NewDIDDocument(a.SigningKey, a.ExchangeKey, a.RelayEndpoint, a.Created, a.Updated)
	legacy := []string{wire.SigningKeyText(a.SigningKey, true), wire.ExchangeKeyText(a.ExchangeKey, true)}
	for i, m := range doc.VerificationMethod[:len(legacy)] {
		doc.VerificationMethod[i].PublicKeyMultibase = "z" + legacy[i]
		m.ID, m.Type = m.ID+suffixMultikey, typeMultikey
		doc.VerificationMethod = append(doc.VerificationMethod, m)
	}
	doc.Context = append(doc.Context, contextMultikey)
	doc.Authentication = append(doc.Authentication, doc.Authentication[0]+suffixMultikey)
	doc.KeyAgreement = append(doc.KeyAgreement, doc.KeyAgreement[0]+suffixMultikey)
	return didDocument{DIDDocument: doc, Created: timestamp.Rerender(a.Created), Updated: timestamp.Rerender(a.Updated)}
}
