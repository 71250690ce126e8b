package main

import (
	"strings"

	"amesh/identity"
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
	return "", err
}
