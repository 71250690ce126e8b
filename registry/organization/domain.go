package organization

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

var (
	// ErrDomain reports text that is no domain an organisation can have.
	ErrDomain = errors.New("not a domain of an organisation")
	// ErrName reports text that is no name of an organisation.
	ErrName = errors.New("not a name of an organisation")
	// ErrConfusable reports a name or a domain that looks like something else.
	ErrConfusable = errors.New("looks like something else than it is")
)

// labels checks labels as a registry of domains would (IDNA2008), and maps nothing.
var labels = idna.New(idna.ValidateForRegistration(), idna.BidiRule())

// special are top-level domains that lead nowhere or not everywhere (RFC 6761 and
// its successors).
var special = []string{"alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"}

// Domain is a domain that an organisation may claim.
type Domain struct {
	// Name is its one spelling: A-labels in lower case, without a final dot.
	Name string
	// Skeleton is what it looks like; two domains of one skeleton are mistaken for
	// each other.
	Skeleton string
}

// ParseDomain reads a domain in its one spelling. It returns ErrDomain, with the
// spelling to use where there is one, or ErrConfusable.
func ParseDomain(text string) (Domain, error) {
	if text == "" || len(text) > maxDomain {
		return Domain{}, fmt.Errorf("%w: want 1 to %d bytes", ErrDomain, maxDomain)
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return Domain{}, fmt.Errorf("%w: it is an address", ErrDomain)
	}
	if ascii, err := labels.ToASCII(strings.ToLower(strings.TrimSuffix(text, "."))); err != nil || ascii != text {
		if err == nil && ascii != "" {
			return Domain{}, fmt.Errorf("%w: write it as %s", ErrDomain, ascii)
		}
		return Domain{}, fmt.Errorf("%w: it is not a domain name by IDNA2008", ErrDomain)
	}
	parts := strings.Split(text, ".")
	last := parts[len(parts)-1]
	for _, s := range special {
		if last == s {
			return Domain{}, fmt.Errorf("%w: nobody owns names under .%s", ErrDomain, s)
		}
	}
	if suffix, _ := publicsuffix.PublicSuffix(text); suffix == text {
		return Domain{}, fmt.Errorf("%w: others register names under it", ErrDomain)
	}
	skeleton, err := domainSkeleton(parts)
	if err != nil {
		return Domain{}, err
	}
	return Domain{Name: text, Skeleton: skeleton}, nil
}

// Registrable is the domain that somebody registered, and under which he has as many
// others as he likes: they are all of one owner.
func (d Domain) Registrable() string {
	name, err := publicsuffix.EffectiveTLDPlusOne(d.Name)
	if err != nil {
		return d.Name // a suffix itself, which ParseDomain refuses
	}
	return name
}

// domainSkeleton looks at the labels as people see them.
func domainSkeleton(parts []string) (string, error) {
	ascii := !strings.HasPrefix(parts[len(parts)-1], "xn--")
	seen := make([]string, len(parts))
	for i, label := range parts {
		shown, err := labels.ToUnicode(label)
		if err != nil {
			return "", fmt.Errorf("%w: %.63q is not a label by IDNA2008", ErrDomain, label)
		}
		if !oneScript(shown) {
			return "", fmt.Errorf("%w: %s mixes scripts", ErrConfusable, label)
		}
		seen[i] = skeleton(shown)
		// A word of another script that could be read as a Latin one may stand under a
		// top-level domain of its own script, where nobody expects Latin.
		if shown != label && ascii && isASCII(seen[i]) {
			return "", fmt.Errorf("%w: %s reads like %q", ErrConfusable, label, seen[i])
		}
	}
	return strings.Join(seen, "."), nil
}
