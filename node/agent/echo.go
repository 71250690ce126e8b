package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/node/api"
	"amesh/ratchet"
)

// Echoes (session.md §7.7): whether a peer's node is there, and how far away, as only the
// other end of a session can say.

// ErrNoReply reports that no reply to an echo came in time.
var ErrNoReply = errors.New("no reply from the peer's node")

// echo is one that waits for its reply.
type echo struct {
	id   ratchet.ID    // of its envelope
	left time.Duration // by uptime
	done chan<- echoed // takes one
}

type echoed struct {
	rtt  time.Duration
	path api.PathKind
	err  error
}

// Echo asks a peer's node for a reply, by the best path or, unless via is empty, only
// directly or only by relay, and waits for it for half a minute at most. It returns
// the time from handing the echo over to the reply's arrival, which has in it what both
// nodes need to commit, and the path that the reply came by. The errors are ErrNoSession,
// ErrTooOften, ErrNoPath, ErrNoReply, that of ctx, or of the store.
func (a *Agent) Echo(ctx context.Context, peer identity.AMID, via api.PathKind) (rtt time.Duration, path api.PathKind, err error) {
	if !a.isKnown(peer) {
		return 0, api.PathNone, ErrNoSession
	}
	done := make(chan echoed, 1)
	no, err := ask(ctx, a, peer, func(c *clerk) (error, error) { return c.echo(via, done) })
	if err := errors.Join(no, err); err != nil {
		return 0, api.PathNone, err
	}
	late := time.NewTimer(a.Limits.MomentLife)
	defer late.Stop()
	select {
	case got := <-done:
		return got.rtt, got.path, got.err
	case <-late.C:
		return 0, api.PathNone, fmt.Errorf("%w within %s", ErrNoReply, a.Limits.MomentLife)
	case <-ctx.Done():
		return 0, api.PathNone, ctx.Err()
	}
}

// echo runs on the clerk's goroutine.
func (c *clerk) echo(via api.PathKind, done chan<- echoed) (no, err error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	b := c.begin()
	if !c.sentEchoes.allow(b.up, c.a.Limits.EchoesPerMinute) {
		return ErrTooOften, nil
	}
	ask := &content.Echo{}
	if _, err := io.ReadFull(c.a.Rand, ask.Nonce[:]); err != nil {
		return nil, err
	}
	if via != "" {
		via = sameWay(via)
	}
	f, no, err := c.utter(b, ask, via)
	if no != nil || err != nil {
		return no, err
	}
	b.then(func() {
		c.forgetEchoes(b.up)
		c.echoes[ask.Nonce] = echo{id: f.ID, left: c.a.Uptime(), done: done}
	})
	return nil, c.commit(b)
}

func (c *clerk) forgetEchoes(up time.Duration) {
	for nonce, e := range c.echoes {
		if up-e.left >= c.a.Limits.MomentLife {
			delete(c.echoes, nonce)
		}
	}
}

// sameWay is how an answer leaves so that it goes by the kind of path that a question
// came by.
func sameWay(path api.PathKind) api.PathKind {
	if path == api.PathRelayed {
		return api.PathRelayed
	}
	return api.PathDirect
}

// takeEcho answers in the transaction that commits the echo. What cannot be answered now
// is not answered later.
func (c *clerk) takeEcho(b *batch, arr arrival, ct *content.Echo) error {
	if !c.gotEchoes.allow(b.up, c.a.Limits.EchoesPerMinute) {
		return nil
	}
	_, no, err := c.utter(b, &content.EchoReply{Nonce: ct.Nonce}, sameWay(arr.Path))
	if no != nil {
		c.a.Logger.Debug("echo not answered", "peer", c.peer.Short(), "err", no)
	}
	return err
}

// takeEchoReply tells whoever waits.
func (c *clerk) takeEchoReply(b *batch, arr arrival, ct *content.EchoReply) {
	b.then(func() {
		if e, ok := c.echoes[ct.Nonce]; ok {
			delete(c.echoes, ct.Nonce)
			e.done <- echoed{rtt: arr.up - e.left, path: arr.Path}
		}
	})
}

// loseEcho tells whoever waits that there was no path for an echo; it reports whether the
// envelope was one.
func (c *clerk) loseEcho(id ratchet.ID) bool {
	for nonce, e := range c.echoes {
		if e.id == id {
			delete(c.echoes, nonce)
			e.done <- echoed{path: api.PathNone, err: ErrNoPath}
			return true
		}
	}
	return false
}
