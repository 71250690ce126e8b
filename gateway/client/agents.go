package client

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Agent is an agent of the gateway's domain. The key is only there when it was made.
type Agent struct {
	Address        string            `json:"address"`
	Mode           string            `json:"delivery_mode,omitempty"` // not there with a new key
	PushTarget     string            `json:"push_target,omitempty"`
	Headers        map[string]string `json:"headers,omitempty"`
	APIKey         string            `json:"api_key,omitempty"`
	KeyExpires     time.Time         `json:"api_key_expires_at,omitzero"` // zero: never
	PushSecret     string            `json:"push_secret,omitempty"`
	Schemas        []string          `json:"supported_schemas,omitempty"`
	RequiresSchema bool              `json:"requires_schema,omitempty"`
	Role           string            `json:"role,omitempty"`
	Description    string            `json:"description,omitempty"`
	Capabilities   []string          `json:"capabilities,omitempty"`
	Created        time.Time         `json:"created_at,omitzero"`
	LastAccess     time.Time         `json:"last_access,omitzero"`
}

// AgentChange is what to change of an agent; nil leaves as it is.
type AgentChange struct {
	Mode         *string            `json:"delivery_mode,omitempty"`
	PushTarget   *string            `json:"push_target,omitempty"`
	Headers      *map[string]string `json:"headers,omitempty"`
	Schemas      *[]string          `json:"supported_schemas,omitempty"`
	Role         *string            `json:"role,omitempty"`
	Description  *string            `json:"description,omitempty"`
	Capabilities *[]string          `json:"capabilities,omitempty"`
	NewSecret    bool               `json:"new_push_secret,omitempty"` // for what is pushed
}

type agentReply struct {
	Agent Agent `json:"agent"`
}

// Register adds an agent, and returns it with its key.
func (c *Client) Register(ctx context.Context, a Agent) (Agent, error) {
	got, err := ask[agentReply](ctx, c, call{method: http.MethodPost, path: []string{"v1", "admin", "agents"}, body: a})
	return got.Agent, err
}

// Agents are all agents, by address.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	got, err := get[struct {
		Agents map[string]Agent `json:"agents"`
	}](ctx, c, nil, "admin", "agents")
	if err != nil {
		return nil, err
	}
	all := make([]Agent, 0, len(got.Agents))
	for address, a := range got.Agents {
		a.Address, a.APIKey = address, ""
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Agent) int { return strings.Compare(a.Address, b.Address) })
	return all, nil
}

// ChangeAgent changes an agent, by its name or address.
func (c *Client) ChangeAgent(ctx context.Context, name string, change AgentChange) (Agent, error) {
	got, err := ask[agentReply](ctx, c, call{method: http.MethodPatch, path: []string{"v1", "admin", "agents", name}, body: change})
	return got.Agent, err
}

// RotateKey gives an agent another key, which counts until expires (zero: for ever); the old
// one is worth nothing from then on.
func (c *Client) RotateKey(ctx context.Context, name string, expires time.Time) (Agent, error) {
	q := call{method: http.MethodPost, path: []string{"v1", "admin", "agents", name, "rotate-key"}}
	if !expires.IsZero() {
		q.body = map[string]time.Time{"api_key_expires_at": expires}
	}
	return ask[Agent](ctx, c, q)
}

// Unregister removes an agent, and its inbox with it.
func (c *Client) Unregister(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "admin", "agents", name}}, nil)
}

// values makes a query of what is not empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}
