package registry

import (
	"context"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// amounts is how much there is, as strangers are told: rounded, and counted no further
// than that, so that asking costs nothing.
func (s *Server) amounts(ctx context.Context, d *db.DB) (wire.OurStats, error) {
	var a db.Amounts
	err := d.View(ctx, func(tx *db.Tx) (err error) {
		a, err = tx.Amounts(wire.ManyAgents)
		return err
	})
	return wire.OurStats{Agents: about(a.Agents), Cards: about(a.Cards), Schemas: about(a.Schemas)}, err
}

func (s *Server) ourStats(r *request) (reply, error) {
	out, err := s.amounts(r.Context(), r.db)
	return reply{body: out}, err
}
