package schema

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Judge is a registry that judges definitions itself. It is asked before a Put,
// and returns nil, ErrRefused, or ErrUnavailable.
type Judge interface {
	Judge(ctx context.Context, s Schema) error
}

// Comparer is a registry that compares schemas itself.
type Comparer interface {
	// Compatible says whether to can stand in for from, and why not. A registry
	// that does not compare says yes.
	Compatible(ctx context.Context, from, to ID) (ok bool, reason string, err error)
}

// Register adds a schema. It returns ErrExists when there is one of that name, a
// *DefinitionError for what is no JSON Schema, and an *IncompatibleError when the
// mode between versions does not permit it beside the next lower version. With
// force it replaces what there is, whatever that breaks.
func (s *Service) Register(ctx context.Context, sch Schema, force bool) (Diff, error) {
	if !s.Configured() {
		return Diff{}, ErrNotConfigured
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	old, err := s.current(ctx, sch.ID)
	exists := err == nil
	switch {
	case exists && !force:
		return Diff{}, fmt.Errorf("%w: %s", ErrExists, sch.ID)
	case err != nil && !errors.Is(err, ErrNotFound):
		return Diff{}, err
	}
	if err := s.Valid(ctx, sch); err != nil {
		return Diff{}, err
	}
	var diff Diff
	if exists {
		diff = s.compare(old, sch)
	} else if diff, err = s.besideOthers(ctx, sch, force); err != nil {
		return diff, err
	}
	return diff, s.put(ctx, sch, old, force)
}

// Update gives a schema a new definition, and adds it when there was none. It
// returns an *IncompatibleError when the mode does not permit the change, unless
// forced. Created says that there was none.
func (s *Service) Update(ctx context.Context, sch Schema, force bool) (diff Diff, created bool, err error) {
	if !s.Configured() {
		return Diff{}, false, ErrNotConfigured
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	old, err := s.current(ctx, sch.ID)
	created = errors.Is(err, ErrNotFound)
	if err != nil && !created {
		return Diff{}, false, err
	}
	if err := s.Valid(ctx, sch); err != nil {
		return Diff{}, created, err
	}
	if created {
		if diff, err = s.besideOthers(ctx, sch, force); err != nil {
			return diff, created, err
		}
		return diff, created, s.put(ctx, sch, old, false)
	}
	diff = s.compare(old, sch)
	if mode := s.cfg.Compatibility.Update; !force && !diff.Allows(mode, s.cfg.Compatibility.Strict) {
		return diff, created, &IncompatibleError{From: sch.ID, To: sch.ID, Mode: mode.orBackward(), Strict: s.cfg.Compatibility.Strict, Diff: diff}
	}
	return diff, created, s.put(ctx, sch, old, true)
}

// current asks the registry itself: what is about to be replaced must not be an
// old answer. What cannot be used is there, without a definition.
func (s *Service) current(ctx context.Context, id ID) (Schema, error) {
	s.forget(id)
	old, err := s.Get(ctx, id)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrUntrusted) {
		return Schema{ID: id}, nil
	}
	return old, err
}

// Valid returns nil when the definition of sch is one that payloads can be
// checked with, a *DefinitionError otherwise.
func (s *Service) Valid(ctx context.Context, sch Schema) error {
	made, err := s.prepare(ctx, sch)
	if err != nil {
		return err
	}
	return made.err
}

// besideOthers compares a new version with the next lower one.
func (s *Service) besideOthers(ctx context.Context, sch Schema, force bool) (Diff, error) {
	versions, err := s.versions(ctx, sch.ID)
	if err != nil {
		return Diff{}, err
	}
	var below ID
	for _, v := range versions {
		if v.Version < sch.ID.Version {
			below = v
		}
	}
	if below == (ID{}) {
		return Diff{}, nil
	}
	old, err := s.Get(ctx, below)
	if err != nil {
		return Diff{}, err
	}
	diff := s.compare(old, sch)
	mode := s.cfg.Compatibility.Versions
	if mode != "" && !force && !diff.Allows(mode, s.cfg.Compatibility.Strict) {
		return diff, &IncompatibleError{From: below, To: sch.ID, Mode: mode, Strict: s.cfg.Compatibility.Strict, Diff: diff}
	}
	return diff, nil
}

// compare works out what changed. A definition that was registered elsewhere and
// cannot be read is compared as one that changed in every way.
func (s *Service) compare(old, next Schema) Diff {
	before, errBefore := s.decodeDefinition(old.Definition)
	after, errAfter := s.decodeDefinition(next.Definition)
	if err := errors.Join(errBefore, errAfter); err != nil {
		var d Diff
		d.add(Change{Kind: "rule", Breaks: BreaksBoth, Unknown: true, Message: "one of the definitions cannot be read; counts as breaking"})
		return d
	}
	return compare(before, after, s.cfg.Formats == FormatsAlways)
}

// Compare works out what changed from one registered schema to another. A
// registry that compares too is asked as well, and its no counts.
func (s *Service) Compare(ctx context.Context, from, to ID) (Diff, error) {
	before, err := s.Get(ctx, from)
	if err != nil {
		return Diff{}, fmt.Errorf("%s: %w", from, err)
	}
	after, err := s.Get(ctx, to)
	if err != nil {
		return Diff{}, fmt.Errorf("%s: %w", to, err)
	}
	diff := s.compare(before, after)
	if c, ok := s.cfg.Registry.(Comparer); ok {
		fits, reason, err := c.Compatible(ctx, from, to)
		if err != nil {
			return Diff{}, err
		}
		if !fits {
			diff.add(Change{Kind: "rule", Breaks: BreaksBoth, Unknown: true, Message: "the registry calls them incompatible (" + reason + "); counts as breaking"})
		}
	}
	return diff, nil
}

func (s *Service) put(ctx context.Context, sch, old Schema, replace bool) error {
	now := time.Now().UTC()
	sch.Published, sch.Updated = now, time.Time{}
	if !old.Published.IsZero() {
		sch.Published, sch.Updated = old.Published, now
	}
	if judge, ok := s.cfg.Registry.(Judge); ok {
		if err := judge.Judge(ctx, sch); err != nil {
			return err
		}
	}
	err := s.cfg.Registry.Put(ctx, sch, replace)
	s.forget(sch.ID)
	return err
}

// Remove takes a schema away; ErrNotFound when there is none.
func (s *Service) Remove(ctx context.Context, id ID) error {
	if !s.Configured() {
		return ErrNotConfigured
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	err := s.cfg.Registry.Remove(ctx, id)
	s.forget(id)
	return err
}

// forget drops what is known about id and the list of all.
func (s *Service) forget(id ID) {
	s.schemas.drop(id)
	s.ids.drop(struct{}{})
}
