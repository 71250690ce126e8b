package signature

import (
	"fmt"
	"net/http"

	"amesh/gateway/amtp"
)

// Policy is what follows when a message of another domain is not verified.
type Policy string

const (
	Accept Policy = "accept" // nothing follows
	Flag   Policy = "flag"   // nothing, but readers are told in sender_verification
	Reject Policy = "reject" // the message is refused
)

// ParsePolicy reads a policy of the configuration; empty is Flag.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case "":
		return Flag, nil
	case Accept, Flag, Reject:
		return p, nil
	}
	return "", fmt.Errorf("verify policy %.20q: write accept, flag or reject", s)
}

// Refuse is the error for a message that the policy does not let in, nil for one
// that it does. Why a signature does not hold is told in one word.
func (p Policy) Refuse(v amtp.Verification) *amtp.Error {
	if p != Reject {
		return nil
	}
	var e *amtp.Error
	switch v.Result {
	case amtp.Unsigned:
		e = amtp.Errorf(http.StatusUnauthorized, amtp.CodeSignatureRequired,
			"this gateway takes messages of other domains only with their domain's signature; publish a key and sign")
	case amtp.Invalid:
		e = amtp.Errorf(http.StatusForbidden, amtp.CodeSignatureInvalid,
			"the signature of domain %.255s does not hold for this message", v.Domain)
	case amtp.KeyUnavailable:
		e = amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeSignatureKeyUnavailable,
			"the key with which domain %.255s signed could not be had; look at its record, the message may be sent again", v.Domain)
		e.RetryAfter = NegativeTTL
	default:
		return nil
	}
	return e.With("reason", v.Reason)
}
