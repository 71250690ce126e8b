package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"amesh/gateway/agents"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/delivery"
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
	keys    *auth.APIKeys
	domains *domains

	delivery *delivery.Service
}

// outside makes what reaches others. Nothing of it is opened yet.
func (s *Server) outside() error {
	var err error
	if s.discovery, err = newDiscovery(s.cfg); err != nil {
		return err
	}
	peers, err := outward.New(s.cfg.Peers)
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	s.sender, err = peer.New(peer.Config{
		Client: peers, Discovery: s.discovery, Signer: s.cfg.Signer, Credentials: s.cfg.Credentials,
		AllowHTTP: s.cfg.Discovery.AllowHTTP, Log: s.log, Limits: peer.Limits{Timeout: s.cfg.Peers.Limits.Timeout},
	})
	if err != nil {
		return err
	}
	hooks, err := outward.New(s.cfg.Hooks)
	if err != nil {
		return fmt.Errorf("push targets: %w", err)
	}
	s.hooks = hooks
	if s.pusher, err = webhook.New(webhook.Config{Client: hooks, Timeout: s.cfg.Hooks.Limits.Timeout, Log: s.log}); err != nil {
		return err
	}
	return s.identify()
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
	known.Rows, known.Schemas, known.Shared = st, registered{p.schemas}, st.Kind() == "postgres"
	known.Heirs, known.Contact = s.cfg.TakeUnknown, s.hooks.Check
	if p.agents, err = agents.New(known); err != nil {
		return nil, err
	}
	limits := s.cfg.Delivery
	limits.Attempt = cmp.Or(limits.Attempt, 6*s.cfg.Peers.Limits.Timeout) // one request must fit in
	p.delivery, err = delivery.New(delivery.Config{
		Domain: s.cfg.Domain, Store: st, Peers: s.sender, Hooks: s.pusher, Agents: byAddress{p.agents}, Log: s.log, Limits: limits,
		UnknownPull: s.cfg.TakeUnknown,
	})
	if err != nil {
		return nil, err
	}
	st.OnHurry(p.delivery.Hurry)
	p.keys = auth.NewAPIKeys(st, s.cfg.Clock, s.log)
	p.domains = &domains{rows: st, log: s.log}
	return p, errors.Join(p.agents.Load(ctx), p.keys.Load(ctx), p.domains.load(ctx))
}

// byAddress finds agents by their whole address, all of which are of our domain.
type byAddress struct{ *agents.Directory }

// Lookup implements delivery.Agents.
func (b byAddress) Lookup(a amtp.Address) (store.Agent, bool) { return b.Directory.Lookup(a.Local) }

// Search implements delivery.Agents.
func (b byAddress) Search(ctx context.Context, a amtp.Address) (store.Agent, bool) {
	return b.Directory.Search(ctx, a.Local)
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

// crew are services that run until they are sent home. One that fails ends the others.
type crew struct {
	ctx  context.Context
	end  context.CancelCauseFunc
	home sync.WaitGroup
}

// newCrew has the values of ctx, and not its end.
func newCrew(ctx context.Context) *crew {
	c := new(crew)
	c.ctx, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	return c
}

func (c *crew) start(name string, run func(context.Context) error) {
	c.home.Go(func() {
		if err := run(c.ctx); err != nil {
			c.end(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// sendHome returns when the last one is home, with the error that ended them early.
func (c *crew) sendHome() error {
	c.end(nil)
	c.home.Wait()
	if err := context.Cause(c.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
