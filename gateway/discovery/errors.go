package discovery

import (
	"errors"
	"fmt"

	"amesh/gateway/amtp"
)

var (
	// ErrNoRecord reports a domain without a record: the DNS says so.
	ErrNoRecord = errors.New("no record")
	// ErrNoAnswer reports that no resolver answered: asking later may help.
	ErrNoAnswer = errors.New("no answer")
	// ErrRecord reports a record that cannot be used.
	ErrRecord = errors.New("the record is wrong")
)

// LookupError says why a name was not found. It is one of ErrNoRecord, ErrNoAnswer and
// ErrRecord.
type LookupError struct {
	Name string // the domain, or the name that was asked for
	Code amtp.Code
	// Text is for senders: what is wrong, and what helps. No resolver's address is in it.
	Text string
	// Detail is for the operator's log, with the addresses. It may be empty.
	Detail string

	kind error
}

// Error is for senders too.
func (e *LookupError) Error() string { return e.Name + ": " + e.Text }

// Unwrap is one of the package's errors.
func (e *LookupError) Unwrap() error { return e.kind }

// Temporary reports whether asking later may help.
func (e *LookupError) Temporary() bool { return e.kind == ErrNoAnswer }

// absent is the error for a domain of which it is known that it has no gateway.
func absent(domain, why string) *LookupError {
	return &LookupError{Name: domain, Code: amtp.CodeDiscoveryFailed, kind: ErrNoRecord,
		Text: fmt.Sprintf("no AMTP gateway: %s; its owner publishes one as TXT record _amtp.%s", why, domain)}
}

// missing is the error for a name without TXT records.
func missing(name string) *LookupError {
	return &LookupError{Name: name, Code: amtp.CodeDiscoveryFailed, kind: ErrNoRecord, Text: "there is no such TXT record"}
}

// wrong is the error for a record that is there and cannot be used.
func wrong(name string, code amtp.Code, why string) *LookupError {
	return &LookupError{Name: name, Code: code, kind: ErrRecord,
		Text: fmt.Sprintf("the TXT record _amtp.%s cannot be used: %s; it has to look like v=amtp1;gateway=https://HOST", name, why)}
}

// silent is the error for a name about which no resolver says anything.
func silent(name, detail string) *LookupError {
	return &LookupError{Name: name, Code: amtp.CodeDiscoveryFailed, kind: ErrNoAnswer, Detail: detail,
		Text: "the DNS does not answer now; trying again later may help"}
}

// of is the error about the record of a domain's gateway, told of the domain.
func (e *LookupError) of(domain string) error {
	if e.kind == ErrNoRecord {
		return absent(domain, "there is no such record")
	}
	told := *e
	told.Name = domain
	return &told
}
