package dht

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"amesh/identity"
)

// ErrQuery reports a search that names nothing, or names it wrongly.
var ErrQuery = errors.New("search refused")

// Query says what is searched: the cards of agents that have one capability with all
// that is named here. Of ID and Category one must be there.
type Query struct {
	ID       string // id of a capability, or its beginning up to a slash
	Exact    bool   // ID itself only, nothing under it
	Category string
}

func (q Query) check() error {
	if q.ID == "" && q.Category == "" {
		return fmt.Errorf("%w: neither a capability nor a category", ErrQuery)
	}
	if q.ID != "" {
		if err := identity.CheckCapabilityID(q.ID); err != nil {
			return fmt.Errorf("%w: %w", ErrQuery, err)
		}
	}
	if q.Category != "" {
		if err := identity.CheckCategory(q.Category); err != nil {
			return fmt.Errorf("%w: %w", ErrQuery, err)
		}
	}
	return nil
}

// Matches reports whether a card has what is searched.
func (q Query) Matches(c *identity.Card) bool {
	for i := range c.Capabilities {
		one := &c.Capabilities[i]
		id := q.ID == "" || one.ID == q.ID || !q.Exact && one.Under(q.ID)
		if id && (q.Category == "" || one.Category == q.Category) {
			return true
		}
	}
	return false
}

// topic is the word under which providers of the answer are looked for.
func (q Query) topic() string {
	if q.ID == "" {
		return q.Category
	}
	return firstWord(q.ID)
}

// topicsOf are the words under which a card can be found: its categories, and the
// first words of its capabilities. A word may come twice.
func topicsOf(c *identity.Card) []string {
	var list []string
	for i := range c.Capabilities {
		list = append(list, c.Capabilities[i].Category, firstWord(c.Capabilities[i].ID))
	}
	return list
}

func firstWord(id string) string {
	word, _, _ := strings.Cut(id, "/")
	return word
}

// topicKey is where the providers of a topic are kept in the table: the multihash
// 0x12 0x20 ‖ SHA-256("amesh-capability:" ‖ topic).
func topicKey(topic string) []byte {
	sum := sha256.Sum256([]byte("amesh-capability:" + topic))
	return append([]byte{0x12, 0x20}, sum[:]...)
}
