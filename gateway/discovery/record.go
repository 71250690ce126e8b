package discovery

import (
	"errors"
	"strings"

	"amesh/gateway/amtp"
)

// pick returns the first of a domain's TXT texts that is a record with a gateway we may
// use. Other texts are nobody's business: the name may have them too.
func pick(domain string, texts []string, allowHTTP bool) (amtp.Record, error) {
	var first error
	for _, text := range texts {
		record, err := amtp.ParseRecord(text)
		if err != nil {
			continue
		}
		if err = amtp.CheckGateway(record.Gateway, allowHTTP); err == nil {
			return record, nil
		}
		if first == nil {
			first = wrong(domain, amtp.CodeInvalidGateway, reason(err))
		}
	}
	if first == nil {
		first = wrong(domain, amtp.CodeDiscoveryFailed, "none of its texts is a record of AMTP 1.0")
	}
	return amtp.Record{}, first
}

// reason is what an error of package amtp says, without its code.
func reason(err error) string {
	if e, ok := errors.AsType[*amtp.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// mockRecords are the records of mock mode by lower-case name. A bare URL becomes the
// record that was meant: configurations of agentry have them, and there they never
// matched.
func mockRecords(cfg Config) map[string]string {
	given := cfg.MockRecords
	if given == nil {
		given = DefaultMockRecords()
	}
	records := make(map[string]string, len(given))
	for name, text := range given {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		trimmed := strings.TrimSpace(text)
		switch {
		case strings.HasPrefix(trimmed, "http://"), strings.HasPrefix(trimmed, "https://"):
			cfg.Logger.Warn("mock record is a bare URL; write v=amtp1;gateway=URL", "domain", name)
			text = amtp.Record{Version: "1.0", Gateway: trimmed}.String()
		case strings.Contains(name, "._"), strings.HasPrefix(name, "_"): // of another kind
		default:
			if _, err := pick(name, []string{text}, cfg.AllowHTTP); err != nil {
				cfg.Logger.Warn("mock record cannot be used", "domain", name, "err", err)
			}
		}
		records[strings.TrimPrefix(name, "_amtp.")] = text
	}
	return records
}
