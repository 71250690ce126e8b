package gateway

import (
	"errors"
	"net/http"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/store"
)

// keySubject is what administrators do about the API keys of programs and gateways.
func (s *Server) keySubject() {
	const path = "/v1/admin/apikeys"
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: path, may: s.admins, answer: s.apiKeys},
		route{method: http.MethodPost, path: path, may: s.admins, answer: s.makeAPIKey},
		route{method: http.MethodPost, path: path + "/{id}/rotate-key", may: s.admins, answer: s.rotateAPIKey},
		route{method: http.MethodDelete, path: path + "/{id}", may: s.admins, answer: s.removeAPIKey},
	)
}

// keyView is an API key as administrators see it. Key is there when it was made, and never
// again.
type keyView struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Domain   string    `json:"domain"`
	Scopes   []string  `json:"scopes"`
	Expires  time.Time `json:"expires_at,omitzero"`
	Created  time.Time `json:"created_at"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Key      string    `json:"api_key,omitempty"`
}

func viewKey(k store.APIKey, key string) keyView {
	return keyView{k.ID, k.Name, k.Domain, k.Scopes, k.Expires, k.Created.UTC(), k.LastUsed, key}
}

// keyFailed is the error of something that was asked about a key.
func keyFailed(err error) error {
	switch {
	case errors.Is(err, auth.ErrInvalidKey):
		return amtp.Errorf(http.StatusBadRequest, amtp.CodeValidationFailed, "%v", err)
	case errors.Is(err, auth.ErrNoSuchKey):
		return amtp.Errorf(http.StatusNotFound, amtp.CodeNotFound, "there is no such key")
	}
	return err
}

func (s *Server) apiKeys(r *request) (reply, error) {
	all, err := r.keys.All(r.Context())
	if err != nil {
		return reply{}, err
	}
	list := make([]keyView, len(all))
	for i, k := range all {
		list[i] = viewKey(k, "")
	}
	return reply{body: struct {
		Keys      []keyView `json:"api_keys"`
		Count     int       `json:"count"`
		Timestamp time.Time `json:"timestamp"`
	}{list, len(list), r.now.UTC()}}, nil
}

func (s *Server) makeAPIKey(r *request) (reply, error) {
	b, err := decode[struct {
		Name    string    `json:"name"`
		Domain  string    `json:"domain"`
		Scopes  []string  `json:"scopes"`
		Expires time.Time `json:"expires_at"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	k, key, err := r.keys.Make(r.Context(), b.Name, b.Domain, b.Scopes, b.Expires)
	if err != nil {
		return reply{}, keyFailed(err)
	}
	s.log.Info("API key made", "key", k.ID, "domain", k.Domain)
	return reply{status: http.StatusCreated, body: viewKey(k, key)}, nil
}

func (s *Server) rotateAPIKey(r *request) (reply, error) {
	k, key, err := r.keys.Rotate(r.Context(), r.PathValue("id"))
	if err != nil {
		return reply{}, keyFailed(err)
	}
	s.log.Info("API key rotated", "key", k.ID, "domain", k.Domain)
	return reply{body: viewKey(k, key)}, nil
}

func (s *Server) removeAPIKey(r *request) (reply, error) {
	id := r.PathValue("id")
	if err := r.keys.Remove(r.Context(), id); err != nil {
		return reply{}, keyFailed(err)
	}
	s.log.Info("API key revoked", "key", id)
	return reply{body: map[string]any{"message": "API key revoked", "id": id, "timestamp": r.now.UTC()}}, nil
}
