package agents

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/gateway/store"
)

// rows is a table of agents in memory.
type rows struct {
	mu      sync.Mutex
	list    []store.Agent
	version int64
	err     error
	reads   int // of all agents
	asked   int // for the version
}

func (r *rows) Agents(context.Context) ([]store.Agent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	return slices.Clone(r.list), r.err
}

func (r *rows) AgentsVersion(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.version, r.err
}

// edit changes the agent of an address, or says that there is none.
func (r *rows) edit(address string, f func(*store.Agent)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	for i := range r.list {
		if strings.EqualFold(r.list[i].Address, address) {
			f(&r.list[i])
			return nil
		}
	}
	return store.ErrNotFound
}

func (r *rows) AddAgent(_ context.Context, a store.Agent, _ bool) error {
	if err := r.edit(a.Address, func(*store.Agent) {}); err == nil {
		return store.ErrExists
	} else if err != store.ErrNotFound {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, a)
	r.version++
	return nil
}

func (r *rows) UpdateAgent(_ context.Context, a store.Agent) error {
	return r.edit(a.Address, func(old *store.Agent) {
		a.KeyHash, a.KeyExpires, a.Created, a.LastAccess = old.KeyHash, old.KeyExpires, old.Created, old.LastAccess
		*old = a
		r.version++
	})
}

func (r *rows) SetAgentKey(_ context.Context, address string, hash []byte, expires time.Time) error {
	return r.edit(address, func(a *store.Agent) {
		a.KeyHash, a.KeyExpires = hash, expires
		r.version++
	})
}

func (r *rows) RemoveAgent(_ context.Context, address string) error {
	return r.edit(address, func(a *store.Agent) {
		gone := a.Address
		r.list = slices.DeleteFunc(r.list, func(a store.Agent) bool { return a.Address == gone })
		r.version++
	})
}

func (r *rows) Touch(_ context.Context, seen []store.Touched) error {
	for _, s := range seen {
		if err := r.edit(s.Address, func(a *store.Agent) { a.LastAccess = s.At }); err != nil && err != store.ErrNotFound {
			return err
		}
	}
	return nil
}

func (r *rows) first() store.Agent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list[0]
}

func (r *rows) readings() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}

// questions is how often the version was asked for.
func (r *rows) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}
