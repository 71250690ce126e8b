package registry

import (
	"github.com/danielgtaylor/huma/v2"

	"amesh/registry/wire"
)

// describeTrust describes revocations and certificates.
func describeTrust(api huma.API) {
	document[struct {
		Since int64 `query:"since" minimum:"0" doc:"cursor of the answer before"`
		Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
	}, answers[wire.RevocationFeed]](api, get("/v1/amesh/revocations", "revocations", "What changed among the revoked agents",
		"For relays and nodes that keep a list of their own. Signed by the root key, with a last member signature."), "")
	document[struct {
		Body wire.StatementRequest
	}, answers[wire.RevokeReply]](api, post("/v1/amesh/revocations", "put-revocation", "Bring the statement of a key that left",
		"Whoever has the statement may bring it: it is signed by the key itself."), "")
	document[OfAgent, answers[wire.StatementReply]](api, get("/v1/amesh/revocations/{amid}", "revocation",
		"The statement of a key that left, as it signed it", "Verify it."), "")
	document[struct{}, answers[wire.CertificateList]](api, get("/v1/amesh/crl", "crl", "The certificates that were taken back", "Signed by the root key. Older than 24 hours it proves nothing."), "")
	document[struct{}, answers[wire.RootReply]](api, get("/v1/amesh/certificates/root", "root-key", "The registry's root key",
		"Whoever believes it because of this answer believes the connection."), "")
	document[OfAgent, answers[wire.CertificateReply]](api, get("/v1/amesh/certificates/{amid}", "certificate",
		"An agent's best certificate, also in the form that a knock carries", "Verify it."), "")
	document[struct {
		SignedBy
		Body wire.RevokeCertificateRequest
	}, answers[wire.Done]](api, post("/v1/amesh/certificates/revoke", "revoke-certificate", "Give back a certificate of one's own", ""), "")
}
