package relay

import (
	"sync"

	"amesh/relay/mailbox"
)

// credit is what was handed to a receiver with "ack" and is not acknowledged.
// It is safe for concurrent use.
type credit struct {
	max Size

	mu   sync.Mutex
	used Size
	held map[string][]holding
}

type holding struct {
	cursor mailbox.Cursor
	bytes  int64
}

func newCredit(max Size) *credit {
	return &credit{max: max}
}

// room is what may still be handed out; without room Messages is zero.
func (c *credit) room() Size {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used.Messages >= c.max.Messages || c.used.Bytes >= c.max.Bytes {
		return Size{}
	}
	return Size{Messages: c.max.Messages - c.used.Messages, Bytes: c.max.Bytes - c.used.Bytes}
}

func (c *credit) hold(row *mailbox.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := row.ID.String()
	if c.held == nil {
		c.held = map[string][]holding{}
	}
	c.held[id] = append(c.held[id], holding{row.Cursor, row.Size()})
	c.used = c.used.Plus(1, row.Size())
}

// release gives the cursors of acknowledged messages. Two senders may have left
// the same envelope; an id acknowledges its oldest delivery only, so that a copy
// cannot take the original with it. Unknown ids are ignored.
func (c *credit) release(ids []string) []mailbox.Cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	var cursors []mailbox.Cursor
	for _, id := range ids {
		list := c.held[id]
		if len(list) == 0 {
			continue
		}
		cursors = append(cursors, list[0].cursor)
		c.used = c.used.Plus(-1, -list[0].bytes)
		if len(list) == 1 {
			delete(c.held, id)
			continue
		}
		c.held[id] = list[1:]
	}
	return cursors
}
