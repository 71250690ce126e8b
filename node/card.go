package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"amesh/node/api"
)

// cardRenew is the age at which a card is signed anew: it holds for a week, and those who
// have it are away for a while.
const cardRenew = 24 * time.Hour

// signedCard is what the owner says of an agent, and the signed form of it. Saying
// nothing any more is an empty card, which takes back those before.
type signedCard struct {
	sign  func(context.Context, api.CardContent) ([]byte, error) // and keep what is said
	clock func() time.Time

	mu      sync.Mutex
	said    *api.CardContent // nil: there never was a card
	raw     []byte           // as it was signed last by this process, nil: not yet
	renewed time.Time
	changes int // of what is said
}

// content is what the owner says, empty for nothing.
func (c *signedCard) content() api.CardContent {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		return api.CardContent{}
	}
	return *c.said
}

// signed is the card as it goes to others, nil where there never was one. It is signed
// anew when it is a day old.
func (c *signedCard) signed(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	if c.said == nil || c.raw != nil && now.Sub(c.renewed).Abs() < cardRenew {
		return c.raw, nil
	}
	raw, err := c.sign(ctx, *c.said)
	if err != nil {
		return nil, err
	}
	c.raw, c.renewed = raw, now
	return raw, nil
}

// now is the card as it was signed last, nil for none.
func (c *signedCard) now() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw
}

// edition changes when something else is said.
func (c *signedCard) edition() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf(" card %d", c.changes)
}

// set replaces what the owner says, once it is signed and kept.
func (c *signedCard) set(ctx context.Context, said api.CardContent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil && said.Empty() {
		return nil // there is nothing to take back
	}
	raw, err := c.sign(ctx, said)
	if err != nil {
		return err
	}
	c.said, c.raw, c.renewed = &said, raw, c.clock()
	c.changes++
	return nil
}

// capabilityIDs are what 0.2 registries are told of a card.
func capabilityIDs(c api.CardContent) []string {
	ids := []string{}
	for _, one := range c.Capabilities {
		ids = append(ids, one.ID)
	}
	return ids
}
