package relay

import (
	"context"
	"sync"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// guarded knows who has an allow list in force, for the mailbox looks at these only
// when something is stored.
type guarded struct {
	mailbox.Mailbox

	mu     sync.Mutex
	owners map[identity.AMID]struct{}
	lost   bool // there were more than can be remembered: anybody may have one
}

// maxGuarded bounds what is remembered.
const maxGuarded = 1_000_000

func newGuarded(box mailbox.Mailbox) *guarded {
	return &guarded{Mailbox: box, owners: map[identity.AMID]struct{}{}}
}

// Allow implements mailbox.Mailbox.
func (g *guarded) Allow(ctx context.Context, owner identity.AMID, list *mailbox.AllowList) error {
	if list != nil {
		// Before it is in force, so that nothing slips past it.
		g.note(owner)
		return g.Mailbox.Allow(ctx, owner, list)
	}
	err := g.Mailbox.Allow(ctx, owner, nil)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.owners, owner)
	}
	return err
}

func (g *guarded) note(owner identity.AMID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.owners) >= maxGuarded {
		g.owners, g.lost = map[identity.AMID]struct{}{}, true
	}
	g.owners[owner] = struct{}{}
}

func (g *guarded) has(owner identity.AMID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, has := g.owners[owner]
	return has || g.lost
}
