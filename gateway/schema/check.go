package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Check judges a message for each of its recipients. An error means that no
// verdict could be reached, such as ErrUnavailable; the message may be tried
// again later.
func (s *Service) Check(ctx context.Context, r Request) (Report, error) {
	j := judge{service: s, request: r, results: make(map[ID]Result)}
	if r.Schema != "" {
		id, err := ParseID(r.Schema)
		if err != nil {
			return j.all(refusal(CodeInvalidSchemaID, nil, "%v", err)), nil
		}
		j.id = id
	}
	report := Report{Bypassed: s.bypass(r)}
	j.unchecked = s.cfg.Unchecked || !s.Configured() || report.Bypassed != ""
	for _, rcpt := range r.Recipients {
		d, err := j.decide(ctx, rcpt)
		if err != nil {
			return Report{}, err
		}
		report.Decisions = append(report.Decisions, d)
	}
	return report, nil
}

// bypass returns the entry that spares the payload the check.
func (s *Service) bypass(r Request) string {
	if !r.Proven || r.Schema == "" {
		return ""
	}
	for _, t := range s.trusted {
		if t.match(r.Sender) {
			s.log.Debug("payload not checked, its sender is trusted", "sender", r.Sender, "schema", r.Schema, "entry", t.text)
			return t.text
		}
	}
	return ""
}

// judge reaches the decisions on one message.
type judge struct {
	service   *Service
	request   Request
	id        ID // zero when the message names no schema
	unchecked bool
	results   map[ID]Result
}

func refusal(code Code, supported []string, format string, args ...any) Decision {
	return Decision{Code: code, Text: fmt.Sprintf(format, args...), Supported: supported}
}

func (j *judge) all(d Decision) Report {
	var r Report
	for range j.request.Recipients {
		r.Decisions = append(r.Decisions, d)
	}
	return r
}

func (j *judge) decide(ctx context.Context, rcpt Recipient) (Decision, error) {
	switch {
	case rcpt.Remote:
		return j.outbound(ctx)
	case j.id == ID{} && rcpt.Requires:
		return refusal(CodeSchemaRequired, rcpt.Supported, "the agent takes only messages with a schema"), nil
	case j.id == ID{}:
		return Decision{Accept: true}, nil
	}
	entries := rcpt.Supported
	if !rcpt.Requires {
		entries = nil
	}
	if j.unchecked && (entries == nil || supports(entries, j.id)) {
		return Decision{Accept: true}, nil
	}
	if !j.service.Configured() {
		return refusal(CodeNotSupported, rcpt.Supported, "the agent does not support schema '%s'", j.id), nil
	}
	return j.inbound(ctx, entries)
}

// inbound finds the version for an agent with the given entries, nil for one
// that takes anything, and checks the payload with it.
func (j *judge) inbound(ctx context.Context, entries []string) (Decision, error) {
	n, err := j.service.version(ctx, j.id, entries)
	var none *NegotiationError
	if errors.As(err, &none) {
		return j.unsupported(entries, none), nil
	}
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrUntrusted) {
		j.service.complain(j.id, err)
		return refusal(CodePipelineFailed, nil, "schema '%s' cannot be used: its operator finds out why in the log", j.id), nil
	}
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Accept: true}
	if !n.Exact() {
		d.Warnings = append(d.Warnings, problemAt(nil, CodeNegotiated, "",
			"schema '%s' was asked for, '%s' was used", n.Requested, n.Used))
	}
	if j.unchecked {
		return d, nil
	}
	result, err := j.check(ctx, n.Used)
	if err != nil {
		return Decision{}, err
	}
	d.Used = n.Used
	d.Warnings = append(d.Warnings, result.Warnings...)
	if !result.Valid {
		d.Accept = false
		d.Code, d.Errors = CodeValidationFailed, result.Errors
		d.Text = fmt.Sprintf("the payload does not fit schema '%s'", n.Used)
	}
	return d, nil
}

func (j *judge) unsupported(entries []string, none *NegotiationError) Decision {
	supported := texts(none.Available)
	if len(supported) == 0 {
		supported = entries
	}
	switch {
	case entries != nil && !supports(entries, j.id):
		return refusal(CodeNotSupported, supported, "the agent does not support schema '%s'", j.id)
	case j.service.cfg.Negotiation.Enabled:
		return refusal(CodeNegotiationFailed, supported, "%v", none)
	default:
		return refusal(CodeNotFound, supported, "schema '%s' is not registered here", j.id)
	}
}

// outbound lets every message out: what its schema means is the other side's
// business. The sender is told when the payload would not pass here.
func (j *judge) outbound(ctx context.Context) (Decision, error) {
	d := Decision{Accept: true}
	if j.unchecked || j.id == (ID{}) {
		return d, nil
	}
	result, err := j.check(ctx, j.id)
	switch {
	case ctx.Err() != nil:
		return Decision{}, ctx.Err()
	case errors.Is(err, ErrNotFound):
		d.Warnings = []Problem{problemAt(nil, CodeUnverified, "", "schema '%s' is not registered here; the payload goes out unchecked", j.id)}
	case err != nil:
		d.Warnings = []Problem{problemAt(nil, CodeUnverified, "", "schema '%s' cannot be used now; the payload goes out unchecked", j.id)}
	case !result.Valid:
		d.Used = j.id
		d.Warnings = result.Errors
	default:
		d.Used = j.id
		d.Warnings = result.Warnings
	}
	return d, nil
}

// check validates the payload once for each version.
func (j *judge) check(ctx context.Context, id ID) (Result, error) {
	if r, ok := j.results[id]; ok {
		return r, nil
	}
	r, err := j.service.validate(ctx, id, j.request.Payload)
	if err != nil {
		return Result{}, err
	}
	j.results[id] = r
	return r, nil
}

func texts(ids []ID) []string {
	list := make([]string, 0, len(ids))
	for _, id := range ids {
		list = append(list, id.String())
	}
	return list
}

// supports reports whether one of an agent's entries covers id.
func supports(entries []string, id ID) bool {
	return slices.ContainsFunc(entries, func(text string) bool {
		entry, err := ParseSupported(text)
		return err == nil && entry.Match(id)
	})
}

// Validate checks a payload as Check does for an agent without requirements: with
// the version that stands in for id when id itself is not registered. It returns
// ErrNotFound or a *NegotiationError when there is none.
func (s *Service) Validate(ctx context.Context, id ID, payload json.RawMessage) (Result, error) {
	n, err := s.version(ctx, id, nil)
	var none *NegotiationError
	if errors.As(err, &none) && !s.cfg.Negotiation.Enabled {
		return Result{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return Result{}, err
	}
	r, err := s.validate(ctx, n.Used, payload)
	if err == nil && !n.Exact() {
		r.Warnings = append(r.Warnings, problemAt(nil, CodeNegotiated, "",
			"schema '%s' was asked for, '%s' was used", n.Requested, n.Used))
	}
	return r, err
}
