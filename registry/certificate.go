package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// certificateSubject hands out certificates and says which were taken back.
func (s *Server) certificateSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/v1/amesh/crl", read: s.revocationList, cost: 5},
		route{method: http.MethodGet, path: "/v1/amesh/certificates/root", read: s.rootKey},
		route{method: http.MethodGet, path: "/v1/amesh/certificates/{amid}", read: s.certificateOf},
		route{method: http.MethodPost, path: "/v1/amesh/certificates/revoke", change: s.revokeCertificate,
			signer: signer{amid: "amid", unknown: http.StatusUnauthorized}},
		// The Python SDK asks under the registry's URL, with or without its /v1.
		route{method: http.MethodGet, path: "/certificates/revocation/{serial}", read: s.certificateStatus},
		route{method: http.MethodGet, path: "/v1/certificates/revocation/{serial}", read: s.certificateStatus},
	)
	s.describe = append(s.describe, s.describeCertificate)
	s.sweeps = append(s.sweeps, (*db.Tx).ExpireTiers, (*db.Tx).ForgetCertificates)
}

// describeCertificate completes what lookup says of an agent.
func (s *Server) describeCertificate(tx *db.Tx, out *wire.LookupReply, a db.Agent) error {
	c, err := tx.BestCertificate(a.AMID, s.cfg.Clock())
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	out.Certificate = c.Document
	return err
}

func (s *Server) rootKey(*request) (reply, error) {
	return reply{body: wire.RootReply{RootKey: s.trust.issuer.Root().Text()}}, nil
}

func (s *Server) certificateOf(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	var c db.Certificate
	err = r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		c, err = tx.BestCertificate(who, r.now)
		return err
	})
	if err != nil {
		return reply{}, orNotFound(err, "this agent has no certificate")
	}
	return reply{body: wire.CertificateReply{
		AMID: who.String(), Tier: c.Tier, SerialNumber: c.Serial, Certificate: c.Document,
		Compact: base64.StdEncoding.EncodeToString(c.Compact), IssuedAt: wire.Time{Time: c.Issued}, ExpiresAt: wire.Time{Time: c.Expires},
	}}, nil
}

func (s *Server) certificateStatus(r *request) (reply, error) {
	serial, err := certificate.ParseSerial(r.PathValue("serial"))
	if err != nil {
		return reply{}, wire.NotFound("no certificate has this serial number")
	}
	var c db.Certificate
	err = r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		c, err = tx.Certificate(serial.String())
		return err
	})
	if err != nil {
		return reply{}, orNotFound(err, "no certificate has this serial number")
	}
	out := wire.CertificateStatus{SerialNumber: c.Serial}
	if !c.Revoked.IsZero() {
		reason := wire.Reason(c.Reason)
		out.Revoked, out.RevokedAt, out.Reason = true, &wire.Time{Time: c.Revoked}, &reason
	}
	return reply{body: out}, nil
}

// revokeCertificate lets an agent give back a certificate of its own.
func (s *Server) revokeCertificate(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.RevokeCertificateRequest](r)
	if err != nil {
		return reply{}, err
	}
	serial, err := certificate.ParseSerial(body.SerialNumber)
	if err != nil {
		return reply{}, wire.Invalid("serial_number: want 32 lower-case hex digits")
	}
	if !body.Reason.Valid() {
		return reply{}, wire.Invalid("reason: %.40q is none", string(body.Reason))
	}
	c, err := tx.Certificate(serial.String())
	if err != nil {
		return reply{}, orNotFound(err, "no certificate has this serial number")
	}
	if c.AMID != r.by.amid {
		return reply{}, wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "this certificate is of another agent")
	}
	err = tx.RevokeCertificate(c.Serial, string(body.Reason), r.now)
	if errors.Is(err, db.ErrDuplicate) {
		return reply{}, wire.Errorf(http.StatusConflict, wire.CodeConflict, "the certificate is revoked already")
	}
	return reply{body: wire.Done{Success: true}}, err
}

// listLife is how old the revocation list may be that is served: an hour is promised,
// and who fetches one should have most of it left.
const listLife = 15 * time.Minute

// revocationList serves the newest list, and makes one when that is old or something
// was revoked since. What is served is in the database, so all instances serve the same
// and no number comes twice.
func (s *Server) revocationList(r *request) (reply, error) {
	var document []byte
	var good bool
	err := r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		document, _, good, err = currentList(tx, r.now)
		return err
	})
	if err == nil && !good {
		err = r.db.Write(r.Context(), func(tx *db.Tx) (err error) {
			document, err = s.renewList(tx, r.now)
			return err
		})
	}
	return reply{body: json.RawMessage(document)}, err
}

// currentList is the list in the database, its number, and whether it may be served.
func currentList(tx *db.Tx, now time.Time) (document []byte, number uint64, good bool, err error) {
	document, number, revoked, issued, err := tx.RevocationList()
	if errors.Is(err, db.ErrNotFound) {
		return nil, 0, false, nil
	}
	if err != nil {
		return nil, 0, false, err
	}
	n, err := tx.CountRevoked()
	age := now.Sub(issued)
	return document, number, n == revoked && age >= 0 && age < listLife, err
}

func (s *Server) renewList(tx *db.Tx, now time.Time) ([]byte, error) {
	document, number, good, err := currentList(tx, now)
	if err != nil || good {
		return document, err
	}
	lines, err := tx.RevokedCertificates(now)
	if err != nil {
		return nil, err
	}
	n, err := tx.CountRevoked()
	if err != nil {
		return nil, err
	}
	document, err = s.trust.issuer.IssueList(number+1, lines)
	if err != nil {
		return nil, err
	}
	return document, tx.PutRevocationList(document, number+1, n, now)
}
