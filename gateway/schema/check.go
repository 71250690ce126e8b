package schema

import (
	"context"
	"fmt"
	"slices"
)

// Check judges a message for each of its recipients. An error means that no
// verdict could be reached, such as ErrUnavailable; the message may be tried
// again later.
func (s *Service) Check(ctx context.Context, r Request) (Report, error) {
	var report Report
	for _, rcpt := range r.Recipients {
		report.Decisions = append(report.Decisions, s.decide(rcpt, r.Schema))
	}
	return report, ctx.Err()
}

func (s *Service) decide(rcpt Recipient, name string) Decision {
	if rcpt.Remote || !rcpt.Requires {
		return Decision{Accept: true}
	}
	refuse := func(code Code, format string, args ...any) Decision {
		return Decision{Code: code, Text: fmt.Sprintf(format, args...), Supported: rcpt.Supported}
	}
	if name == "" {
		return refuse(CodeSchemaRequired, "the agent takes only messages with a schema")
	}
	id, err := ParseID(name)
	if err != nil {
		return refuse(CodeInvalidSchemaID, "%v", err)
	}
	if !supports(rcpt.Supported, id) {
		return refuse(CodeNotSupported, "the agent does not support schema '%s'", id)
	}
	return Decision{Accept: true}
}

// supports reports whether one of an agent's entries covers id.
func supports(entries []string, id ID) bool {
	return slices.ContainsFunc(entries, func(text string) bool {
		entry, err := ParseSupported(text)
		return err == nil && entry.Match(id)
	})
}
