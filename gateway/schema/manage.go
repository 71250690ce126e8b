package schema

import "context"

// Remove takes a schema away; ErrNotFound when there is none.
func (s *Service) Remove(ctx context.Context, id ID) error {
	if !s.Configured() {
		return ErrNotConfigured
	}
	err := s.cfg.Registry.Remove(ctx, id)
	s.forget(id)
	return err
}

// forget drops what is known about id and its versions.
func (s *Service) forget(id ID) {
	s.schemas.drop(id)
	s.families.drop(id.Family())
}
