package schema

import (
	"errors"
	"fmt"
	"strings"
)

// ErrPattern reports text that is no pattern for identifiers.
var ErrPattern = errors.New("invalid schema pattern")

// Pattern picks identifiers. It is an identifier, a domain, domain.entity, or one
// of these with asterisks, each standing for any run of characters; "agntcy:" may
// be left out. The zero Pattern picks everything.
type Pattern struct{ text string }

// ParsePattern reads a pattern; the empty text picks everything. It returns
// ErrPattern for characters that no identifier has.
func ParsePattern(s string) (Pattern, error) {
	text := strings.TrimPrefix(s, Scheme)
	if len(text) > maxPattern {
		return Pattern{}, fmt.Errorf("%w: longer than %d bytes", ErrPattern, maxPattern)
	}
	for i := range len(text) {
		if c := text[i]; !labelByte(c) && c != '.' && c != '*' {
			return Pattern{}, fmt.Errorf("%w: %s (write agntcy:domain.entity.vN, a domain, domain.entity, or one of them with *)", ErrPattern, clip(s))
		}
	}
	return Pattern{text: text}, nil
}

// String returns the pattern without its scheme.
func (p Pattern) String() string { return p.text }

// Match reports whether p picks id.
func (p Pattern) Match(id ID) bool {
	if p.text == "" {
		return true
	}
	family := id.Family()
	return glob(p.text, family+"."+id.VersionText()) || glob(p.text, family) || glob(p.text, id.Domain)
}

// Supported is what an agent says it understands: an identifier, or a pattern
// with "agntcy:", at least one dot and an asterisk, such as agntcy:commerce.*.
type Supported struct {
	// ID is the identifier, when there is no asterisk.
	ID ID

	text string
}

// ParseSupported reads one entry of an agent's list. It returns ErrID or
// ErrPattern with what an entry looks like.
func ParseSupported(s string) (Supported, error) {
	if !strings.Contains(s, "*") {
		id, err := ParseID(s)
		return Supported{ID: id, text: s}, err
	}
	if s == Scheme+"*" {
		return Supported{}, fmt.Errorf("%w: wildcard schema cannot be just 'agntcy:*'", ErrPattern)
	}
	p, err := ParsePattern(s)
	if err != nil {
		return Supported{}, err
	}
	if !strings.HasPrefix(s, Scheme) || !strings.Contains(p.text, ".") {
		return Supported{}, fmt.Errorf("%w: %s (expected: agntcy:domain.*)", ErrPattern, clip(s))
	}
	return Supported{text: s}, nil
}

// Wildcard reports whether the entry has an asterisk.
func (s Supported) Wildcard() bool { return s.ID == ID{} }

// Match reports whether an agent with this entry understands id.
func (s Supported) Match(id ID) bool {
	if !s.Wildcard() {
		return s.ID == id
	}
	return glob(s.text, id.String())
}

// String returns the entry as it was written.
func (s Supported) String() string { return s.text }

// glob matches the whole of text. It goes back to the last asterisk only, so
// that no pattern costs more than len(pattern) times len(text).
func glob(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p, t = p+1, t+1
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
