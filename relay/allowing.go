package relay

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// The client's side of the extension "allow" (relay.md §9). The Client remembers the
// list; each link sends the whole of it first and then what changes, one frame at a
// time, so that what changes meanwhile shares the next.

// SetAllow says whom we know: from all others our mailbox at this relay then takes
// knocks only. The list is remembered and sent with every connect, before anything
// else. Nil, as in the beginning, is no list at all: the mailbox takes everything. It
// never blocks.
func (c *Client) SetAllow(list []identity.AMID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allow = nil
	if list != nil {
		c.allow = make(map[identity.AMID]struct{}, len(list))
		for _, who := range list {
			c.allow[who] = struct{}{}
		}
	}
	if c.link != nil {
		c.link.setAllow(c.allow)
	}
}

// Allow changes the list of SetAllow; whom both name is removed. It never blocks.
// done, which may be nil, is called exactly once, never from inside Allow, and must not
// block: with nil when the relay has confirmed this change and all before it, or takes
// everything because it does not speak "allow" or there is no list; with
// ErrDisconnected when there is no connection or it ended first; with a *RefusedError
// when the relay kept the list that it had. The change is remembered in every case.
// Without changes it waits for those before.
func (c *Client) Allow(add, remove []identity.AMID, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allow == nil {
		go done(nil)
		return
	}
	for _, who := range add {
		c.allow[who] = struct{}{}
	}
	for _, who := range remove {
		delete(c.allow, who)
	}
	if c.link == nil {
		go done(ErrDisconnected)
		return
	}
	c.link.changeAllow(add, remove, done)
}

// listChange is what a link has to tell of the list.
type listChange struct {
	whole bool                   // known is all of the list, and not what changes
	clear bool                   // there is no list
	known map[identity.AMID]bool // false: removed
	done  []func(error)

	version int64
	sent    time.Time
}

func (ch *listChange) report(err error) {
	for _, done := range ch.done {
		done(err)
	}
}

// setAllow has the whole list sent; the caller holds the client's mutex.
func (l *link) setAllow(list map[identity.AMID]struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.allows || l.closed || list == nil && !l.listed {
		return
	}
	next := &listChange{whole: true, clear: list == nil, known: make(map[identity.AMID]bool, len(list))}
	if l.change != nil {
		next.done = l.change.done
	}
	for who := range list {
		next.known[who] = true
	}
	l.change, l.listed = next, true
	l.nudge()
}

// changeAllow has a change sent; the caller holds the client's mutex.
func (l *link) changeAllow(add, remove []identity.AMID, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.allows:
		go done(nil)
		return
	case l.closed:
		go done(ErrDisconnected)
		return
	}
	if l.change == nil {
		l.change = &listChange{known: map[identity.AMID]bool{}}
	}
	for _, who := range add {
		l.change.known[who] = true
	}
	for _, who := range remove {
		if l.change.known[who] = false; l.change.whole {
			delete(l.change.known, who)
		}
	}
	l.change.done = append(l.change.done, done)
	l.nudge()
}

// takeChange gives the frame that tells of the list, nil if there is nothing to tell
// or the one before is not answered. The caller holds the link's mutex.
func (l *link) takeChange() []byte {
	ch := l.change
	if ch == nil || l.changing != nil {
		return nil
	}
	l.change, l.changing = nil, ch
	l.version++
	ch.version, ch.sent = l.version, time.Now()
	return encode(ch.frame(l.salt))
}

// allowWords is an allow frame as it is written.
type allowWords struct {
	Type    string  `json:"type"`
	Version int64   `json:"version"`
	Clear   bool    `json:"clear,omitempty"`
	Salt    string  `json:"salt,omitempty"`
	Set     *string `json:"set,omitempty"`
	Add     *string `json:"add,omitempty"`
	Remove  *string `json:"remove,omitempty"`
}

func (ch *listChange) frame(salt []byte) allowWords {
	f := allowWords{Type: typeAllow, Version: ch.version, Clear: ch.clear}
	if ch.clear {
		return f
	}
	var add, remove []byte
	for who, known := range ch.known {
		h := mailbox.HashFor(salt, who)
		if known {
			add = append(add, h[:]...)
		} else {
			remove = append(remove, h[:]...)
		}
	}
	text := func(b []byte) *string { s := base64.StdEncoding.EncodeToString(b); return &s }
	if ch.whole {
		f.Salt, f.Set = *text(salt), text(add)
		return f
	}
	// A change of nothing is a question whether what was before is in force.
	f.Add = text(add)
	if len(remove) > 0 {
		f.Remove = text(remove)
	}
	return f
}

// allowed takes the relay's answer.
func (l *link) allowed(f allowedFrame) {
	l.mu.Lock()
	ch := l.changing
	if ch == nil || f.Version != ch.version {
		l.mu.Unlock()
		return
	}
	l.changing = nil
	// Without the list that it is to change, a change is worth nothing.
	l.unset = f.Code != "" && (ch.whole || f.Code == RefusedOutOfOrder)
	l.nudge()
	l.mu.Unlock()
	if f.Code == "" {
		ch.report(nil)
		return
	}
	l.c.log.Warn("relay refuses the allow list", "code", f.Code)
	ch.report(&RefusedError{Code: f.Code})
}

// setAgain sends the whole list once more if the relay could not take it.
func (c *Client) setAgain(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.mu.Lock()
	again := l.unset && c.link == l
	l.unset = false
	l.mu.Unlock()
	if again {
		l.setAllow(c.allow)
	}
}

func newSalt() []byte {
	salt := make([]byte, mailbox.MaxSalt)
	_, _ = rand.Read(salt) // never fails
	return salt
}
