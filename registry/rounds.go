package registry

import (
	"context"
	"errors"
	"time"

	"amesh/registry/db"
	"amesh/registry/organization"
)

// What befalls an organisation is written for its members in steps: a member's tier
// changes its place in every search, so each takes a while, and there is one writer for
// everybody. The database knows who is left, so a registry that stops goes on later.
const (
	settleStep  = 10
	settleSteps = 500
)

// beginRound has an organisation's members feel what befell it: the first of them in this
// transaction, the others before long.
func (s *Server) beginRound(tx *db.Tx, o db.Organization, now time.Time) error {
	if err := tx.BeginRound(o.ID); err != nil {
		return err
	}
	return s.settle(tx, o, now)
}

// settle is one step.
func (s *Server) settle(tx *db.Tx, o db.Organization, now time.Time) error {
	list, err := tx.UnsettledMembers(o.ID, settleStep)
	if err != nil {
		return err
	}
	for _, a := range list {
		if err := s.settleMember(tx, o, a, now); err != nil {
			return err
		}
	}
	if len(list) < settleStep {
		return tx.EndRound(o.ID)
	}
	return nil
}

// settleMember gives a member what its organisation can prove now, or takes it.
func (s *Server) settleMember(tx *db.Tx, o db.Organization, a db.Agent, now time.Time) error {
	if o.Health.State == organization.Verified {
		if _, err := s.certifyMember(tx, o, a, now); err != nil {
			return err
		}
		return tx.SettleMember(a.AMID)
	}
	if err := tx.NameOrganization(a.AMID, nil); err != nil {
		return err
	}
	if err := tx.RevokeMembership(o.ID, a.AMID, reasonPrivilege, now); err != nil {
		return err
	}
	return tx.SettleMember(a.AMID)
}

// settleOrganizations goes on where members are left, a step at a time.
func (s *Server) settleOrganizations(ctx context.Context, d *db.DB) error {
	for range settleSteps {
		done := false
		err := d.Write(ctx, func(tx *db.Tx) error {
			o, err := tx.UnsettledOrganization()
			if done = errors.Is(err, db.ErrNotFound); done {
				return nil
			}
			if err != nil {
				return err
			}
			return s.settle(tx, o, s.cfg.Clock())
		})
		if err != nil || done {
			return err
		}
	}
	return nil
}
