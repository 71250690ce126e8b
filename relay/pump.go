package relay

import (
	"amesh/internal/timestamp"
	"amesh/relay/mailbox"
)

// pumping says who hands out the mailbox of a connection. It belongs to the
// connection's mutex.
type pumping struct {
	running bool // a goroutine is at it
	again   bool // there may be something that it has not seen
	// caughtUp says that everything in the mailbox was handed out, or that there is
	// no credit for more.
	caughtUp bool
}

// nudge says that there may be something in the mailbox.
func (c *conn) nudge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.pumping.again, c.pumping.caughtUp = true, false
	if !c.pumping.running {
		c.pumping.running = true
		c.wg.Go(c.pump)
	}
}

// lookAgain reports whether pump has to go on, having found nothing.
func (c *conn) lookAgain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pumping.again && !c.closed {
		c.pumping.again = false
		return true
	}
	c.pumping.running, c.pumping.caughtUp = false, true
	return false
}

// pump hands out the mailbox until nothing is left of it.
func (c *conn) pump() {
	some := c.handOnce
	if c.ack {
		some = c.handOut
	}
	for c.lookAgain() {
		for more := true; more && c.ctx.Err() == nil; {
			var err error
			if more, err = some(); err != nil {
				c.pauseAfter(err)
				more = true
			}
		}
	}
}

// handful is what is taken out of a mailbox at a time, so that a reader who does not
// read costs little (T47): as much fits into one write.
var handful = Size{Messages: 32, Bytes: 32 << 10}

// handOut hands some messages to a receiver with "ack", within its credit. Rows stay
// until they are acknowledged, so nothing is lost whatever happens here.
func (c *conn) handOut() (more bool, err error) {
	room := c.credit.room()
	if room.Messages == 0 || !c.queue.drained() {
		return false, nil
	}
	room = Size{Messages: min(room.Messages, handful.Messages), Bytes: min(room.Bytes, handful.Bytes)}
	rows, err := c.s.box.List(c.ctx, c.who, c.cursor, room)
	if err != nil {
		return false, err
	}
	defer c.queue.flush()
	for i := range rows {
		row := &rows[i]
		c.cursor = row.Cursor
		if row.Notice != nil && !c.announce(row) {
			continue
		}
		c.credit.hold(row)
		if !c.queue.put(c.receiveFrame(row)) {
			return false, nil
		}
	}
	return len(rows) > 0, nil
}

// handOnce hands some messages to a receiver without "ack". A frame that may have
// reached it must never come again, so rows are removed first and written then, few
// at a time, because these are lost if the connection ends in between.
func (c *conn) handOnce() (more bool, err error) {
	rows, err := c.s.box.Take(c.ctx, c.who, c.s.limits.LegacyBatch)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	for i := range rows {
		if !c.queue.put(receiveText(&rows[i], "")) {
			return false, nil
		}
	}
	return c.queue.drained(), nil
}

// pauseAfter waits after a failure of the mailbox, before it is tried again.
func (c *conn) pauseAfter(failed error) {
	if c.ctx.Err() == nil {
		c.s.storageResult(failed)
	}
	c.hold(c.s.limits.StorageRetry)
}

func receiveOf(row *mailbox.Row, id string) receiveFrame {
	return receiveFrame{
		Type: typeReceive, From: row.From.String(), Payload: payloadText(row), Kind: row.Kind,
		Timestamp: timestamp.Text(row.At), Candidates: row.Candidates, ID: id,
	}
}

// receiveText is the receive frame of a row. What anybody sends needs no escapes, and
// is a third of the work then.
func receiveText(row *mailbox.Row, id string) []byte {
	payload := payloadText(row)
	if row.Candidates != nil || !plain(payload) {
		return encode(receiveOf(row, id))
	}
	b := make([]byte, 0, 256+len(payload))
	b = append(b, `{"type":"receive","from":"`...)
	b = append(b, row.From.String()...)
	b = append(b, `","encrypted_payload":"`...)
	b = append(b, payload...)
	b = append(b, `","message_type":"`...)
	b = append(b, row.Kind...)
	b = append(b, `","timestamp":"`...)
	b = append(b, timestamp.Text(row.At)...)
	if id != "" {
		b = append(b, `","id":"`...)
		b = append(b, id...)
	}
	return append(b, `"}`...)
}
