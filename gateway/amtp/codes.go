package amtp

// Code is a word of the closed list that tells a client what happened.
type Code string

// What a client sent.
const (
	CodeInvalidRequestFormat    Code = "INVALID_REQUEST_FORMAT"
	CodeValidationFailed        Code = "VALIDATION_FAILED"
	CodeMessageValidationFailed Code = "MESSAGE_VALIDATION_FAILED"
	CodeInvalidMessageID        Code = "INVALID_MESSAGE_ID"
	CodeInvalidTimestamp        Code = "INVALID_TIMESTAMP"
	CodeUnsupportedVersion      Code = "UNSUPPORTED_VERSION"
	CodeUnsupportedCoordination Code = "UNSUPPORTED_COORDINATION"
	CodePayloadTooLarge         Code = "PAYLOAD_TOO_LARGE" // 413
	CodeRequestTooLarge         Code = "REQUEST_TOO_LARGE"
	CodeInvalidLimit            Code = "INVALID_LIMIT"
	CodeInvalidOffset           Code = "INVALID_OFFSET"
	CodeInvalidSinceFormat      Code = "INVALID_SINCE_FORMAT"
	CodeInvalidStatus           Code = "INVALID_STATUS"
	CodeInvalidSender           Code = "INVALID_SENDER"
	CodeInvalidRecipient        Code = "INVALID_RECIPIENT"
	CodeIdempotencyConflict     Code = "IDEMPOTENCY_CONFLICT"
	CodeMessageIDConflict       Code = "MESSAGE_ID_CONFLICT"
	CodeNotFound                Code = "NOT_FOUND"          // no such path
	CodeMethodNotAllowed        Code = "METHOD_NOT_ALLOWED" // the path, but not with this method
)

// What is not there.
const (
	CodeMessageNotFound      Code = "MESSAGE_NOT_FOUND"
	CodeCapabilitiesNotFound Code = "CAPABILITIES_NOT_FOUND"
	CodeDomainNotFound       Code = "DOMAIN_NOT_FOUND"
	CodeAgentNotFound        Code = "AGENT_NOT_FOUND"
	CodeAgentUnknown         Code = "AGENT_UNKNOWN" // our domain has no such agent
)

// Who asks.
const (
	CodeMissingAuthorization        Code = "MISSING_AUTHORIZATION"
	CodeAccessDenied                Code = "ACCESS_DENIED"
	CodeAuthenticationRequired      Code = "AUTHENTICATION_REQUIRED"
	CodeAdminAuthenticationRequired Code = "ADMIN_AUTHENTICATION_REQUIRED"
	CodeAdminAccessDenied           Code = "ADMIN_ACCESS_DENIED"
	CodeAdminAuthNotConfigured      Code = "ADMIN_AUTH_NOT_CONFIGURED"
	CodeLocalSenderAuthRequired     Code = "LOCAL_SENDER_AUTH_REQUIRED"
	CodeSenderCredentialMismatch    Code = "SENDER_CREDENTIAL_MISMATCH"
	CodeSenderDomainMismatch        Code = "SENDER_DOMAIN_MISMATCH" // another domain is proven than the sender's
	CodeUnauthorized                Code = "UNAUTHORIZED"
	CodeForbidden                   Code = "FORBIDDEN"
	CodeInvalidCredentials          Code = "INVALID_CREDENTIALS"
	CodeTokenExpired                Code = "TOKEN_EXPIRED"
	CodeRelayUnsupported            Code = "RELAY_UNSUPPORTED" // neither the sender nor the recipient is ours
	CodeDomainBlocked               Code = "DOMAIN_BLOCKED"
	CodeRateLimitExceeded           Code = "RATE_LIMIT_EXCEEDED"
	CodeQuotaExceeded               Code = "QUOTA_EXCEEDED"
)

// Signatures of domains.
const (
	CodeSignatureRequired       Code = "SIGNATURE_REQUIRED"
	CodeSignatureInvalid        Code = "SIGNATURE_INVALID"
	CodeSignatureKeyUnavailable Code = "SIGNATURE_KEY_UNAVAILABLE"
)

// Agents, schemas and the queue.
const (
	CodeAgentRegistrationFailed   Code = "AGENT_REGISTRATION_FAILED"
	CodeAgentUnregistrationFailed Code = "AGENT_UNREGISTRATION_FAILED"
	CodeAgentUpdateFailed         Code = "AGENT_UPDATE_FAILED"
	CodeAgentKeyRotationFailed    Code = "AGENT_KEY_ROTATION_FAILED"
	CodeSchemaManagerUnavailable  Code = "SCHEMA_MANAGER_UNAVAILABLE"
	CodeInvalidSchemaID           Code = "INVALID_SCHEMA_ID"
	CodeSchemaAlreadyExists       Code = "SCHEMA_ALREADY_EXISTS"
	CodeSchemaRegistrationFailed  Code = "SCHEMA_REGISTRATION_FAILED"
	CodeSchemaListFailed          Code = "SCHEMA_LIST_FAILED"
	CodeSchemaNotFound            Code = "SCHEMA_NOT_FOUND"
	CodeSchemaUpdateFailed        Code = "SCHEMA_UPDATE_FAILED"
	CodeSchemaDeleteFailed        Code = "SCHEMA_DELETE_FAILED"
	CodeSchemaCheckFailed         Code = "SCHEMA_CHECK_FAILED"
	CodeSchemaNotSupported        Code = "SCHEMA_NOT_SUPPORTED"
	CodeSchemaValidationFailed    Code = "SCHEMA_VALIDATION_FAILED"
	CodeSchemaIncompatible        Code = "SCHEMA_INCOMPATIBLE"
)

