package wire

// CertificateReply answers GET /v1/amesh/certificates/{amid}.
type CertificateReply struct {
	AMID         string `json:"amid"`
	Tier         Tier   `json:"tier"`
	SerialNumber string `json:"serial_number"`
	Certificate  string `json:"certificate"` // as lookup has it
	Compact      string `json:"compact"`     // base64 of what a knock carries
	IssuedAt     Time   `json:"issued_at"`
	ExpiresAt    Time   `json:"expires_at"`
}

// RootReply answers GET /v1/amesh/certificates/root.
type RootReply struct {
	RootKey string `json:"root_key"`
}

// CertificateStatus answers GET /certificates/revocation/{serial}.
type CertificateStatus struct {
	SerialNumber string  `json:"serial_number"`
	Revoked      bool    `json:"revoked"`
	RevokedAt    *Time   `json:"revoked_at"`
	Reason       *Reason `json:"reason"`
}

// RevokeCertificateRequest is the body of POST /v1/amesh/certificates/revoke.
type RevokeCertificateRequest struct {
	AMID         string `json:"amid"`
	SerialNumber string `json:"serial_number"`
	Reason       Reason `json:"reason"`
	Stamp
}

// CertificateList answers GET /v1/amesh/crl. Package certificate makes and verifies it:
// its signature is over the bytes.
type CertificateList struct {
	Issuer     string               `json:"issuer"`
	IssuerKey  string               `json:"issuer_key"`
	NextUpdate Time                 `json:"next_update"`
	Number     uint64               `json:"number"`
	Revoked    []RevokedCertificate `json:"revoked"`
	ThisUpdate Time                 `json:"this_update"`
	Type       string               `json:"type"`
	Version    int                  `json:"version"`
	Signature  string               `json:"signature"`
}

// RevokedCertificate is a line of it.
type RevokedCertificate struct {
	Reason       Reason `json:"reason"`
	RevokedAt    Time   `json:"revoked_at"`
	SerialNumber string `json:"serial_number"`
}
