package relay

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// Marks keeps a rollback mark for each agent (relay.md §10); marks.Disk does. It is
// safe for concurrent use. Its errors are mailbox.ErrFull or wrap mailbox.ErrStorage or
// mailbox.ErrBroken.
type Marks interface {
	// Get returns the mark of owner, nil if there is none.
	Get(ctx context.Context, owner identity.AMID) ([]byte, error)
	// Keep stores a mark unless there is one that it does not replace, and returns
	// the one that is kept, which is durable then.
	Keep(ctx context.Context, owner identity.AMID, mark []byte, replaces func(kept []byte) bool) ([]byte, error)
	// Sweep forgets what nobody has asked for in a long time.
	Sweep(ctx context.Context) error
}

// depositFrame leaves a mark; mark is nil if it was no base64.
type depositFrame struct{ mark []byte }

// depositedFrame answers with the mark that is kept, or with a code.
type depositedFrame struct {
	Type string      `json:"type"`
	Mark string      `json:"mark,omitempty"`
	Code RefusalCode `json:"code,omitempty"`
}

func (m members) deposit() depositFrame {
	ok := true
	mark := m.bytes("mark", &ok)
	if !ok {
		mark = nil
	}
	return depositFrame{mark}
}

// markPlace is where a connection's marks belong: the agent's key and the name under
// which it knows the relay.
type markPlace struct {
	key   identity.PublicKey
	relay string
}

func (p markPlace) parse(raw []byte) (*identity.RollbackMark, error) {
	return identity.ParseMark(raw, p.key, p.relay)
}

// higher reports whether a is further than b.
func higher(a, b *identity.RollbackMark) bool {
	return a.Epoch > b.Epoch || a.Epoch == b.Epoch && a.Reserved > b.Reserved
}

// readMark looks up what the agent has left here; the connect frame was verified.
func (c *conn) readMark(key identity.PublicKey, f connectFrame) error {
	if f.proves() {
		c.marks = markPlace{key: key, relay: f.Relay}
	}
	if !slices.Contains(c.agreed, ExtensionEpoch) {
		return nil
	}
	raw, err := c.s.marks.Get(c.ctx, c.who)
	if err != nil {
		return err
	}
	// One under another name of this relay would be refused by its own agent.
	if _, err := c.marks.parse(raw); err == nil {
		c.mark = base64.StdEncoding.EncodeToString(raw)
	}
	return nil
}

// deposit keeps the agent's mark if it is the highest.
func (c *conn) deposit(f depositFrame) {
	if !slices.Contains(c.agreed, ExtensionEpoch) {
		return
	}
	answer := depositedFrame{Type: typeDeposited}
	kept, code := c.keepMark(f.mark)
	if answer.Code = code; code == "" {
		answer.Mark = base64.StdEncoding.EncodeToString(kept)
	}
	c.queue.push(encode(answer))
}

func (c *conn) keepMark(raw []byte) (kept []byte, code RefusalCode) {
	mark, err := c.marks.parse(raw)
	if err != nil {
		return nil, RefusedInvalid
	}
	kept, err = c.s.marks.Keep(context.WithoutCancel(c.ctx), c.who, raw, func(kept []byte) bool {
		old, err := c.marks.parse(kept)
		return err != nil || higher(mark, old)
	})
	switch {
	case errors.Is(err, mailbox.ErrFull):
		return nil, RefusedTooMany
	case err != nil:
		c.s.storageResult(err)
		return nil, RefusedStorage
	}
	return kept, ""
}

// Deposit leaves a rollback mark at the relay: raw is what identity.SignMark made for
// the server RelayID. It never blocks. done is called exactly once, never from inside
// Deposit, and must not block: with the mark that the relay keeps now, verified, which
// is higher than raw if the agent's state was put back; or with ErrDisconnected,
// ErrNoExtension, ErrBusy, a *RefusedError, or an error that says that what the relay
// keeps is not ours.
func (c *Client) Deposit(raw []byte, done func(kept *identity.RollbackMark, err error)) {
	err := ErrDisconnected
	if l := c.current(); l != nil {
		err = l.deposit(slices.Clone(raw), done)
	}
	if err != nil {
		go done(nil, err)
	}
}

// deposit takes a mark, or says why not.
func (l *link) deposit(raw []byte, done func(*identity.RollbackMark, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrDisconnected
	case !l.keeps:
		return ErrNoExtension
	case len(l.deposits) >= l.c.limits.Deposits:
		return ErrBusy
	}
	l.deposits = append(l.deposits, &deposit{raw: raw, done: done})
	l.nudge()
	return nil
}

// deposit is a mark on its way, oldest first; those that were written come first.
type deposit struct {
	raw  []byte
	sent time.Time // zero: not written yet
	done func(*identity.RollbackMark, error)
}

// takeDeposit gives the frame of the next mark, or nil; the caller holds the link's
// mutex.
func (l *link) takeDeposit() []byte {
	for _, d := range l.deposits {
		if d.sent.IsZero() {
			d.sent = time.Now()
			return encode(depositedFrame{Type: typeDeposit, Mark: base64.StdEncoding.EncodeToString(d.raw)})
		}
	}
	return nil
}

// deposited takes the relay's answer, which belongs to the oldest mark that was sent.
func (l *link) deposited(f depositedFrame) {
	l.mu.Lock()
	if len(l.deposits) == 0 || l.deposits[0].sent.IsZero() {
		l.mu.Unlock()
		return
	}
	d := l.deposits[0]
	l.deposits = l.deposits[1:]
	l.mu.Unlock()
	if f.Code != "" {
		d.done(nil, &RefusedError{Code: f.Code})
		return
	}
	d.done(l.c.ownMark(f.Mark))
}

// ownMark reads a mark from the relay. Only our own signature for this relay counts.
func (c *Client) ownMark(text string) (*identity.RollbackMark, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.Join(errMalformed, err)
	}
	return identity.ParseMark(raw, c.key.Public(), c.id)
}
