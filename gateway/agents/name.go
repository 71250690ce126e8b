package agents

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid reports something that an agent cannot be. The text after it is for whoever
// asked for it.
var ErrInvalid = errors.New("invalid agent")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Name reads what an administrator calls an agent of a domain: its name alone, or its full
// address. The name's case is kept.
func Name(s, domain string) (string, error) {
	if s == "" {
		return "", invalid("address is required: a name such as sales, or sales@%s", domain)
	}
	name, of, full := strings.Cut(s, "@")
	if full && !strings.EqualFold(strings.TrimSuffix(of, "."), domain) {
		return "", invalid("address %.100q is not of this gateway's domain %s", s, domain)
	}
	if name == "" || len(name) > MaxName {
		return "", invalid("name %.70q must have 1 to %d characters", name, MaxName)
	}
	for _, c := range []byte(name) {
		if !nameChar(c) {
			return "", invalid("name %q: only letters, digits and - _ . are allowed", name)
		}
	}
	if strings.Trim(name, "-_.") != strings.TrimRight(name, "-_.") || strings.TrimRight(name, "-_.") != name {
		return "", invalid("name %q must begin and end with a letter or a digit", name)
	}
	if strings.Contains(name, "..") {
		return "", invalid("name %q has two dots in a row, which no address has", name)
	}
	return name, nil
}

// name is Name by the rules of this gateway.
func (d *Directory) name(s string) (string, error) {
	if name, _, full := strings.Cut(s, "@"); full && d.cfg.BareNames {
		return "", invalid("only agent names are taken, not full addresses: write %.70q instead of %.100q", name, s)
	}
	return Name(s, d.cfg.Domain)
}

func nameChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// folded is how two names are compared.
func folded(name string) string { return strings.ToLower(name) }

// local is the name in an agent's address.
func local(address string) string {
	name, _, _ := strings.Cut(address, "@")
	return name
}
