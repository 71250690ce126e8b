// Package redact takes out of a text what does not belong into other hands: secrets that
// it is told of, what looks like one, and, unless they are to stay, agents, nodes, names
// and IP addresses. Those become pseudonyms such as peer-1 and ip-2, the same for the same
// all over a report, so that what has to do with what can still be seen.
package redact

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"amesh/identity"
)

// Hidden stands where a secret was.
const Hidden = "(secret)"

// leastSecret is how long a text that is told as a secret must be, in bytes. A shorter one
// would be found everywhere.
const leastSecret = 6

// Mask redacts the texts of one report. The zero value is ready; it is for one goroutine.
type Mask struct {
	// Names leaves agents, nodes, names and addresses as they are.
	Names bool

	secrets []string
	words   []string          // names that are to be replaced, the longest first
	given   map[string]string // pseudonyms
	counts  map[string]int
	legend  []string
}

// Secret tells of a text that must not be in the report, in whatever place.
func (m *Mask) Secret(text string) {
	if text = strings.TrimSpace(text); len(text) >= leastSecret && !slices.Contains(m.secrets, text) {
		m.secrets = append(m.secrets, text)
		slices.SortFunc(m.secrets, longer)
	}
}

// Word tells of a name that becomes a pseudonym of a kind wherever it stands as a word.
func (m *Mask) Word(text, kind string) {
	if text != "" && !slices.Contains(m.words, text) {
		m.words = append(m.words, text)
		slices.SortFunc(m.words, longer)
		m.pseudonym(text, kind, "")
	}
}

// Agent tells of an agent by which kind it is named.
func (m *Mask) Agent(amid identity.AMID, kind string) { m.agent(amid, kind) }

func longer(a, b string) int { return len(b) - len(a) }

// Replaced is how many agents, nodes, names and addresses became pseudonyms.
func (m *Mask) Replaced() int { return len(m.legend) }

// Legend says what is known of each pseudonym, such as that it was a private address.
func (m *Mask) Legend() []string { return m.legend }

// pseudonym is the one for a text; what is said of it in the legend comes at its first use.
func (m *Mask) pseudonym(text, kind, about string) string {
	if p := m.given[text]; p != "" {
		return p
	}
	if m.given == nil {
		m.given, m.counts = make(map[string]string), make(map[string]int)
	}
	m.counts[kind]++
	p := fmt.Sprintf("%s-%d", kind, m.counts[kind])
	m.given[text] = p
	m.legend = append(m.legend, strings.TrimSuffix(p+": "+about, ": "))
	return p
}

// agent is the pseudonym of an agent, which its short form shares.
func (m *Mask) agent(amid identity.AMID, kind string) string {
	full, short := amid.String(), amid.Short()
	if p := m.given[short]; p != "" && m.given[full] == "" {
		m.given[full] = p // the short form was met first
	}
	p := m.pseudonym(full, kind, "")
	m.given[short] = p
	return p
}

// What looks like something that is to go. Base58 has neither 0 nor O, I and l.
var (
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"<>]+@`)
	query    = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'?<>]+\?)[^\s"'<>]+`)
	bearer   = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+`)
	labelled = regexp.MustCompile(`(?i)(pass(?:word|phrase)|secret|token|authorization|api[_-]?key|private[_-]?key)(["']?\s*[=:]\s*["']?)[^\s"',;}]+`)
	invite   = regexp.MustCompile(`(?i)\bamesh1[02-9ac-hj-np-z]{20,}`)
	ageKey   = regexp.MustCompile(`AGE-SECRET-KEY-[0-9A-Z-]+`)
	base58   = regexp.MustCompile(`\b[1-9A-HJ-NP-Za-km-z]{20,64}\b`)
	shortAM  = regexp.MustCompile(`[1-9A-HJ-NP-Za-km-z]{4}…[1-9A-HJ-NP-Za-km-z]{4}`)
	ip6      = regexp.MustCompile(`[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f.]{0,16}){2,7}`)
	ip4      = regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}\b`)
	blob     = regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}={0,2}`)
	hex      = regexp.MustCompile(`\b[0-9A-Fa-f]{32,}\b`)
)