// What went wrong here.
const (
	CodeProcessingFailed   Code = "PROCESSING_FAILED"
	CodeInternalError      Code = "INTERNAL_ERROR"
	CodeServiceUnavailable Code = "SERVICE_UNAVAILABLE"
)

// Deliveries: the error_code of a recipient.
const (
	CodeDeliveryFailed        Code = "DELIVERY_FAILED"
	CodeDiscoveryFailed       Code = "DISCOVERY_FAILED"
	CodeInvalidGateway        Code = "INVALID_GATEWAY"
	CodeMessageTooLarge       Code = "MESSAGE_TOO_LARGE"
	CodeContextCanceled       Code = "CONTEXT_CANCELED"
	CodeHTTPRequestFailed     Code = "HTTP_REQUEST_FAILED"
	CodeResponseReadFailed    Code = "RESPONSE_READ_FAILED"
	CodeClientError           Code = "CLIENT_ERROR"
	CodeServerError           Code = "SERVER_ERROR"
	CodeUnexpectedStatus      Code = "UNEXPECTED_STATUS"
	CodePayloadPrepareFailed  Code = "PAYLOAD_PREPARE_FAILED"
	CodeRequestCreationFailed Code = "REQUEST_CREATION_FAILED"
	CodeMissingPushTarget     Code = "MISSING_PUSH_TARGET"
	CodePushRequestFailed     Code = "PUSH_REQUEST_FAILED"
	CodePushDeliveryFailed    Code = "PUSH_DELIVERY_FAILED"
	CodeInvalidDeliveryMode   Code = "INVALID_DELIVERY_MODE"
	CodeSSRFBlocked           Code = "SSRF_BLOCKED"     // the address leads where we must not go
	CodeDeliveryExpired       Code = "DELIVERY_EXPIRED" // tried to the end of its time
)

// Names of the specification, for details.amtp_code and of peers.
const (
	CodeInvalidMessageFormat Code = "INVALID_MESSAGE_FORMAT"
	CodeRecipientUnavailable Code = "RECIPIENT_UNAVAILABLE"
	CodeRecipientNotFound    Code = "RECIPIENT_NOT_FOUND"
	CodeAuthenticationFailed Code = "AUTHENTICATION_FAILED"
	CodeTemporaryFailure     Code = "TEMPORARY_FAILURE"
	CodeCoordinationFailed   Code = "COORDINATION_FAILED"
)

// AMTP is the name that the specification has for c (AMTP §7), for
// details.amtp_code; empty where it has none.
func (c Code) AMTP() Code {
	switch c {
	case CodeInvalidRequestFormat, CodeValidationFailed, CodeMessageValidationFailed, CodeInvalidMessageID,
		CodeInvalidTimestamp, CodeIdempotencyConflict, CodeMessageIDConflict:
		return CodeInvalidMessageFormat
	case CodeUnsupportedVersion:
		return CodeUnsupportedVersion
	case CodePayloadTooLarge, CodeRequestTooLarge, CodeMessageTooLarge:
		return CodeMessageTooLarge
	case CodeInvalidRecipient, CodeRelayUnsupported:
		return CodeInvalidRecipient
	case CodeAgentUnknown:
		return CodeAgentUnknown
	case CodeSchemaValidationFailed, CodeSchemaNotSupported, CodeSchemaCheckFailed:
		return CodeSchemaValidationFailed
	case CodeMissingAuthorization, CodeAccessDenied, CodeAuthenticationRequired, CodeAdminAuthenticationRequired,
		CodeAdminAccessDenied, CodeAdminAuthNotConfigured, CodeLocalSenderAuthRequired, CodeSenderCredentialMismatch,
		CodeSenderDomainMismatch, CodeUnauthorized, CodeForbidden, CodeInvalidCredentials, CodeTokenExpired,
		CodeDomainBlocked, CodeSignatureRequired, CodeSignatureInvalid, CodeSignatureKeyUnavailable:
		return CodeAuthenticationFailed
	case CodeRateLimitExceeded, CodeQuotaExceeded:
		return CodeRateLimitExceeded
	case CodeDeliveryFailed, CodeDiscoveryFailed, CodeInvalidGateway, CodeHTTPRequestFailed, CodeResponseReadFailed,
		CodeClientError, CodeServerError, CodeUnexpectedStatus, CodeMissingPushTarget, CodePushRequestFailed,
		CodePushDeliveryFailed, CodeSSRFBlocked, CodeDeliveryExpired, CodeCapabilitiesNotFound:
		return CodeRecipientUnavailable
	case CodeProcessingFailed, CodeInternalError, CodeServiceUnavailable, CodeContextCanceled:
		return CodeTemporaryFailure
	case CodeUnsupportedCoordination:
		return CodeCoordinationFailed
	}
	return ""
}
