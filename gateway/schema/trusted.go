package schema

import (
	"fmt"
	"strings"
)

// trusted is one entry of Config.Trusted.
type trusted struct {
	text   string
	local  string // empty for everybody
	domain string // lower case, without the asterisk
	below  bool   // the domains below domain, not domain itself
}

// parseTrusted reads agent@domain, *@domain, *@*.domain or a bare domain.
func parseTrusted(text string) (trusted, error) {
	t := trusted{text: text}
	local, domain, ok := strings.Cut(text, "@")
	if !ok {
		local, domain = "*", text
	}
	if local != "*" {
		t.local = local
	}
	t.domain, t.below = strings.CutPrefix(strings.ToLower(domain), "*.")
	if local == "" || t.domain == "" || strings.ContainsAny(t.local+t.domain, "*@ ") {
		return trusted{}, fmt.Errorf("trusted sender %q: want agent@domain, *@domain or *@*.domain", text)
	}
	return t, nil
}

func (t trusted) match(sender string) bool {
	at := strings.LastIndexByte(sender, '@')
	if at < 0 || t.local != "" && t.local != sender[:at] {
		return false
	}
	domain := strings.ToLower(sender[at+1:])
	if t.below {
		return strings.HasSuffix(domain, "."+t.domain)
	}
	return domain == t.domain
}
