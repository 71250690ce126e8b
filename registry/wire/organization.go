package wire

// The codes of organisations.
const (
	CodeDomainInvalid  Code = "domain_invalid"  // 400: not a domain that an organisation can have
	CodeDomainTaken    Code = "domain_taken"    // 409: it belongs to a verified organisation
	CodeNameInvalid    Code = "name_invalid"    // 400
	CodeNameTaken      Code = "name_taken"      // 409: a verified organisation has this name
	CodeNameConfusable Code = "name_confusable" // 400, 409: it is taken for something else
	CodeNotAdmin       Code = "not_admin"       // 401
	CodeNotVerified    Code = "not_verified"    // 400: the DNS step comes first
	CodeNoConsent      Code = "no_consent"      // 403: the agent has not agreed
	CodeTooManyClaims  Code = "too_many_claims" // 409: unanswered ones of one administrator
)

// OrganizationRequest is the body of POST /v1/org/register.
type OrganizationRequest struct {
	Name                  string `json:"name"`
	Domain                string `json:"domain"`
	AdminAMID             string `json:"admin_amid"`
	AdminSigningPublicKey string `json:"admin_signing_public_key,omitempty"`
	Stamp
}

// OrganizationReply is the answer, whatever the status.
type OrganizationReply struct {
	Success        bool          `json:"success"`
	OrganizationID *string       `json:"organization_id"`
	DNSChallenge   *DNSChallenge `json:"dns_challenge"`
	Error          *string       `json:"error"`
	Code           Code          `json:"code,omitempty"`
}

// DNSChallenge is the record that proves a domain.
type DNSChallenge struct {
	RecordType  string `json:"record_type"`
	RecordName  string `json:"record_name"`
	RecordValue string `json:"record_value"`
	ExpiresAt   Time   `json:"expires_at"`
}

// OrganizationVerifyRequest is the body of POST /v1/org/verify.
type OrganizationVerifyRequest struct {
	OrganizationID string `json:"organization_id"`
	AdminAMID      string `json:"admin_amid"`
	Stamp
}

// OrganizationVerifyReply is the answer, whatever the status. Success without Verified:
// the record was not found, and Error says what was.
type OrganizationVerifyReply struct {
	Success         bool    `json:"success"`
	Verified        bool    `json:"verified"`
	RootCertificate *string `json:"root_certificate"`
	Error           *string `json:"error"`
	Code            Code    `json:"code,omitempty"`
	// DNSSEC says that the resolvers had checked the signatures of the zone.
	DNSSEC bool `json:"dnssec,omitempty"`
}

// MemberRequest is the body of POST /v1/org/agents. The agent is registered and has
// consented; its keys, name and capabilities are its own to change, so all but the
// signing key is ignored.
type MemberRequest struct {
	OrganizationID         string   `json:"organization_id"`
	AgentAMID              string   `json:"agent_amid"`
	AgentSigningPublicKey  string   `json:"agent_signing_public_key"`
	AgentExchangePublicKey string   `json:"agent_exchange_public_key,omitempty"`
	DisplayName            *string  `json:"display_name,omitempty"`
	Capabilities           []string `json:"capabilities,omitempty"`
	AdminAMID              string   `json:"admin_amid"`
	AdminSignature         string   `json:"admin_signature,omitempty"`
	Timestamp              string   `json:"timestamp,omitempty"`
}

// MemberReply is the answer, whatever the status.
type MemberReply struct {
	Success          bool    `json:"success"`
	AgentCertificate *string `json:"agent_certificate"`
	Error            *string `json:"error"`
	Code             Code    `json:"code,omitempty"`
}

// ConsentRequest is the body of POST /v1/amesh/org/consent and of POST
// /v1/amesh/org/leave, which the agent signs itself.
type ConsentRequest struct {
	AMID           string `json:"amid"`
	OrganizationID string `json:"organization_id"`
}

// RemoveMemberRequest is the body of POST /v1/amesh/org/remove.
type RemoveMemberRequest struct {
	OrganizationID string `json:"organization_id"`
	AgentAMID      string `json:"agent_amid"`
	AdminAMID      string `json:"admin_amid"`
}

// OrganizationInfo is the answer of GET /v1/org/lookup.
type OrganizationInfo struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Domain     string `json:"domain"`
	Verified   bool   `json:"verified"`
	AgentCount int    `json:"agent_count"`
	CreatedAt  Time   `json:"created_at"`
	DNSSEC     bool   `json:"dnssec,omitempty"`
}
