package gateway

import (
	"context"
	"errors"
	"fmt"

	"amesh/gateway/agents"
	"amesh/gateway/discovery"
	"amesh/gateway/peer"
	"amesh/gateway/schema"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
	"amesh/internal/outward"
)

// parts are what work behind the door while Run runs.
type parts struct {
	store   *store.Store
	agents  *agents.Directory
	schemas *schema.Service
}

// outside makes what reaches others. Nothing of it is opened yet.
func (s *Server) outside() error {
	var err error
	if s.resolver, err = discovery.New(s.cfg.Discovery); err != nil {
		return err
	}
	peers, err := outward.New(s.cfg.Peers)
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	s.sender, err = peer.New(peer.Config{
		Client: peers, Discovery: s.resolver, Signer: s.cfg.Signer, Credentials: s.cfg.Credentials,
		AllowHTTP: s.cfg.Discovery.AllowHTTP, Log: s.log,
	})
	if err != nil {
		return err
	}
	hooks, err := outward.New(s.cfg.Hooks)
	if err != nil {
		return fmt.Errorf("push targets: %w", err)
	}
	s.pusher, err = webhook.New(webhook.Config{Client: hooks, Log: s.log})
	return err
}

// assemble makes the parts around a store that was opened.
func (s *Server) assemble(ctx context.Context, st *store.Store) (*parts, error) {
	p := &parts{store: st}
	st.OnChange(s.watch.changed)
	schemas := s.cfg.Schemas
	var err error
	if s.cfg.Registry != nil {
		if schemas.Registry, err = s.cfg.Registry(st); err != nil {
			return nil, err
		}
	}
	if p.schemas, err = schema.New(schemas); err != nil {
		return nil, err
	}
	known := s.cfg.Agents
	known.Rows, known.Schemas = st, registered{p.schemas}
	if p.agents, err = agents.New(known); err != nil {
		return nil, err
	}
	return p, p.agents.Load(ctx)
}

// registered says which schemas there are.
type registered struct{ *schema.Service }

// Known implements agents.Schemas.
func (r registered) Known(ctx context.Context, id string) (bool, error) {
	if !r.Configured() {
		return true, nil
	}
	name, err := schema.ParseID(id)
	if err != nil {
		return false, nil
	}
	_, err = r.Get(ctx, name)
	if errors.Is(err, schema.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// running are those that run, by name.
func (p *parts) running(cfg Config) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"store":  func(ctx context.Context) error { return p.store.Run(ctx, store.Options{Retention: cfg.Retention}) },
		"agents": p.agents.Run,
	}
}
