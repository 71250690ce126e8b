package registry

import (
	"net/http"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// presenceSubject is what agents say of themselves.
func (s *Server) presenceSubject() {
	by := signer{amid: "amid"}
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/registry/status", change: s.setStatus, signer: by},
		route{method: http.MethodPost, path: "/v1/registry/capabilities", change: s.setCapabilities, signer: by},
	)
}

func (s *Server) setStatus(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.StatusRequest](r)
	if err != nil {
		return reply{}, err
	}
	if !body.Status.Valid() {
		return reply{}, wire.Invalid("status: want online, away, offline or dnd")
	}
	a := *r.by.agent
	a.Status, a.LastSeen = body.Status, r.now
	return reply{body: wire.Done{Success: true}}, tx.PutAgent(a)
}

func (s *Server) setCapabilities(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.CapabilitiesRequest](r)
	if err != nil {
		return reply{}, err
	}
	if err := s.checkCapabilities(body.Capabilities); err != nil {
		return reply{}, err
	}
	a := *r.by.agent
	a.Capabilities, a.Updated = body.Capabilities, r.now
	return reply{body: wire.Done{Success: true}}, tx.PutAgent(a)
}
