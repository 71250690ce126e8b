package quickstart

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"amesh/gateway/amtp"
)

// DNSRecord is one record to publish.
type DNSRecord struct {
	Name string // with the dot at its end
	Type string // TXT, or A/AAAA
	// Value is the text of a TXT record, and for an address a hint in words.
	Value string
	// For says what the record is for.
	For string
}

// String is the record as a line of a zone file. Texts longer than 255 bytes stand there in
// several strings, which readers join.
func (r DNSRecord) String() string {
	if r.Type != "TXT" {
		return fmt.Sprintf("%s IN %s %s", r.Name, r.Type, r.Value)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s IN TXT", r.Name)
	for text := r.Value; ; text = text[maxString:] {
		fmt.Fprintf(&b, " %s", quote(text[:min(len(text), maxString)]))
		if len(text) <= maxString {
			return b.String()
		}
	}
}

// maxString is the longest string in a TXT record, in bytes (RFC 1035 §3.3).
const maxString = 255

// quote is a string as zone files have it.
func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

// Records are what the owner of the domain has to publish.
func (c Config) Records() ([]DNSRecord, error) {
	domain, err := amtp.ParseDomain(c.Domain)
	if err != nil {
		return nil, err
	}
	if err := amtp.CheckGateway(c.Record.Gateway, true); err != nil {
		return nil, err
	}
	if c.KeyText != "" && c.KeySelector == "" {
		return nil, errors.New("a signing key needs a selector")
	}
	u, err := url.Parse(c.Record.Gateway)
	if err != nil {
		return nil, err
	}
	records := []DNSRecord{{
		Name: "_amtp." + domain + ".", Type: "TXT", Value: c.Record.String(),
		For: "tells other gateways where to hand in messages for " + domain,
	}}
	if c.KeyText != "" {
		records = append(records, DNSRecord{
			Name: c.keyName(domain) + ".", Type: "TXT", Value: c.KeyText,
			For: "the key with which this gateway signs",
		})
	}
	if host := u.Hostname(); net.ParseIP(host) == nil {
		records = append(records, DNSRecord{
			Name: strings.TrimSuffix(host, ".") + ".", Type: "A/AAAA", Value: "<the public address of this gateway>",
			For: "leads to the gateway",
		})
	}
	return records, nil
}

func (c Config) keyName(domain string) string { return c.KeySelector + "._amtpkey." + domain }
