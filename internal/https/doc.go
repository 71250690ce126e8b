// Package https gives a server its certificates: from files, which are read again
// when they change, or from an ACME authority such as Let's Encrypt, which proves by
// challenges on the server's own ports that the names are its own.
package https

import "time"

const (
	// lookEvery is how often files are looked at, at most, when somebody connects.
	lookEvery = 10 * time.Second
	// checkEvery is how often the age of automatic certificates is looked at.
	checkEvery = 10 * time.Minute
	// maxDomains is how many names one server may ask certificates for.
	maxDomains = 100
)
