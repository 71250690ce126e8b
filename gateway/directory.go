package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"amesh/gateway/agents"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// directoryMost is how many agents an answer names at most.
const directoryMost = 1000

// directorySubject is what is told about the agents of the domain.
func (s *Server) directorySubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/v1/discovery/agents", may: anyone, answer: s.discoverAgents},
		route{method: http.MethodGet, path: "/v1/discovery/agents/{domain}", may: anyone, answer: s.discoverAgents},
	)
}

// listedAgent is an agent as others may see it. Where its messages are pushed to is nobody's
// business.
type listedAgent struct {
	Address      string     `json:"address"`
	Mode         store.Mode `json:"delivery_mode"`
	Created      time.Time  `json:"created_at"`
	Schemas      []string   `json:"supported_schemas,omitempty"`
	LastActive   *time.Time `json:"last_active,omitempty"`
	Active       bool       `json:"active"`
	Role         string     `json:"role,omitempty"`
	Description  string     `json:"description,omitempty"`
	Capabilities []string   `json:"capabilities,omitempty"`
}

// discoverAgents lists the agents that fit the filters, by address.
func (s *Server) discoverAgents(r *request) (reply, error) {
	if named := r.PathValue("domain"); named != "" {
		if d, err := amtp.ParseDomain(named); err != nil || d != s.cfg.Domain {
			return reply{}, amtp.Errorf(http.StatusNotFound, amtp.CodeDomainNotFound, "This gateway has no agents of that domain").With("domain", named)
		}
	}
	if err := s.maySeeAgents(r); err != nil {
		return reply{}, err
	}
	fits, err := agentFilter(r.URL.Query(), r.now)
	if err != nil {
		return reply{}, err
	}
	limit, offset, err := pageOf(r.URL.Query(), directoryMost, directoryMost)
	if err != nil {
		return reply{}, err
	}
	list, total := []listedAgent{}, 0
	for a := range r.agents.All() {
		if !fits(a) {
			continue
		}
		if total++; total > offset && len(list) < limit {
			list = append(list, listAgent(a, r.now))
		}
	}
	return reply{body: struct {
		Agents    []listedAgent `json:"agents"`
		Count     int           `json:"agent_count"`
		Domain    string        `json:"domain"`
		Timestamp time.Time     `json:"timestamp"`
		Total     int           `json:"total,omitempty"` // where not all of them are here
	}{list, len(list), s.cfg.Domain, r.now.UTC(), elsewhere(total, len(list))}}, nil
}

func listAgent(a store.Agent, now time.Time) listedAgent {
	l := listedAgent{
		Address: a.Address, Mode: a.Mode, Created: a.Created.UTC(), Schemas: a.Schemas, Active: active(a, now),
		Role: a.Role, Description: a.Description, Capabilities: a.Capabilities,
	}
	if at := a.LastAccess.UTC(); !at.IsZero() {
		l.LastActive = &at
	}
	return l
}

// elsewhere is how many there are, if they are not all here.
func elsewhere(total, here int) int {
	if total == here {
		return 0
	}
	return total
}

// maySeeAgents lets in whoever has shown anything, and everybody where the operator wants it:
// who works for somebody is not for every stranger to know.
func (s *Server) maySeeAgents(r *request) error {
	if s.cfg.PublicAgents {
		return s.takeAddress(r, 1)
	}
	by, err := s.caller(r)
	if err != nil {
		return err
	}
	if by.Kind == auth.Nobody {
		return amtp.Errorf(http.StatusUnauthorized, amtp.CodeAuthenticationRequired,
			"the list of agents is for those who say who they are: Authorization: Bearer with an API key")
	}
	if !by.May(auth.ScopeRead) {
		return amtp.Errorf(http.StatusForbidden, amtp.CodeAccessDenied, "this key may not read")
	}
	return nil
}

func active(a store.Agent, now time.Time) bool { return now.Sub(a.LastAccess) < agents.Active }

// agentFilter reads which agents are wanted.
func agentFilter(v url.Values, now time.Time) (func(store.Agent) bool, error) {
	mode, address, role, capability := v.Get("delivery_mode"), v.Get("address"), v.Get("role"), v.Get("capability")
	var id *schema.ID
	if t := v.Get("schema"); t != "" {
		parsed, err := schema.ParseID(t)
		if err != nil {
			return nil, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidSchemaID, "schema must be an id such as agntcy:shop.order.v1")
		}
		id = &parsed
	}
	activeOnly, _ := strconv.ParseBool(v.Get("active_only"))
	return func(a store.Agent) bool {
		name, _, _ := strings.Cut(a.Address, "@")
		return (mode == "" || string(a.Mode) == mode) &&
			(!activeOnly || active(a, now)) &&
			(address == "" || strings.EqualFold(address, a.Address) || strings.EqualFold(address, name)) &&
			(role == "" || strings.EqualFold(role, a.Role)) &&
			(capability == "" || slices.ContainsFunc(a.Capabilities, func(c string) bool { return strings.EqualFold(c, capability) })) &&
			(id == nil || takes(a, *id))
	}, nil
}

// takes reports whether an agent says that it takes a schema. One that names none takes what
// has no schema.
func takes(a store.Agent, id schema.ID) bool {
	return slices.ContainsFunc(a.Schemas, func(text string) bool {
		supported, err := schema.ParseSupported(text)
		return err == nil && supported.Match(id)
	})
}
