package peer

import "amesh/gateway/amtp"

// theirs is the code that we pass on for one that a gateway gave, or "" where it says
// nothing to our sender. signed says that what was refused had a signature.
func theirs(code string, signed bool) amtp.Code {
	switch c := amtp.Code(code); c {
	case amtp.CodeAgentUnknown, amtp.CodeAgentNotFound:
		return amtp.CodeAgentUnknown
	case amtp.CodePayloadTooLarge, amtp.CodeRequestTooLarge, amtp.CodeMessageTooLarge:
		return amtp.CodeMessageTooLarge
	case "SIGNATURE_REJECTED": // agentry's word for a missing one and for a wrong one
		if signed {
			return amtp.CodeSignatureInvalid
		}
		return amtp.CodeSignatureRequired
	case "SIGNING_KEY_UNAVAILABLE": // agentry's too
		return amtp.CodeSignatureKeyUnavailable
	case amtp.CodeSignatureRequired, amtp.CodeSignatureInvalid, amtp.CodeSignatureKeyUnavailable,
		amtp.CodeRecipientNotFound, amtp.CodeRecipientUnavailable, amtp.CodeInvalidRecipient,
		amtp.CodeSchemaValidationFailed, amtp.CodeSchemaNotSupported, amtp.CodeSchemaCheckFailed,
		amtp.CodeUnsupportedVersion, amtp.CodeUnsupportedCoordination, amtp.CodeRelayUnsupported,
		amtp.CodeSenderDomainMismatch, amtp.CodeDomainBlocked, amtp.CodeIdempotencyConflict, amtp.CodeMessageIDConflict,
		amtp.CodeAuthenticationRequired, amtp.CodeAuthenticationFailed, amtp.CodeUnauthorized, amtp.CodeForbidden,
		amtp.CodeInvalidCredentials, amtp.CodeTokenExpired, amtp.CodeRateLimitExceeded, amtp.CodeQuotaExceeded:
		return c
	}
	return ""
}
