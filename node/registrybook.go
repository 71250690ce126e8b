package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
)

// registryBook remembers in the agents' state where they are registered with a
// signature over the whole request: such a registry is never signed for in another way
// again, and an agent that is registered may be introduced to a legacy relay.
type registryBook struct {
	store store.Store

	mu   sync.Mutex
	rows map[registration]registryRow
}

// registration is an agent at a registry.
type registration struct {
	amid identity.AMID
	url  string
}

// registryRow is what is remembered of a registration.
type registryRow struct {
	Since time.Time          `json:"since"`
	Root  identity.PublicKey `json:"root,omitzero"` // the key that it signs certificates with
}

func (r registration) key() []byte {
	return append(append(r.amid[:len(r.amid):len(r.amid)], agent.RowRegistry), r.url...)
}

// openRegistryBook reads what is remembered of the registries that the owner names. What
// he names no more is forgotten: so he can take a pin back.
func openRegistryBook(ctx context.Context, st store.Store, agents []identity.AMID, named map[string]bool) (*registryBook, error) {
	b := &registryBook{store: st, rows: make(map[registration]registryRow)}
	var gone []registration
	err := st.View(func(r store.Reader) error {
		for _, amid := range agents {
			err := scanBook(r, registration{amid: amid}.key(), func(url string, row registryRow) {
				if one := (registration{amid, url}); named[url] {
					b.rows[one] = row
				} else {
					gone = append(gone, one)
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("registries: %w", err)
	}
	if len(gone) == 0 {
		return b, nil
	}
	return b, st.Update(ctx, func(tx store.Tx) error {
		for _, one := range gone {
			if err := tx.Delete(one.key()); err != nil {
				return err
			}
		}
		return nil
	})
}

// pinned reports whether an agent was ever registered at a registry by a signature over
// the whole request.
func (b *registryBook) pinned(url string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for one := range b.rows {
		if one.url == url {
			return true
		}
	}
	return false
}

func (b *registryBook) has(one registration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.rows[one].Since.IsZero()
}

// remember writes that an agent is registered.
func (b *registryBook) remember(ctx context.Context, one registration, now time.Time) error {
	if b.has(one) {
		return nil
	}
	now = now.UTC().Truncate(time.Second)
	return b.write(ctx, one, registryRow{Since: now})
}

func (b *registryBook) write(ctx context.Context, one registration, row registryRow) error {
	if err := b.store.Update(ctx, func(tx store.Tx) error { return setBook(tx, one.key(), row) }); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows[one] = row
	return nil
}

// pinRoot remembers the root key of a registry where an agent is registered, and returns
// the one that it is held to: the first.
func (b *registryBook) pinRoot(ctx context.Context, url string, root identity.PublicKey) (identity.PublicKey, error) {
	rows := make(map[registration]registryRow)
	b.mu.Lock()
	for one, row := range b.rows {
		if one.url == url {
			rows[one] = row
		}
	}
	b.mu.Unlock()
	for _, row := range rows {
		if row.Root != (identity.PublicKey{}) {
			root = row.Root
		}
	}
	for one, row := range rows {
		if row.Root == root {
			continue
		}
		row.Root = root
		if err := b.write(ctx, one, row); err != nil {
			return root, err
		}
	}
	return root, nil
}