// Code is a text of the program itself, such as a list of its functions, without the
// secrets that the Mask was told of. Nothing is guessed: what looks like a name is code.
func (m *Mask) Code(s string) string {
	for _, secret := range m.secrets {
		s = strings.ReplaceAll(s, secret, Hidden)
	}
	return s
}

// Text is a text without what is to go.
func (m *Mask) Text(s string) string {
	s = m.Code(s)
	s = userinfo.ReplaceAllString(s, "${1}"+Hidden+"@")
	s = query.ReplaceAllString(s, "${1}"+Hidden)
	s = bearer.ReplaceAllString(s, "${1} "+Hidden)
	s = labelled.ReplaceAllStringFunc(s, m.label)
	s = invite.ReplaceAllString(s, "(invite)")
	s = ageKey.ReplaceAllString(s, Hidden)
	if !m.Names {
		s = base58.ReplaceAllStringFunc(s, m.identifier)
		s = shortAM.ReplaceAllStringFunc(s, func(t string) string { return m.pseudonym(t, "peer", "") })
		for _, word := range m.words {
			s = replaceWord(s, word, m.given[word])
		}
		s = ip6.ReplaceAllStringFunc(s, m.address)
		s = ip4.ReplaceAllStringFunc(s, m.address)
	}
	s = blob.ReplaceAllStringFunc(s, m.unknown)
	return hex.ReplaceAllString(s, "(hex)")
}

// label hides what stands behind a word such as password. Numbers and words of JSON are
// no secrets.
func (m *Mask) label(t string) string {
	parts := labelled.FindStringSubmatch(t)
	switch value := t[len(parts[1])+len(parts[2]):]; value {
	case "true", "false", "null", "[", "{", "[]", "{}", Hidden:
		return t
	}
	return parts[1] + parts[2] + Hidden
}

// identifier is the pseudonym of an AMID or of a libp2p peer id.
func (m *Mask) identifier(t string) string {
	if strings.HasPrefix(t, "12D3KooW") || strings.HasPrefix(t, "Qm") && len(t) == 46 {
		return m.pseudonym(t, "node", "libp2p")
	}
	amid, err := identity.ParseAMID(t)
	if err != nil || amid.String() != t {
		return t
	}
	return m.agent(amid, "peer")
}

// address is the pseudonym of an IP address. The unspecified one tells nothing.
func (m *Mask) address(t string) string {
	ip, err := netip.ParseAddr(t)
	if rest := strings.TrimRight(t, ".:"); err != nil && rest != t { // the end of a sentence
		return m.address(rest) + t[len(rest):]
	}
	if err != nil || ip.IsUnspecified() {
		return t
	}
	about := "IPv4"
	if ip.Is6() && !ip.Is4In6() {
		about = "IPv6"
	}
	switch plain := ip.Unmap(); {
	case plain.IsLoopback():
		about += ", loopback"
	case plain.IsPrivate(), plain.IsLinkLocalUnicast():
		about += ", private"
	}
	return m.pseudonym(t, "ip", about)
}

// unknown hides what looks like a key: letters of both cases and digits in a row. A path
// or a name in code does not.
func (m *Mask) unknown(t string) string {
	if strings.ContainsFunc(t, func(r rune) bool { return r >= '0' && r <= '9' }) &&
		strings.ContainsFunc(t, func(r rune) bool { return r >= 'a' && r <= 'z' }) &&
		strings.ContainsFunc(t, func(r rune) bool { return r >= 'A' && r <= 'Z' }) {
		return "(key)"
	}
	return t
}

// replaceWord replaces a text where no letter or digit stands beside it.
func replaceWord(s, word, by string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, word)
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		end := i + len(word)
		if i > 0 && inWord(s[i-1]) || end < len(s) && inWord(s[end]) {
			b.WriteString(s[:end])
		} else {
			b.WriteString(s[:i] + by)
		}
		s = s[end:]
	}
}

func inWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c >= 0x80
}
