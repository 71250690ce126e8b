package main

import (
	"fmt"
	"strings"

	"amesh/identity"
	"amesh/node/api"
)

// peerArg reads what names another agent: an AMID or a DID, which is checked here, or the
// name of a contact, which only the node knows.
func peerArg(s string) (string, error) {
	amid, err := identity.ParseAMID(s)
	if err == nil {
		return amid.String(), nil
	}
	// An AMID has capitals, a name has none.
	if s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == "" {
		return s, nil
	}
	if !likeAMID(s) {
		return "", (&failure{exit: exitNotFound, code: string(api.CodeNotFound), message: fmt.Sprintf("nobody goes by the name %.80q here", s)}).
			next("amesh contacts shows the names of contacts; amesh lookup NAME finds the AMID of others")
	}
	return "", err
}

// likeAMID reports whether somebody meant an AMID or a DID: one long word without a sign.
func likeAMID(s string) bool {
	if strings.HasPrefix(s, "did:") {
		return true
	}
	return len(s) >= identity.AMIDSize && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	})
}
