package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"amesh/registry/db"
	"amesh/registry/organization"
)

// checkOrganizations looks at the records that are due, some at a time.
func (s *Server) checkOrganizations(ctx context.Context, d *db.DB) error {
	if s.cfg.Resolvers == nil {
		return nil
	}
	var due []db.Organization
	err := d.View(ctx, func(tx *db.Tx) (err error) {
		due, err = tx.DueOrganizations(s.cfg.Clock(), organization.CheckBatch)
		return err
	})
	if err != nil {
		return err
	}
	room := make(chan struct{}, organization.CheckParallel)
	errs := make([]error, len(due))
	var wg sync.WaitGroup
	for i, o := range due {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			errs[i] = s.checkOrganization(ctx, d, o)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// checkOrganization looks at one record, and notes what it found unless another
// instance has.
func (s *Server) checkOrganization(ctx context.Context, d *db.DB, due db.Organization) error {
	found := s.cfg.Resolvers.Find(ctx, due.Domain.Name, due.Challenge)
	if ctx.Err() != nil {
		return nil // stopping: nothing was found out
	}
	now := s.cfg.Clock()
	lapsed := false
	err := d.Write(ctx, func(tx *db.Tx) error {
		lapsed = false
		o, err := tx.Organization(due.ID)
		if errors.Is(err, db.ErrNotFound) || err == nil && !o.Health.Next.Equal(due.Health.Next) {
			return nil
		}
		if err != nil {
			return err
		}
		if found.Finding == organization.Present {
			_, err := s.proved(tx, o, found, now)
			return err
		}
		o.Health = o.Health.After(found.Finding, now)
		if lapsed = o.Health.State != organization.Verified; lapsed {
			return s.lapse(tx, o, now)
		}
		return tx.PutOrganization(o)
	})
	if lapsed && err == nil {
		s.log.Info("organisation lapsed", "domain", due.Domain.Name, "why", found.Detail)
	}
	return err
}

// lapse takes from an organisation and its agents what its domain proved. They stay
// members, for the day when it is verified again.
func (s *Server) lapse(tx *db.Tx, o db.Organization, now time.Time) error {
	o.Certificate = ""
	if err := tx.PutOrganization(o); err != nil {
		return err
	}
	if err := tx.RevokeOrganization(o.ID, reasonPrivilege, now); err != nil {
		return err
	}
	return s.beginRound(tx, o, now)
}
