package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A payload is checked with few steps first, without waiting for anybody: most
// are small. What needs more waits for a slot, so that a few dear payloads
// cannot take all processors and memory.
const fewSteps = 20_000

// validate checks payload with exactly id. A payload that does not fit is a
// Result; the error is the registry's, or ctx's.
func (s *Service) validate(ctx context.Context, id ID, payload json.RawMessage) (Result, error) {
	sch, err := s.Get(ctx, id)
	if err != nil {
		return Result{}, err
	}
	c, err := s.ready(ctx, sch)
	var broken *DefinitionError
	if errors.As(err, &broken) {
		// Registered elsewhere, or before a schema that it refers to was changed.
		s.complain(id, err)
		return invalid(id, CodePipelineFailed, "%v", err), nil
	}
	if err != nil {
		return Result{}, err
	}
	v, refused := s.decodePayload(id, payload)
	if refused != nil {
		return *refused, nil
	}
	return s.run(ctx, id, c, v)
}

func invalid(id ID, code Code, format string, args ...any) Result {
	return Result{Used: id, Errors: []Problem{problemAt(nil, code, "", format, args...)}}
}

// decodePayload reads a payload within its limits. No payload is null.
func (s *Service) decodePayload(id ID, payload json.RawMessage) (any, *Result) {
	refuse := func(code Code, format string, args ...any) (any, *Result) {
		r := invalid(id, code, format, args...)
		return nil, &r
	}
	if len(payload) == 0 {
		return nil, nil
	}
	if len(payload) > s.limits.Payload {
		return refuse(CodePayloadTooLarge, "payload too large: %d bytes, at most %d are checked", len(payload), s.limits.Payload)
	}
	values, depth := measure(payload)
	if values > s.limits.Steps {
		return refuse(CodePayloadTooLarge, "payload too large: %d values, at most %d are checked", values, s.limits.Steps)
	}
	if depth > s.limits.PayloadDepth {
		return refuse(CodePayloadTooLarge, "payload nested %d deep, at most %d are checked", depth, s.limits.PayloadDepth)
	}
	v, err := decode(payload)
	if err != nil {
		return refuse(CodeInvalidJSON, "invalid JSON: %v", err)
	}
	return v, nil
}

// run checks v, first with few steps, then with all that are allowed.
func (s *Service) run(ctx context.Context, id ID, c *compiled, v any) (Result, error) {
	p, err := c.take()
	if err != nil {
		return Result{}, fmt.Errorf("compile %s: %w", id, err)
	}
	defer c.give(p)
	until := time.Now().Add(s.limits.Time)
	err = p.run(v, min(fewSteps, s.limits.Steps), until)
	if errors.Is(err, errSteps) && s.limits.Steps > fewSteps {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
		err = p.run(v, s.limits.Steps, time.Now().Add(s.limits.Time))
	}
	switch {
	case errors.Is(err, errSteps) || errors.Is(err, errTime):
		s.log.Debug("payload too costly to check", "schema", id.String(), "err", err)
		return invalid(id, CodePipelineFailed, "%v: simplify the payload or the schema", err), nil
	case err != nil:
		r := Result{Used: id}
		r.Errors, r.Omitted = explain(err, v, s.limits.Problems)
		return r, nil
	}
	r := Result{Used: id, Valid: true}
	if s.cfg.WarnUnknown {
		r.Warnings = unknownMembers(p.schema, v, s.limits.Problems)
	}
	return r, nil
}
