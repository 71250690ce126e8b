package amtp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ErrRecord reports text that is no discovery record.
var ErrRecord = errors.New("no v=amtp1 record with a gateway")

// recordVersion is what v= must be.
const recordVersion = "amtp1"

// Record is what a domain says of its gateway in TXT at _amtp.DOMAIN (AMTP §6).
type Record struct {
	Version  string   // of AMTP: always "1.0"
	Gateway  string   // base URL without a final slash; see CheckGateway
	Auth     []string // cert, oauth, apikey, none, …
	MaxSize  int64    // in bytes; 0 when the record does not say
	Features []string
	Schemas  []string // old drafts only
}

// ParseRecord reads the text of one TXT record. Space around pairs, keys and values
// and quotes around the whole or a value are dropped; what is unknown, and a
// max-size that is no positive number, is ignored. It returns ErrRecord when v=amtp1 does not come
// first, when there is no gateway, or when one of our keys stands there twice.
func ParseRecord(txt string) (Record, error) {
	if len(txt) > MaxRecord {
		return Record{}, fmt.Errorf("%w: longer than %d bytes", ErrRecord, MaxRecord)
	}
	r := Record{Version: Version}
	seen := make(map[string]bool)
	for i, pair := range strings.Split(unquote(txt), ";") {
		key, value, ok := strings.Cut(pair, "=")
		key, value = unquote(key), unquote(value)
		if i == 0 && (key != "v" || value != recordVersion) {
			return Record{}, fmt.Errorf("%w: it does not begin with v=%s", ErrRecord, recordVersion)
		}
		if !ok || !r.take(key, value) {
			continue
		}
		if seen[key] {
			return Record{}, fmt.Errorf("%w: %s stands there twice", ErrRecord, key)
		}
		seen[key] = true
	}
	if r.Gateway == "" {
		return Record{}, fmt.Errorf("%w: it names no gateway", ErrRecord)
	}
	return r, nil
}

// take takes over one pair, and says whether the key is one of ours.
func (r *Record) take(key, value string) bool {
	switch key {
	case "v":
	case "gateway":
		r.Gateway = strings.TrimSuffix(value, "/")
	case "auth":
		r.Auth = list(value)
	case "max-size":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
			r.MaxSize = n
		}
	case "features":
		r.Features = list(value)
	case "schemas":
		r.Schemas = list(value)
	default:
		return false
	}
	return true
}

// SizeLimit is how many bytes a message to this gateway may have: MaxSize, or what
// the specification says where the record is silent.
func (r Record) SizeLimit() int64 {
	if r.MaxSize > 0 {
		return r.MaxSize
	}
	return MaxMessageSize
}

// Has says whether the record names the feature.
func (r Record) Has(feature string) bool { return slices.Contains(r.Features, feature) }

// String is the text to publish.
func (r Record) String() string {
	s := "v=" + recordVersion + ";gateway=" + r.Gateway
	if len(r.Auth) > 0 {
		s += ";auth=" + strings.Join(r.Auth, ",")
	}
	if r.MaxSize > 0 {
		s += ";max-size=" + strconv.FormatInt(r.MaxSize, 10)
	}
	if len(r.Features) > 0 {
		s += ";features=" + strings.Join(r.Features, ",")
	}
	if len(r.Schemas) > 0 {
		s += ";schemas=" + strings.Join(r.Schemas, ",")
	}
	return s
}

// CheckGateway checks the base URL of a gateway: https (http where that is
// allowed), a host of letters, digits, hyphens and dots, perhaps a port and a path,
// nothing else. The error is an *Error with INVALID_GATEWAY.
func CheckGateway(gateway string, allowHTTP bool) error {
	bad := func(why string) error {
		return Errorf(http.StatusBadGateway, CodeInvalidGateway, "the gateway URL %.200q %s", gateway, why)
	}
	u, err := url.Parse(gateway)
	switch {
	case err != nil || u.Host == "":
		return bad("is no URL")
	case u.Scheme == "http" && !allowHTTP:
		return bad("is not https")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("is not https")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(gateway, "#"):
		return bad("has more than a host, a port and a path")
	}
	if _, err := ParseDomain(u.Hostname()); err != nil {
		return bad("names no host")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad("has no such port")
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return bad("has no port behind the colon")
	}
	return nil
}

func unquote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	return s
}

func list(value string) []string {
	var all []string
	for _, s := range strings.Split(value, ",") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}
