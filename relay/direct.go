package relay

import (
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"
)

// direct is how a sender of 0.2 reaches receivers of 0.2 who are there: its frames go
// from socket to socket, for nobody asked to have them kept (relay.md §3.1). It
// belongs to the goroutine that reads from the sender.
type direct struct {
	to    []byte // the last receiver's name as the frame had it
	who   identity.AMID
	peer  *conn  // the last receiver's connection, during what is read together
	dirty bool   // peer was given something that is not on its way
	head  []byte // how every frame of this sender begins
	stamp []byte // the time of what is read together; empty: to be taken
}

// flush sends what receivers were given on its way.
func (d *direct) flush() {
	if d.dirty {
		d.peer.queue.flush()
	}
	d.peer, d.dirty, d.stamp = nil, false, d.stamp[:0]
}

// passOn hands a send frame to its receiver. It is false, and has done nothing, when
// the frame must take the way through the mailbox.
func (c *conn) passOn(data []byte) bool {
	// Whoever speaks "ack" is owed answers that only a mailbox can give.
	if c.ack {
		return false
	}
	f, ok := scanSend(data, c.s.limits)
	if !ok || len(f.payload) > c.s.limits.PayloadBytes {
		return false
	}
	peer := c.receiver(f.to)
	if peer == nil {
		return false
	}
	c.gotType(typeSend, len(data))
	sends, knocks := 1, 0
	if Kind(f.kind) == KindKnock {
		sends, knocks = 0, 1
	}
	now := time.Now()
	retry, ok := c.s.rates.legacy(c.who, sends, knocks, now)
	if !ok {
		c.answerRefused(&delivery{refused: RefusedRateLimited, retry: retry})
		return true
	}
	if !c.direct.give(c.who, &f, now) {
		// It was counted; what is left is to keep it.
		frame := f.frame()
		c.direct.flush()
		c.keep([]delivery{c.check(&frame)})
	}
	return true
}

// receiver is the connection of a receiver who can be given frames without storing
// them first: it is of 0.2, has no allow list, which storing looks at, and everything
// that was stored for it before is on its way.
func (c *conn) receiver(to []byte) *conn {
	d := &c.direct
	if string(d.to) != string(to) {
		d.flush()
		who, err := identity.ParseAMID(string(to))
		if err != nil {
			return nil
		}
		d.to, d.who = append(d.to[:0], to...), who
	}
	if d.peer == nil {
		d.peer = c.s.find(d.who)
	}
	if d.peer == nil || !d.peer.takesDirectly() || c.s.guarded.has(d.who) {
		return nil
	}
	return d.peer
}

func (c *conn) takesDirectly() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ack && !c.closed && c.pumping.caughtUp
}

// give puts a frame into the receiver's queue. It is false if there is no room.
func (d *direct) give(from identity.AMID, f *sendText, now time.Time) bool {
	if d.head == nil {
		d.head = append(d.head, `{"type":"receive","from":"`+from.String()+`","encrypted_payload":"`...)
	}
	if len(d.stamp) == 0 {
		d.stamp = append(append(d.stamp, `","timestamp":"`...), timestamp.Text(now)+`"}`...)
	}
	q := d.peer.queue
	ok := q.tryParts(d.head, f.payload, middle, f.kind, d.stamp)
	if !ok {
		q.flush()
		ok = q.tryParts(d.head, f.payload, middle, f.kind, d.stamp)
	}
	if ok {
		d.dirty = true
		size := len(d.head) + len(f.payload) + len(middle) + len(f.kind) + len(d.stamp)
		d.peer.s.counts.out.add(typeReceive, size)
		d.peer.wroteBytes(size)
	}
	return ok
}

var middle = []byte(`","message_type":"`)
