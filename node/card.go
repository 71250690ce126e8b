package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

// cardName is the owner's file with what he says of an agent, in the agent's folder.
const cardName = "card.json"

// cardRenew is the age at which a card is signed anew: it holds for a week, and those who
// have it are away for a while.
const cardRenew = 24 * time.Hour

// cardFile is what the owner says of an agent, and the signed form of it. A file that
// says nothing is an empty card, which takes back those before; no file is none.
type cardFile struct {
	path  string
	sign  func(context.Context, identity.Card) ([]byte, error)
	clock func() time.Time

	mu      sync.Mutex
	said    *api.CardContent // nil: no file
	raw     []byte           // as it was signed last; nil: not yet, or something else is said now
	renewed time.Time
	changes int // of what is said
}

// openCard reads the owner's file.
func openCard(path string, clock func() time.Time) (*cardFile, error) {
	c := &cardFile{path: path, clock: clock}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	c.said = new(api.CardContent)
	if err := d.Decode(c.said); err != nil {
		return nil, fmt.Errorf("card %s: %w; mend it, or move it away and use amesh agent card set", path, err)
	}
	return c, nil
}

// content is what the owner says, empty for nothing.
func (c *cardFile) content() api.CardContent {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		return api.CardContent{}
	}
	return *c.said
}

// signed is the card as it goes to others, nil where there never was one. It is signed
// anew when it is a day old.
func (c *cardFile) signed(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	if c.said == nil || c.raw != nil && now.Sub(c.renewed).Abs() < cardRenew {
		return c.raw, nil
	}
	raw, err := c.sign(ctx, identity.Card{Name: c.said.Name, Description: c.said.Description, Capabilities: c.said.Capabilities})
	if err != nil {
		return nil, err
	}
	c.raw, c.renewed = raw, now
	return raw, nil
}

// now is the card as it was signed last, nil for none.
func (c *cardFile) now() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw
}

// edition changes when something else is said.
func (c *cardFile) edition() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf(" card %d", c.changes)
}

// set replaces what the owner says, once it can be signed and is on disk.
func (c *cardFile) set(ctx context.Context, said api.CardContent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil && said.Empty() {
		return nil // there is nothing to take back
	}
	raw, err := c.sign(ctx, identity.Card{Name: said.Name, Description: said.Description, Capabilities: said.Capabilities})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(said, "", "  ")
	if err != nil {
		return err
	}
	if err := identity.ReplaceFile(c.path, append(text, '\n')); err != nil {
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
