package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Negotiated is the version that stands in for another.
type Negotiated struct {
	Requested ID
	Used      ID
	// Available are the registered versions that fit, in order.
	Available []ID
}

// Exact reports whether the version asked for is the one used.
func (n Negotiated) Exact() bool { return n.Requested == n.Used }

// NegotiationError says that no version fits.
type NegotiationError struct {
	Requested ID
	// Available are the versions that there are.
	Available []ID
	Reason    string
}

func (e *NegotiationError) Error() string {
	return fmt.Sprintf("no version stands in for schema '%s': %s", e.Requested, e.Reason)
}

// Negotiate finds the version to use for id, among those that one of supported
// covers when the list is not empty. It returns a *NegotiationError when none
// fits.
func (s *Service) Negotiate(ctx context.Context, id ID, supported []string) (Negotiated, error) {
	versions, err := s.versions(ctx, id)
	if err != nil {
		return Negotiated{}, err
	}
	if len(supported) > 0 {
		versions = slices.DeleteFunc(versions, func(v ID) bool { return !supports(supported, v) })
	}
	n := Negotiated{Requested: id, Available: versions}
	used, reason := choose(s.cfg.Negotiation, versions, id)
	if reason != "" {
		return n, &NegotiationError{Requested: id, Available: versions, Reason: reason}
	}
	n.Used = used
	return n, nil
}

// version is Negotiate without the list of versions when the exact one is there.
func (s *Service) version(ctx context.Context, id ID, supported []string) (Negotiated, error) {
	if len(supported) == 0 || supports(supported, id) {
		_, err := s.Get(ctx, id)
		if err == nil {
			return Negotiated{Requested: id, Used: id}, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return Negotiated{}, err
		}
	}
	return s.Negotiate(ctx, id, supported)
}

// versions lists what is registered beside id, from the lowest version up. It
// looks at the list of all, because the names in messages are strangers' to
// choose, and each new one would be another question to the registry.
func (s *Service) versions(ctx context.Context, id ID) ([]ID, error) {
	if !s.Configured() {
		return nil, ErrNotConfigured
	}
	all, err := s.ids.get(ctx, struct{}{}, func(ctx context.Context) ([]ID, error) {
		return s.cfg.Registry.List(ctx, Pattern{})
	})
	if err != nil {
		return nil, err
	}
	var versions []ID
	for _, v := range all {
		if v.Domain == id.Domain && v.Entity == id.Entity {
			versions = append(versions, v)
		}
	}
	return versions, nil
}

// choose picks one of versions, which are in order, for want. The reason is
// empty when it could.
func choose(n Negotiation, versions []ID, want ID) (used ID, reason string) {
	if slices.Contains(versions, want) {
		return want, ""
	}
	switch {
	case len(versions) == 0:
		return ID{}, "no version of it is registered and supported"
	case !n.Enabled:
		return ID{}, "it is not registered or not supported, and negotiation is off"
	case n.Fallback == FallbackFail:
		return ID{}, "only the exact version is taken"
	}
	drift := n.MaxDrift
	if drift == 0 {
		drift = DefaultDrift
	}
	near := slices.DeleteFunc(slices.Clone(versions), func(v ID) bool {
		return v.Version-want.Version > drift || want.Version-v.Version > drift
	})
	if len(near) == 0 {
		return ID{}, fmt.Sprintf("the versions there are more than %d apart from it", drift)
	}
	if n.Fallback == FallbackPrevious {
		for _, v := range slices.Backward(near) {
			if v.Version < want.Version {
				return v, ""
			}
		}
	}
	return near[len(near)-1], ""
}
