package relay

import (
	"context"

	"amesh/relay/mailbox"
)

// acked is what a receiver has and the mailbox has not yet removed. It belongs to the
// connection's mutex.
type acked struct {
	cursors []mailbox.Cursor
	running bool // a goroutine removes them
}

// acknowledge has removed what the receiver has, beside the reading, so that what is
// acknowledged meanwhile shares the next commit and what follows can be handed out. If
// it fails the messages come again on the next connection, and the receiver knows them.
func (c *conn) acknowledge(ids []string) {
	cursors := c.credit.release(ids)
	if len(cursors) == 0 {
		return
	}
	c.mu.Lock()
	c.acked.cursors = append(c.acked.cursors, cursors...)
	if !c.acked.running {
		c.acked.running = true
		c.wg.Go(c.removeAcked)
	}
	c.mu.Unlock()
	c.nudge()
}

func (c *conn) removeAcked() {
	for cursors := c.takeAcked(); len(cursors) > 0; cursors = c.takeAcked() {
		_, err := c.s.box.Delete(context.WithoutCancel(c.ctx), c.who, cursors)
		c.s.storageResult(err)
	}
}

func (c *conn) takeAcked() []mailbox.Cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	cursors := c.acked.cursors
	c.acked.cursors, c.acked.running = nil, len(cursors) > 0
	return cursors
}
