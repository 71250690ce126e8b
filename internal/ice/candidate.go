package ice

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	pion "github.com/pion/ice/v3"

	"amesh/internal/reach"
)

// Description is what the two sides of an attempt tell each other, sealed within their
// session.
type Description struct {
	Ufrag    string // 4 to 256 letters, digits, + and /
	Password string // 22 to 256 of them
	// Candidates are addresses as ICE writes them (RFC 8839 §5.1, without "candidate:"),
	// each up to 200 bytes.
	Candidates []string
}

var errCandidate = errors.New("want FOUNDATION COMPONENT udp PRIORITY ADDRESS PORT typ host|srflx")

// check looks at the form of the names, which stand in every message of the attempt.
func (d Description) check() error {
	if !iceChars(d.Ufrag, 4, 256) {
		return fmt.Errorf("ufrag of %d bytes: want 4 to 256 letters, digits, + and /", len(d.Ufrag))
	}
	if !iceChars(d.Password, 22, 256) {
		return fmt.Errorf("password of %d bytes: want 22 to 256 letters, digits, + and /", len(d.Password))
	}
	return nil
}

// iceChars reports whether s consists of the characters that RFC 8839 allows.
func iceChars(s string, from, to int) bool {
	return len(s) >= from && len(s) <= to && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '/'
	})
}

// candidate is an address of one side.
type candidate struct {
	at   netip.AddrPort
	kind pion.CandidateType // host or srflx
}

// parseCandidate reads one candidate. Only UDP and numeric addresses are taken; what the
// peer says about priorities is not, since it is for us to know what we prefer.
func parseCandidate(text string) (candidate, error) {
	if len(text) > maxCandidateText {
		return candidate{}, fmt.Errorf("candidate of %d bytes: want up to %d", len(text), maxCandidateText)
	}
	w := strings.Split(text, " ")
	if len(w) < 8 || w[1] != "1" || w[2] != "udp" || w[6] != "typ" || !iceChars(w[0], 1, 32) {
		return candidate{}, errCandidate
	}
	if _, err := strconv.ParseUint(w[3], 10, 31); err != nil {
		return candidate{}, errCandidate
	}
	ip, err := netip.ParseAddr(w[4])
	if err != nil || ip.Zone() != "" || ip.Is4In6() || ip.String() != w[4] {
		return candidate{}, errCandidate
	}
	port, err := strconv.ParseUint(w[5], 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != w[5] {
		return candidate{}, errCandidate
	}
	c := candidate{at: netip.AddrPortFrom(ip, uint16(port))}
	switch w[7] {
	case "host":
		c.kind = pion.CandidateTypeHost
	case "srflx":
		c.kind = pion.CandidateTypeServerReflexive
	default:
		return candidate{}, errCandidate
	}
	return c, nil
}

// pion makes pion's form of the candidate.
func (c candidate) pion() (pion.Candidate, error) {
	ip, port := c.at.Addr().String(), int(c.at.Port())
	if c.kind == pion.CandidateTypeHost {
		return pion.NewCandidateHost(&pion.CandidateHostConfig{Network: "udp", Address: ip, Port: port, Component: pion.ComponentRTP})
	}
	// The address behind the mapping is the peer's no business, and without it the text
	// is complete.
	return pion.NewCandidateServerReflexive(&pion.CandidateServerReflexiveConfig{Network: "udp", Address: ip, Port: port, Component: pion.ComponentRTP})
}

// text is the form that parseCandidate reads.
func (c candidate) text() (string, error) {
	p, err := c.pion()
	if err != nil {
		return "", err
	}
	return p.Marshal(), nil
}

// pick returns the candidates that may be tried, each address once, and why the others may
// not. Those beyond the limit are not even looked at.
func pick(texts []string, rules reach.Rules, limit int) (list []candidate, refused []string) {
	seen := make(map[netip.AddrPort]bool)
	for i, text := range texts {
		if i == limit {
			return list, append(refused, fmt.Sprintf("%d more than the %d that are looked at", len(texts)-limit, limit))
		}
		no := func(reason string) { refused = append(refused, reason) }
		c, err := parseCandidate(text)
		switch {
		case err != nil:
			no(err.Error())
		case seen[c.at]:
		case !rules.Allow(c.at.Addr()) && reach.Private(c.at.Addr()):
			no("private address of a network that we are not in")
		case !rules.Allow(c.at.Addr()):
			no("address that no node has")
		default:
			seen[c.at] = true
			list = append(list, c)
		}
	}
	return list, refused
}
