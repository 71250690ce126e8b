package gateway

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// longestNote is the longest note about a domain, in bytes.
const longestNote = 200

// domainSubject is what the operator thinks of other domains.
func (s *Server) domainSubject() {
	const path = "/v1/admin/domains"
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: path, may: s.admins, answer: s.domains},
		route{method: http.MethodPut, path: path + "/{domain}", may: s.admins, answer: s.putDomain},
		route{method: http.MethodDelete, path: path + "/{domain}", may: s.admins, answer: s.removeDomain},
	)
}

// listedDomain is a store.Domain, as the API tells it.
type listedDomain struct {
	Domain  string            `json:"domain"`
	State   store.DomainState `json:"state"`
	Note    string            `json:"note,omitempty"`
	Updated time.Time         `json:"updated_at,omitzero"`
}

func (s *Server) domains(r *request) (reply, error) {
	all, err := r.store.Domains(r.Context())
	if err != nil {
		return reply{}, err
	}
	list := make([]listedDomain, len(all))
	for i, d := range all {
		list[i] = listedDomain{d.Name, d.State, d.Note, d.Updated}
	}
	return reply{body: struct {
		Domains   []listedDomain `json:"domains"`
		Count     int            `json:"count"`
		Timestamp time.Time      `json:"timestamp"`
	}{list, len(list), r.now.UTC()}}, nil
}

func (s *Server) putDomain(r *request) (reply, error) {
	name, err := s.otherDomain(r)
	if err != nil {
		return reply{}, err
	}
	b, err := decode[struct {
		State string `json:"state"`
		Note  string `json:"note"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	d := store.Domain{Name: name, State: store.DomainState(b.State), Note: b.Note, Updated: r.now.UTC()}
	if d.State != store.DomainKnown && d.State != store.DomainBlocked {
		return reply{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeValidationFailed, "state: want known or blocked")
	}
	if len(d.Note) > longestNote || strings.ContainsFunc(d.Note, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return reply{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeValidationFailed, "note: want one line of at most %d bytes", longestNote)
	}
	if err := errors.Join(r.store.PutDomain(r.Context(), d), r.domains.load(r.Context())); err != nil {
		return reply{}, err
	}
	s.log.Info("domain listed", "domain", d.Name, "state", d.State)
	return reply{body: listedDomain{d.Name, d.State, d.Note, d.Updated}}, nil
}

func (s *Server) removeDomain(r *request) (reply, error) {
	name, err := s.otherDomain(r)
	if err != nil {
		return reply{}, err
	}
	err = r.store.RemoveDomain(r.Context(), name)
	if errors.Is(err, store.ErrNotFound) {
		return reply{}, amtp.Errorf(http.StatusNotFound, amtp.CodeDomainNotFound, "the domain is not on the list")
	}
	if err = errors.Join(err, r.domains.load(r.Context())); err != nil {
		return reply{}, err
	}
	s.log.Info("domain taken off the list", "domain", name)
	return reply{body: map[string]any{"message": "Domain taken off the list", "domain": name, "timestamp": r.now.UTC()}}, nil
}

// otherDomain is the domain that a path names, which is not our own.
func (s *Server) otherDomain(r *request) (string, error) {
	name, err := amtp.ParseDomain(r.PathValue("domain"))
	if err != nil {
		return "", amtp.Errorf(http.StatusBadRequest, amtp.CodeValidationFailed, "domain: %v", err)
	}
	if name == s.cfg.Domain {
		return "", amtp.Errorf(http.StatusBadRequest, amtp.CodeValidationFailed, "%s is this gateway's own domain", name)
	}
	return name, nil
}
