package registry

import (
	"net/http"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// recordSubject keeps agent records, the same bytes as in the DHT (session.md §2.6): who
// trusts a registry needs no DHT to find a peer, and who does not verifies them.
func (s *Server) recordSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPut, path: "/v1/amesh/records/{amid}", raw: s.sealed(wire.Binary, identity.MaxRecordSize, s.putRecord)},
		route{method: http.MethodGet, path: "/v1/amesh/records/{amid}", raw: s.look(s.record)},
	)
	s.sweeps = append(s.sweeps, sweepAll((*db.Tx).ForgetRecords))
}

func (s *Server) putRecord(tx *db.Tx, r *request) (reply, error) {
	who, err := r.ofPath()
	if err != nil {
		return reply{}, err
	}
	rec, err := identity.ParseAgentRecord(r.raw)
	if err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	if rec.AMID != who {
		return reply{}, wire.Invalid("the record is of %s", rec.AMID)
	}
	if err := rec.Valid(r.now); err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	if err := tx.PutRecord(rec); err != nil {
		return reply{}, stale(err)
	}
	return reply{body: wire.Kept{Sequence: rec.Sequence, Expires: wire.Time{Time: rec.Expires}}}, nil
}

func (s *Server) record(tx *db.Tx, r *request) (string, []byte, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return "", nil, wire.Invalid("%s", err)
	}
	raw, err := tx.Record(who, r.now)
	if err != nil {
		return "", nil, orNotFound(err, "no record: the agent is not registered here or left none in the last day")
	}
	return wire.Binary, raw, nil
}
