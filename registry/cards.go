package registry

import (
	"errors"
	"net/http"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// cardSubject keeps what agents say that they can do, as they signed it.
func (s *Server) cardSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPut, path: "/v1/amesh/cards/{amid}", raw: s.sealed(wire.Binary, identity.MaxCardSize, s.putCard)},
		route{method: http.MethodGet, path: "/v1/amesh/cards/{amid}", raw: s.look(s.card)},
		route{method: http.MethodGet, path: "/v1/amesh/agents/{amid}", read: s.agentView},
	)
	s.sweeps = append(s.sweeps, sweepAll((*db.Tx).ForgetCards))
}

func (s *Server) putCard(tx *db.Tx, r *request) (reply, error) {
	who, err := r.ofPath()
	if err != nil {
		return reply{}, err
	}
	c, err := identity.ParseCard(r.raw)
	if err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	if c.Agent != who {
		return reply{}, wire.Invalid("the card is of %s", c.Agent)
	}
	if err := c.Valid(r.now); err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	if err := tx.PutCard(c); err != nil {
		return reply{}, stale(err)
	}
	return reply{body: wire.Kept{Sequence: c.Sequence, Expires: wire.Time{Time: c.Expires}}}, nil
}

func (s *Server) card(tx *db.Tx, r *request) (string, []byte, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return "", nil, wire.Invalid("%s", err)
	}
	c, err := tx.Card(who, r.now)
	if err != nil {
		return "", nil, orNotFound(err, "no card: the agent is not registered here or published none")
	}
	return wire.Binary, c.Raw(), nil
}

// agentView is what a registry says of an agent, for programs and pages.
func (s *Server) agentView(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	view, err := s.viewOf(r, who)
	return reply{body: view}, err
}

func (s *Server) viewOf(r *request, who identity.AMID) (wire.AgentView, error) {
	var view wire.AgentView
	if err := s.mayAsk(r); err != nil {
		return view, err
	}
	err := r.db.View(r.Context(), func(tx *db.Tx) error {
		h, err := tx.FindAgent(who)
		if err != nil {
			return orNotFound(err, "no such agent: it is not registered here, or its key was revoked")
		}
		view = wire.AgentView{Agent: s.row(h, r)}
		c, err := tx.Card(who, r.now)
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		view.Card = &wire.CardView{
			Signed: c.Raw(), Sequence: c.Sequence, Issued: wire.Time{Time: c.Issued}, Expires: wire.Time{Time: c.Expires},
			Name: c.Name, Description: c.Description, Capabilities: c.Capabilities,
		}
		if c.Capabilities == nil {
			view.Card.Capabilities = []identity.Capability{}
		}
		return nil
	})
	return view, err
}
