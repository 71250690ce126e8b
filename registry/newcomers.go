package registry

import (
	"context"
	"net/http"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// newcomerSubject bounds how many agents there can be of whom nobody knows who they are.
func (s *Server) newcomerSubject() {
	s.chores = append(s.chores, s.forgetAbsent)
}

// mayCome counts an agent that the registry does not know yet, once for each request.
func (s *Server) mayCome(r *request) error {
	if r.counted || s.unlimited(r) {
		return nil
	}
	if !s.newcomers.Take(r.from, 1, r.now) {
		e := wire.Errorf(http.StatusTooManyRequests, wire.CodeRateLimited, "too many new agents from your address: wait a little")
		e.RetryAfter = time.Hour / time.Duration(s.limits.NewAgentsPerHour)
		return e
	}
	r.counted = true
	return nil
}

// How many of the absent are looked at in one sweep, and how many are removed at a time,
// so that nobody waits long for the database.
const (
	absentSweep = 1000
	absentStep  = 10
)

// forgetAbsent removes anonymous agents that have not been seen for long and left nothing
// that others rely on.
func (s *Server) forgetAbsent(ctx context.Context, d *db.DB) error {
	before := s.cfg.Clock().Add(-s.limits.AbsenceLife)
	var list []identity.AMID
	err := d.View(ctx, func(tx *db.Tx) (err error) {
		list, err = tx.Absent(before, absentSweep)
		return err
	})
	for err == nil && len(list) > 0 {
		n := min(absentStep, len(list))
		err = d.Write(ctx, func(tx *db.Tx) error {
			for _, who := range list[:n] {
				if err := tx.RemoveAbsent(who, before); err != nil {
					return err
				}
			}
			return nil
		})
		list = list[n:]
	}
	return err
}
