package relay

import (
	"time"

	"amesh/relay/mailbox"
)

// pump hands the mailbox to a receiver with "ack", within its credit. Rows stay
// until they are acknowledged, so nothing is lost whatever happens here.
func (c *conn) pump() {
	var cursor mailbox.Cursor
	for {
		room := c.credit.room()
		if room.Messages == 0 {
			if !c.sleep(nil) {
				return
			}
			continue
		}
		rows, err := c.s.box.List(c.ctx, c.who, cursor, room)
		if err != nil || len(rows) == 0 {
			if !c.sleep(err) {
				return
			}
			continue
		}
		for i := range rows {
			row := &rows[i]
			cursor = row.Cursor
			if row.Notice != nil {
				continue // no frame of the wire carries it yet
			}
			c.credit.hold(row)
			if !c.queue.push(c.receiveFrame(row)) {
				return
			}
		}
	}
}

// pumpOnce hands the mailbox to a receiver without "ack". A frame that may have
// reached it must never come again, so rows are removed first and written then,
// few at a time, because these are lost if the connection ends in between.
func (c *conn) pumpOnce() {
	for {
		rows, err := c.s.box.Take(c.ctx, c.who, c.s.limits.LegacyBatch)
		if err != nil || len(rows) == 0 {
			if !c.sleep(err) {
				return
			}
			continue
		}
		for i := range rows {
			if !c.queue.push(encode(receiveOf(&rows[i], ""))) {
				return
			}
		}
		if !c.queue.drained() {
			return
		}
	}
}

// sleep waits for a nudge; after a failure of the mailbox it tries again by
// itself. It is false when the connection ends.
func (c *conn) sleep(failed error) bool {
	if failed == nil {
		select {
		case <-c.wake:
			return true
		case <-c.done:
			return false
		}
	}
	if c.ctx.Err() == nil {
		c.s.storageResult(failed)
	}
	t := time.NewTimer(c.s.limits.StorageRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.done:
		return false
	}
}

func receiveOf(row *mailbox.Row, id string) receiveFrame {
	return receiveFrame{
		Type: typeReceive, From: row.From.String(), Payload: row.Payload, Kind: row.Kind,
		Timestamp: wireStamp(row.At), Candidates: row.Candidates, ID: id,
	}
}
