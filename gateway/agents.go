package gateway

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"amesh/gateway/agents"
	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// agentSubject is what administrators do about the agents of the domain.
func (s *Server) agentSubject() {
	const one = "/v1/admin/agents/{name}"
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/admin/agents", may: s.admins, answer: s.registerAgent},
		route{method: http.MethodGet, path: "/v1/admin/agents", may: s.admins, answer: s.listAgents},
		route{method: http.MethodGet, path: one, may: s.admins, answer: s.showAgent},
		route{method: http.MethodPatch, path: one, may: s.admins, answer: s.updateAgent},
		route{method: http.MethodDelete, path: one, may: s.admins, answer: s.unregisterAgent},
		route{method: http.MethodPost, path: one + "/rotate-key", may: s.admins, answer: s.rotateAgentKey},
	)
}

// agentView is an agent as administrators see it. Key and PushSecret are there when they
// were made, and never again: agentry's console wants api_key to be an empty string then.
type agentView struct {
	Address        string            `json:"address"`
	Mode           store.Mode        `json:"delivery_mode"`
	PushTarget     string            `json:"push_target"`
	Headers        map[string]string `json:"headers"`
	Key            string            `json:"api_key"`
	KeyExpires     *time.Time        `json:"api_key_expires_at,omitempty"`
	PushSecret     string            `json:"push_secret,omitempty"`
	Schemas        []string          `json:"supported_schemas"`
	RequiresSchema bool              `json:"requires_schema"`
	Role           string            `json:"role,omitempty"`
	Description    string            `json:"description,omitempty"`
	Capabilities   []string          `json:"capabilities,omitempty"`
	Created        time.Time         `json:"created_at"`
	LastAccess     time.Time         `json:"last_access"`
}

func viewAgent(a store.Agent, key, secret string) agentView {
	v := agentView{
		Address: a.Address, Mode: a.Mode, PushTarget: a.PushTarget, Headers: a.Headers, Key: key, PushSecret: secret,
		Schemas: a.Schemas, RequiresSchema: a.RequiresSchema, Role: a.Role, Description: a.Description, Capabilities: a.Capabilities,
		Created: a.Created.UTC(), LastAccess: a.LastAccess.UTC(),
	}
	if len(v.Schemas) == 0 {
		v.Schemas = nil // null, as agentry writes it
	}
	if !a.KeyExpires.IsZero() {
		end := a.KeyExpires.UTC()
		v.KeyExpires = &end
	}
	return v
}

// agentFailed is the error of something that was asked about an agent. What is wrong with
// an agent is told; anything else that went wrong is not the client's business.
func agentFailed(err error, code amtp.Code, message string) error {
	switch {
	case errors.Is(err, agents.ErrInvalid), errors.Is(err, agents.ErrExists), errors.Is(err, agents.ErrNotFound):
		return amtp.Errorf(http.StatusBadRequest, code, "%s", message).With("error", err.Error())
	}
	return err
}

// agentUnknown is agentFailed where an agent that is not there is a 404.
func agentUnknown(err error, code amtp.Code, message string) error {
	if errors.Is(err, agents.ErrNotFound) {
		return amtp.Errorf(http.StatusNotFound, amtp.CodeAgentNotFound, "Agent not found").With("error", err.Error())
	}
	return agentFailed(err, code, message)
}

func (s *Server) registerAgent(r *request) (reply, error) {
	in, err := decode[agents.Registration](r)
	if err != nil {
		return reply{}, err
	}
	a, key, err := r.agents.Register(r.Context(), in)
	if err != nil {
		return reply{}, agentFailed(err, amtp.CodeAgentRegistrationFailed, "Failed to register agent")
	}
	return reply{status: http.StatusCreated, body: struct {
		Message string    `json:"message"`
		Agent   agentView `json:"agent"`
	}{"Agent registered successfully", viewAgent(a, key, a.PushSecret)}}, nil
}

func (s *Server) listAgents(r *request) (reply, error) {
	views := make(map[string]agentView, r.agents.Count())
	for a := range r.agents.All() {
		views[a.Address] = viewAgent(a, "", "")
	}
	return reply{body: struct {
		Agents map[string]agentView `json:"agents"`
		Count  int                  `json:"count"`
	}{views, len(views)}}, nil
}

func (s *Server) showAgent(r *request) (reply, error) {
	a, err := r.agents.Find(r.PathValue("name"))
	if err != nil {
		return reply{}, agentUnknown(err, amtp.CodeAgentNotFound, "Agent not found")
	}
	return reply{body: struct {
		Agent agentView `json:"agent"`
	}{viewAgent(a, "", "")}}, nil
}

func (s *Server) updateAgent(r *request) (reply, error) {
	in, err := decode[agents.Change](r)
	if err != nil {
		return reply{}, err
	}
	name := r.PathValue("name")
	before, err := r.agents.Find(name)
	if err != nil {
		return reply{}, agentUnknown(err, amtp.CodeAgentUpdateFailed, "Failed to update agent")
	}
	a, err := r.agents.Update(r.Context(), name, in)
	if err != nil {
		return reply{}, agentUnknown(err, amtp.CodeAgentUpdateFailed, "Failed to update agent")
	}
	secret := a.PushSecret
	if secret == before.PushSecret {
		secret = "" // it was told when it was made
	}
	return reply{body: struct {
		Message string    `json:"message"`
		Agent   agentView `json:"agent"`
	}{"Agent updated successfully", viewAgent(a, "", secret)}}, nil
}

// rotation is the body of a request for a new key; it may be left out.
type rotation struct {
	Expires time.Time `json:"api_key_expires_at"`
}

func (s *Server) rotateAgentKey(r *request) (reply, error) {
	var in rotation
	if len(r.raw) > 0 {
		var err error
		if in, err = decode[rotation](r); err != nil {
			return reply{}, err
		}
	}
	a, key, err := r.agents.Rotate(r.Context(), r.PathValue("name"), in.Expires)
	if err != nil {
		return reply{}, agentUnknown(err, amtp.CodeAgentKeyRotationFailed, "Failed to rotate agent API key")
	}
	return reply{body: struct {
		Message   string    `json:"message"`
		Address   string    `json:"address"`
		Key       string    `json:"api_key"`
		Timestamp time.Time `json:"timestamp"`
	}{"Agent API key rotated successfully", a.Address, key, r.now.UTC()}}, nil
}

func (s *Server) unregisterAgent(r *request) (reply, error) {
	name := r.PathValue("name")
	if err := r.agents.Remove(r.Context(), name); err != nil {
		return reply{}, agentFailed(err, amtp.CodeAgentUnregistrationFailed, "Failed to unregister agent")
	}
	s.endPushes(r, name)
	return reply{body: struct {
		Message string `json:"message"`
		Name    string `json:"name"`
	}{"Agent unregistered successfully", name}}, nil
}

// endPushes makes due what waits to be pushed to an agent that is gone, so that its senders
// hear of it now. Where that fails they hear when it is tried next.
func (s *Server) endPushes(r *request, name string) {
	local, _, _ := strings.Cut(name, "@")
	r.delivery.Expedite(r.Context(), strings.ToLower(local)+"@"+s.cfg.Domain, r.now)
}
