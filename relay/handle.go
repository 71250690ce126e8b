package relay

import (
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"

	"github.com/coder/websocket"
)

// handleBatch works through frames of one connection in their order.
func (c *conn) handleBatch(batch []any) {
	if len(batch) == 0 {
		return // before anything below makes the stack of a connection at rest grow
	}
	var sends []sendFrame
	var acks []string
	for _, frame := range batch {
		switch f := frame.(type) {
		case sendFrame:
			sends = append(sends, f)
		case ackFrame:
			acks = append(acks, f.IDs...)
		default:
			// Whatever else was said after a send happens after it.
			c.relay(sends)
			sends = nil
			c.handle(frame)
		}
	}
	c.relay(sends)
	c.acknowledge(acks)
}

// ignoredFrame stands for a frame that is unknown or malformed: nothing comes of it, but
// reading it is work, so it is held back like any other.
type ignoredFrame struct{}

// bulk is how many bytes of one frame cost as much as another frame: a frame that need
// not be long is read, parsed and perhaps forwarded whatever its length.
const bulk = 16 << 10

// weigh holds the reader back for the length of a frame. Messages have their own
// limits, and the lists of allow frames are counted by their hashes.
func (c *conn) weigh(frame any, size int) {
	switch frame.(type) {
	case sendFrame, allowFrame:
		return
	}
	if n := size / bulk; n > 0 {
		c.direct.flush() // nobody else waits for that
		c.hold(c.s.rates.weight(c.who, n, time.Now()))
	}
}

func (c *conn) handle(frame any) {
	cost := 1
	if f, is := frame.(allowFrame); is {
		cost = c.allowing.cost(f)
	}
	wait, ok := c.s.rates.query(c.who, cost, time.Now())
	if !ok {
		c.s.log.Debug("frame dropped", "peer", c.who, "reason", "rate")
		c.tooOften(frame)
		return
	}
	c.hold(wait)
	switch f := frame.(type) {
	case pingFrame:
		if t, err := timestamp.Parse(f.Timestamp); err == nil {
			c.queue.push(encode(pingFrame{Type: typePong, Timestamp: timestamp.Text(t)}))
		}
	case allowFrame:
		c.allow(f)
	case depositFrame:
		c.deposit(f)
	case presenceFrame:
		c.mu.Lock()
		c.status, c.seen = f.Status, time.Now()
		c.mu.Unlock()
	case presenceQueryFrame:
		c.queue.push(encode(c.s.presence(f.AMID)))
	case iceFrame:
		c.forwardICE(f)
	case p2pFrame:
		c.forward(f.Peer, p2pFrame{Type: typeP2P, Peer: c.who.String()})
	case getPendingFrame:
		// Everything was pushed already (AgentMesh §2.6).
		c.queue.push(encode(pendingFrame{Type: typePending, Messages: []struct{}{}}))
	case disconnectFrame:
		c.stop(websocket.StatusNormalClosure, "")
	}
}

// tooOften answers the frames beyond the rate whose senders wait for an answer.
func (c *conn) tooOften(frame any) {
	switch f := frame.(type) {
	case allowFrame:
		if slices.Contains(c.agreed, ExtensionAllow) {
			c.queue.push(encode(allowedFrame{Type: typeAllowed, Version: f.version, Code: RefusedRateLimited}))
		}
	case depositFrame:
		if slices.Contains(c.agreed, ExtensionEpoch) {
			c.queue.push(encode(depositedFrame{Type: typeDeposited, Code: RefusedRateLimited}))
		}
	}
}

// presence answers for anybody who asks. The name is repeated as it was asked.
func (s *Server) presence(name string) presenceReplyFrame {
	f := presenceReplyFrame{Type: typePresenceReply, AMID: name, Status: statusOffline}
	who, err := identity.ParseAMID(name)
	if err != nil {
		return f
	}
	peer := s.seen(who)
	if peer == nil {
		return f
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	f.Status, f.LastSeen = peer.status, timestamp.Text(peer.seen)
	return f
}

// seen returns the connection of an agent that lets others know of it, or nil.
func (s *Server) seen(who identity.AMID) *conn {
	c := s.find(who)
	if c == nil || slices.Contains(c.agreed, ExtensionHidden) {
		return nil
	}
	return c
}

// forwardICE passes a candidate exchange on if the peer is there. Only for an
// offer is its absence worth an error (AgentMesh §2.7).
func (c *conn) forwardICE(f iceFrame) {
	to := f.To
	// On delivery "to" names the sender; clients of 0.2 rely on it.
	f.To = c.who.String()
	if !c.forward(to, f) && f.Type == typeICEOffer {
		c.queue.push(encode(errorOf(CodeRecipientOffline, "recipient is not connected", 0)))
	}
}

// forward offers a frame to a connected agent. It never waits for the other's
// socket, and what does not fit is dropped: these frames age in seconds.
func (c *conn) forward(to string, frame any) bool {
	who, err := identity.ParseAMID(to)
	if err != nil {
		return false
	}
	peer := c.s.seen(who)
	return peer != nil && peer.queue.offer(encode(frame))
}

// hold waits a little, or until the connection ends.
func (c *conn) hold(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}
