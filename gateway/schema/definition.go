package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"amesh/internal/ijson"
)

// ready is a compiled definition with what it was made of, or what is wrong with
// it: to find that out again for every message would be work for nothing.
type ready struct {
	sum      string
	refs     map[ID]string // what sumOf says of the schemas it refers to
	compiled *compiled
	err      error
}

// ready returns the compiled form of sch. The error is a *DefinitionError, or
// that of a registry which could not be asked for a reference.
func (s *Service) ready(ctx context.Context, sch Schema) (*compiled, error) {
	s.mu.Lock()
	known, ok := s.compiled.get(sch.ID)
	s.mu.Unlock()
	if ok && known.sum == sch.Checksum() {
		same, err := s.refsUnchanged(ctx, known.refs)
		if err != nil {
			return nil, err
		}
		if same {
			return known.compiled, known.err
		}
	}
	made, err := s.prepare(ctx, sch)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.compiled.put(sch.ID, made)
	s.mu.Unlock()
	return made.compiled, made.err
}

func (s *Service) refsUnchanged(ctx context.Context, refs map[ID]string) (bool, error) {
	for id, sum := range refs {
		_, now, err := s.sumOf(ctx, id)
		if err != nil {
			return false, err
		}
		if now != sum {
			return false, nil
		}
	}
	return true, nil
}

// sumOf returns a schema with its checksum, or a word for why there is none. The
// error is that of a registry which could not be asked.
func (s *Service) sumOf(ctx context.Context, id ID) (Schema, string, error) {
	sch, err := s.Get(ctx, id)
	switch {
	case err == nil:
		return sch, sch.Checksum(), nil
	case errors.Is(err, ErrNotFound):
		return Schema{}, "not found", nil
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrUntrusted):
		return Schema{}, "not usable", nil
	}
	return Schema{}, "", err
}

// prepare checks and compiles a definition. What is wrong with it is in the
// result; the error is that of a registry which could not be asked.
func (s *Service) prepare(ctx context.Context, sch Schema) (*ready, error) {
	made := &ready{sum: sch.Checksum(), refs: make(map[ID]string)}
	doc, err := s.decodeDefinition(sch.Definition)
	if err != nil {
		made.err = s.definitionError(sch.ID, err, nil)
		return made, nil
	}
	var failure error
	resolve := func(url string) (any, error) {
		id, err := ParseID(url)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errForeignRef, err)
		}
		found, sum, err := s.sumOf(ctx, id)
		if err != nil {
			failure = err
			return nil, err
		}
		if made.refs[id] = sum; found.ID != id {
			return nil, fmt.Errorf("the definition refers to %s: %s", id, sum)
		}
		return s.decodeDefinition(found.Definition)
	}
	made.compiled, err = compile(sch.ID.String(), doc, resolve, s.cfg.Formats, s.limits)
	if failure != nil {
		return nil, failure
	}
	if err != nil {
		made.err = s.definitionError(sch.ID, err, doc)
	}
	return made, nil
}

// decodeDefinition reads a definition within its limits.
func (s *Service) decodeDefinition(raw []byte) (any, error) {
	if len(raw) > s.limits.Definition {
		return nil, fmt.Errorf("the definition has %d bytes, at most %d are allowed", len(raw), s.limits.Definition)
	}
	if _, depth := measure(raw); depth > s.limits.DefinitionDepth {
		return nil, fmt.Errorf("the definition is nested %d deep, at most %d are allowed", depth, s.limits.DefinitionDepth)
	}
	// Two members of one name would be two definitions, for two readers.
	if err := ijson.Check(raw, s.limits.DefinitionDepth+1); err != nil {
		return nil, fmt.Errorf("the definition is %w", err)
	}
	doc, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("the definition is not JSON: %w", err)
	}
	switch doc.(type) {
	case map[string]any, bool:
		return doc, nil
	}
	return nil, errors.New("a definition is an object or a boolean")
}

// definitionError says what is wrong with a definition, place by place when it
// breaks the rules of its own dialect.
func (s *Service) definitionError(id ID, err error, doc any) error {
	var invalid *jsonschema.SchemaValidationError
	var problems []Problem
	if errors.As(err, &invalid) {
		problems, _ = explain(invalid.Err, doc, s.limits.Problems)
		for i := range problems {
			problems[i].Code = CodeInvalidDefinition
		}
	} else {
		problems = []Problem{problemAt(nil, CodeInvalidDefinition, "", "%v", err)}
	}
	return &DefinitionError{ID: id, Problems: problems}
}
