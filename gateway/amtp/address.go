package amtp

import (
	"errors"
	"fmt"
	"strings"
)

// ErrAddress reports text that is no address, or no domain.
var ErrAddress = errors.New("not an address")

// Address is local@domain. Local keeps its case, as the domain's owner may tell
// Bob from bob; Domain is in lower case and without a final dot.
type Address struct{ Local, Domain string }

// ParseAddress reads a bare address: a dot-atom in ASCII, an @ and a host name.
// Display names, quoted local parts, comments, address literals and names that
// are not ASCII (write them as xn--…) are refused with ErrAddress.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, fmt.Errorf("%w: no @ in it", ErrAddress)
	}
	if err := checkLocal(s[:at]); err != nil {
		return Address{}, err
	}
	domain, err := ParseDomain(s[at+1:])
	if err != nil {
		return Address{}, err
	}
	return Address{s[:at], domain}, nil
}

// ParseDomain reads a host name and returns it in lower case without a final dot.
// It takes single labels such as localhost, and dotted IPv4 addresses.
func ParseDomain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > MaxDomain {
		return "", fmt.Errorf("%w: a domain has 1 to %d characters", ErrAddress, MaxDomain)
	}
	label := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if label == 0 || s[i-1] == '-' {
				return "", fmt.Errorf("%w: a label of the domain is empty or ends with a hyphen", ErrAddress)
			}
			label = 0
			continue
		case c == '-' && label == 0:
			return "", fmt.Errorf("%w: a label of the domain begins with a hyphen", ErrAddress)
		case c != '-' && !alphanumeric(c):
			return "", fmt.Errorf("%w: a domain has letters, digits, hyphens and dots", ErrAddress)
		}
		if label++; label > MaxLabel {
			return "", fmt.Errorf("%w: a label of the domain is longer than %d", ErrAddress, MaxLabel)
		}
	}
	if label == 0 || s[len(s)-1] == '-' {
		return "", fmt.Errorf("%w: a label of the domain is empty or ends with a hyphen", ErrAddress)
	}
	return strings.ToLower(s), nil
}

func checkLocal(s string) error {
	if s == "" || len(s) > MaxLocal {
		return fmt.Errorf("%w: the part before the @ has 1 to %d characters", ErrAddress, MaxLocal)
	}
	if s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return fmt.Errorf("%w: a dot stands between two characters", ErrAddress)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) < 0 {
			return fmt.Errorf("%w: a character before the @ that may not stand there", ErrAddress)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// String is local@domain.
func (a Address) String() string {
	if a == (Address{}) {
		return ""
	}
	return a.Local + "@" + a.Domain
}

// Folded is the address in lower case: under it our own agents are looked up, of
// whom no two differ in case only.
func (a Address) Folded() string { return strings.ToLower(a.String()) }
