package wire

// The codes of revocations and certificates.
const (
	CodeRevoked Code = "revoked" // 403: the caller's key left for ever
)

// Reason is why an agent, or a certificate, was revoked.
type Reason string

// The reasons of 0.2.
const (
	ReasonKeyCompromise Reason = "key_compromise"
	ReasonViolation     Reason = "policy_violation"
	ReasonSuperseded    Reason = "superseded"
	ReasonCessation     Reason = "cessation_of_operation"
	ReasonWithdrawn     Reason = "privilege_withdrawn"
	ReasonAdmin         Reason = "admin_request"
	ReasonOther         Reason = "other"
)

// Valid reports whether r is one of the reasons.
func (r Reason) Valid() bool {
	switch r {
	case ReasonKeyCompromise, ReasonViolation, ReasonSuperseded, ReasonCessation, ReasonWithdrawn, ReasonAdmin, ReasonOther:
		return true
	}
	return false
}

// MaxNotes is the longest note on a revocation in bytes, and MaxBulk how many AMIDs one
// request may ask about.
const (
	MaxNotes = 1024
	MaxBulk  = 100
)

// RevokeRequest is the body of POST /v1/registry/revoke.
type RevokeRequest struct {
	AMID        string  `json:"amid"`
	Reason      Reason  `json:"reason"`
	Notes       *string `json:"notes,omitempty"`
	RevokerAMID string  `json:"revoker_amid"`
	// Statement is the base64 of what the key itself signed when it left
	// (session.md §2.8), for peers to see; only where both AMIDs are the same.
	Statement string `json:"statement,omitempty"`
	Stamp
}

// RevokeReply is the answer, whatever the status.
type RevokeReply struct {
	Success      bool    `json:"success"`
	RevocationID *string `json:"revocation_id"`
	Error        *string `json:"error"`
	Code         Code    `json:"code,omitempty"`
}

// Revocation is the end of an agent.
type Revocation struct {
	ID        string  `json:"id"`
	AMID      string  `json:"amid"`
	Reason    Reason  `json:"reason"`
	RevokedBy string  `json:"revoked_by"`
	RevokedAt Time    `json:"revoked_at"`
	Notes     *string `json:"notes"`
}

// RevocationStatus answers GET /v1/registry/revocation, and stands in lists.
type RevocationStatus struct {
	AMID       string      `json:"amid"`
	Revoked    bool        `json:"revoked"`
	Revocation *Revocation `json:"revocation"`
}

// BulkRequest is the body of POST /v1/registry/revocations/bulk.
type BulkRequest struct {
	AMIDs []string `json:"amids"`
}

// BulkReply is the answer. It is signed: see SignedReply.
type BulkReply struct {
	Revocations  []RevocationStatus `json:"revocations"`
	TotalChecked int                `json:"total_checked"`
	TotalRevoked int                `json:"total_revoked"`
	SignedReply
}

// RevocationList answers GET /v1/registry/revocations. It is signed.
type RevocationList struct {
	Revocations []Revocation `json:"revocations"`
	Total       int          `json:"total"`
	LastUpdated Time         `json:"last_updated"`
	NextUpdate  Time         `json:"next_update"`
	SignedReply
}

// SignedReply is what a signed answer says of itself. The signature is one more member,
// the last: see package certificate.
type SignedReply struct {
	IssuerKey string `json:"issuer_key"` // the registry's root key
	IssuedAt  Time   `json:"issued_at"`
}

// StatementRequest is the body of POST /v1/amesh/revocations: a statement needs no
// other signature.
type StatementRequest struct {
	Statement string `json:"statement"`
}

// StatementReply answers GET /v1/amesh/revocations/{amid}.
type StatementReply struct {
	AMID      string `json:"amid"`
	Statement string `json:"statement"` // base64 of the bytes as they came
}

// RevocationFeed answers GET /v1/amesh/revocations: what changed since a cursor, for
// relays and nodes that keep a list of their own. It is signed.
type RevocationFeed struct {
	Changes []RevocationChange `json:"changes"`
	Cursor  int64              `json:"cursor"` // ask for what comes after it
	More    bool               `json:"more"`   // there is more already
	SignedReply
}

// RevocationChange says how it is with an agent now. One that was revoked can come again
// as not revoked: its key took back what others had done in its name.
type RevocationChange struct {
	AMID      string `json:"amid"`
	Revoked   bool   `json:"revoked"`
	Reason    Reason `json:"reason,omitempty"`
	RevokedAt *Time  `json:"revoked_at,omitempty"`
	Statement string `json:"statement,omitempty"`
}
