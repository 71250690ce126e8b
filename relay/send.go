package relay

import (
	"context"
	"errors"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// A delivery is one send frame on its way into mailboxes: what to store for it,
// or why it is refused.
type delivery struct {
	clientID string
	messages []mailbox.Message
	refused  RefusalCode
	retry    time.Duration
}

// relay stores a run of send frames with one commit and answers them in order.
func (c *conn) relay(sends []sendFrame) {
	if len(sends) == 0 {
		return
	}
	deliveries := make([]delivery, len(sends))
	var wait time.Duration
	for i := range sends {
		d := c.check(&sends[i])
		if d.refused == "" {
			var hold time.Duration
			if hold, d.retry, d.refused = c.spend(&d); d.refused == "" {
				wait = max(wait, hold)
			}
		}
		deliveries[i] = d
	}
	c.hold(wait)
	c.keep(deliveries)
}

// keep stores what was counted against the sender's rate.
func (c *conn) keep(deliveries []delivery) {
	var messages []mailbox.Message
	for i := range deliveries {
		if deliveries[i].refused == "" {
			messages = append(messages, deliveries[i].messages...)
		}
	}
	stored, err := c.put(messages)
	if err == nil {
		// Before anybody hears of it: what is stored must not be overtaken by what
		// is sent because of that.
		c.nudgeReceivers(messages)
	}
	defer c.queue.flush()
	for i := range deliveries {
		d := &deliveries[i]
		if d.refused != "" {
			c.answerRefused(d)
			continue
		}
		if err != nil {
			d.refused, d.retry = RefusedStorage, c.s.limits.StorageRetry
			c.answerRefused(d)
			continue
		}
		n := len(d.messages)
		c.answer(d, stored[:n])
		stored = stored[n:]
	}
}

func (c *conn) put(messages []mailbox.Message) ([]mailbox.Stored, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	// What was read is stored even if the sender has hung up since: an SDK sends
	// its last words and closes at once.
	stored, err := c.s.box.Put(context.WithoutCancel(c.ctx), messages)
	c.s.storageResult(err)
	return stored, err
}

// check turns a frame into messages.
func (c *conn) check(f *sendFrame) delivery {
	d := delivery{clientID: f.ClientID}
	to, err := f.receiver()
	if f.broken || err != nil {
		d.refused = RefusedInvalid
		return d
	}
	for part := f; part != nil; part = part.second {
		if part.size() > c.s.limits.PayloadBytes {
			d.refused = RefusedTooLarge
			return d
		}
		d.messages = append(d.messages, mailbox.Message{
			From: c.who, To: to, ID: part.id(), Kind: part.Kind,
			Payload: part.Payload, Binary: part.binary, Candidates: part.Candidates, Once: c.ack && f.ClientID != "",
		})
	}
	return d
}

// spend counts a delivery against the sender's rate.
func (c *conn) spend(d *delivery) (wait, retry time.Duration, no RefusalCode) {
	if c.ack {
		wait, ok := c.s.rates.message(c.who, time.Now())
		if !ok {
			return 0, wait, RefusedRateLimited
		}
		return wait, 0, ""
	}
	sends, knocks := 0, 0
	for i := range d.messages {
		if d.messages[i].Kind == KindKnock {
			knocks++
		} else {
			sends++
		}
	}
	retry, ok := c.s.rates.legacy(c.who, sends, knocks, time.Now())
	if !ok {
		return 0, retry, RefusedRateLimited
	}
	return 0, 0, ""
}

// answer tells the sender what the commit brought. A client that gave no
// client_id hears of trouble only: the JavaScript SDK knows no other frame.
func (c *conn) answer(d *delivery, stored []mailbox.Stored) {
	for i := range stored {
		if errors.Is(stored[i].Err, mailbox.ErrStranger) {
			d.refused = RefusedNotAllowed
			c.answerRefused(d)
			return
		}
		if errors.Is(stored[i].Err, mailbox.ErrFull) {
			d.refused, d.retry = RefusedMailboxFull, c.s.limits.FullRetry
			c.answerRefused(d)
			return
		}
	}
	if d.clientID == "" || !c.ack {
		return
	}
	c.queue.put(c.relayedFrame(d.clientID, d.messages[0].ID, stored[0].Expires))
}

func (c *conn) answerRefused(d *delivery) {
	c.denied(d.refused)
	c.s.log.Debug("send refused", "peer", c.who, "code", d.refused)
	if c.ack && d.clientID != "" {
		c.queue.push(c.refusedFrame(d.clientID, d.refused, d.retry))
		return
	}
	c.queue.push(encode(legacyError(d.refused, d.retry)))
}

// legacyError is a refusal in the words of 0.2 (AgentMesh §2.4).
func legacyError(code RefusalCode, retry time.Duration) errorFrame {
	switch code {
	case RefusedRateLimited:
		return errorOf(CodeRateLimited, "Rate limit exceeded", retry)
	case RefusedMailboxFull:
		return errorOf(CodeRecipientOffline, "recipient's message queue is full", retry)
	case RefusedNotAllowed:
		return errorOf(CodeRecipientOffline, "recipient takes only knocks from agents that it does not know", 0)
	case RefusedTooLarge:
		return errorOf(CodeMessageTooLarge, "message is too large", 0)
	case RefusedInvalid:
		return errorOf(CodeInvalidMessage, "recipient is not an AMID", 0)
	case RefusedStorage:
		return errorOf(CodeInternalError, "storage unavailable", retry)
	}
	return errorOf(CodeInternalError, "internal error", 0)
}

func (c *conn) nudgeReceivers(messages []mailbox.Message) {
	var last identity.AMID
	for i := range messages {
		// Runs to one receiver are the usual case.
		if to := messages[i].To; i == 0 || to != last {
			last = to
			if peer := c.s.find(to); peer != nil {
				peer.nudge()
			}
		}
	}
}
