// Package quickstart says what the owner of a domain has to publish, and looks whether
// the world sees it: the record of the gateway, that of its signing key, an address,
// and behind it a gateway with a valid certificate that answers as ours.
//
// Every check ends with a Finding, which says what was found and what to do. Checks
// that need what another one missed are skipped. Nothing is changed anywhere.
package quickstart
