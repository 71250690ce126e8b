package agent

import (
	"errors"
	"time"

	"amesh/internal/content"
	"amesh/node/api"
)

// What is said for the moment (session.md §9.6): offers, answers and echoes. They are
// sealed and committed like everything else, and worth nothing half a minute later.

var (
	// ErrNoSession reports that nothing can be said to a peer for the moment, because no
	// session with it was accepted.
	ErrNoSession = errors.New("no session yet: send a message first")
	// ErrTooOften reports that more was to be said for the moment than may be: in a
	// minute, or while the peer confirms nothing.
	ErrTooOften = errors.New("too much for the moment: wait, and try again")
)

// pace counts what happened within the last minute.
type pace struct {
	at []time.Duration // by uptime
}

// allow says whether there may be one more of at most so many, and counts it if so.
func (p *pace) allow(up time.Duration, most int) bool {
	for len(p.at) > 0 && up-p.at[0] >= time.Minute {
		p.at = p.at[1:]
	}
	if len(p.at) >= most {
		return false
	}
	p.at = append(p.at, up)
	return true
}

// utter seals something for the moment. no is ErrNoSession or ErrTooOften. Half of the
// window is left to what must be said, and from there on sealPaths turns the chain.
func (c *clerk) utter(b *batch, ct content.Content, via api.PathKind) (f *flight, no, err error) {
	s := controlOf(b.list())
	switch {
	case s == nil || c.a.shuns(c.peer) || c.parted():
		return nil, ErrNoSession, nil
	case s.Control >= c.a.Limits.Window/2:
		return nil, ErrTooOften, nil
	}
	if f, err = b.seal(s, flightMoment, ct); err != nil {
		return nil, nil, err
	}
	f.Via, f.Until = via, b.wall.Add(c.a.Limits.MomentLife)
	return f, nil, nil
}
