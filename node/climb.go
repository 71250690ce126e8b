package node

import (
	"context"
	"errors"
	"strings"
	"time"

	"amesh/node/direct"
	"amesh/node/path"
)

// This file does what the machines of node/path say, but for punching (punch.go).

// run lets attempts happen until ctx ends and waits for those under way.
func (p *paths) run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.ctx = nil // nothing starts from here on
			p.mu.Unlock()
			p.wg.Wait()
			return nil
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
		if next := p.tick(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// tick wakes the machines for which it is time, and returns when the next one wants it;
// zero for none.
func (p *paths) tick() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var next time.Time
	for r := range p.roads.each() {
		at := r.machine.Next(now)
		if !at.IsZero() && !at.After(now) {
			p.tell(r, path.Event{Kind: path.Tick})
			at = r.machine.Next(now)
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	p.due = next
	return next
}

// tell tells a peer's machine what happened, does what it says, and returns that; p.mu
// is held.
func (p *paths) tell(r *road, e path.Event) path.Action {
	now := time.Now()
	p.sync(r, now)
	a := r.machine.Handle(e, now)
	p.act(r, a)
	return a
}

// sync tells a machine whether there is a connection, as things are now; p.mu is held.
// Whoever is about to rely on the machine's state calls it: news of connections come
// late, and it is not always known whose they are.
func (p *paths) sync(r *road, now time.Time) {
	r.machine.Means = p.means(r)
	id := p.openID(r)
	switch {
	case id != "" && !r.machine.Connected():
		p.act(r, r.machine.Handle(path.Event{Kind: path.Up}, now))
		p.noteHole(r, id)
		p.log.Debug("connection to a peer", "peer", r.peer.Short(), "path", p.kind(id), "state", r.machine.State().String())
		if c, ok := p.direct.Conn(id); ok && r.inside && strings.HasSuffix(c.Remote, "/quic-v1") {
			r.last = c.Remote + "/p2p/" + id
		}
	case id == "" && r.machine.Connected():
		p.act(r, r.machine.Handle(path.Event{Kind: path.Down}, now))
		p.log.Debug("connection to a peer is gone", "peer", r.peer.Short(), "state", r.machine.State().String())
	}
}

// noteHole has a connection that a circuit led to called punched, also by the side that
// was met: it is to no address that the peer told.
func (p *paths) noteHole(r *road, id string) {
	c, ok := p.direct.Conn(id)
	if !ok || p.meet == nil || !p.met(id) || r.tells(c.Remote) {
		return
	}
	p.direct.Punched(id, c.Remote)
}

// means are the rungs that there are; none before run and after it.
func (p *paths) means(r *road) path.Means {
	if p.ctx == nil || p.ctx.Err() != nil {
		return path.Means{}
	}
	return path.Means{Dial: r.dialable(), Punch: p.begin != nil && r.inside, Circuit: p.meet != nil && r.inside}
}

// act does what a machine says; p.mu is held.
func (p *paths) act(r *road, a path.Action) {
	run := r.machine.Run()
	if run != r.run && !r.machine.Connected() && r.stop != nil {
		r.stop() // nobody waits for it any more
	}
	r.run = run
	if next := r.machine.Next(time.Now()); !next.IsZero() && (p.due.IsZero() || next.Before(p.due)) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	if p.ctx == nil {
		return
	}
	if a&path.Dial != 0 {
		dial := run
		if r.machine.State() != path.Dialling {
			dial = r.machine.Side()
		}
		p.dial(r, dial, r.target())
	}
	switch a &^ path.Dial {
	case path.Echo:
		p.dial(r, run, direct.Target{PeerIDs: []string{p.openID(r)}}) // asks an open path for an echo
	case path.Punch:
		p.attempt(r, run, p.offer)
	case path.Answer:
		p.attempt(r, run, p.answer)
	case path.Circuit:
		p.attempt(r, run, p.circle)
	}
}

// dial starts a direct dial; p.mu is held. What waits goes direct when the dial
// succeeds in time, and by relay when it does not.
func (p *paths) dial(r *road, run uint64, target direct.Target) {
	over := make(chan struct{})
	r.over = over
	ctx, cancel := context.WithTimeout(p.ctx, dialTimeout)
	p.wg.Go(func() {
		late := time.NewTimer(headStart)
		defer late.Stop()
		select {
		case <-late.C:
			p.release(r)
		case <-over:
		}
	})
	p.wg.Go(func() {
		defer cancel()
		_, err := p.direct.Dial(ctx, target)
		p.mu.Lock()
		if r.over == over {
			r.over = nil
		}
		p.mu.Unlock()
		close(over)
		p.ended(r, run, err, path.Result{Code: dialCode(err), Detail: detail(err), Target: brief(target.Addresses)})
		p.release(r)
	})
}

// ended tells the machine how an attempt ended, and kicks the peer when envelopes may go
// over the new connection.
func (p *paths) ended(r *road, run uint64, err error, res path.Result) {
	e := path.Event{Kind: path.Up, Run: run, Result: res}
	p.mu.Lock()
	if err != nil || p.openID(r) == "" { // gone already, or of another attempt
		e.Kind = path.Failed
	}
	p.tell(r, e)
	kick := err == nil && r.machine.Carries()
	p.mu.Unlock()
	if kick {
		p.kick(r.peer)
	}
}

func dialCode(err error) path.Code {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, direct.ErrNoAddress):
		return path.NoAddress
	}
	return path.NoAnswer
}

// Sizes of what is remembered of an attempt.
const (
	briefMost  = 4
	detailMost = 400
)

// brief are the first of a list of addresses.
func brief(addresses []string) string {
	return strings.Join(addresses[:min(len(addresses), briefMost)], " ")
}

// detail is an error for the owner, in one line.
func detail(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	return strings.Join(strings.Fields(strings.ToValidUTF8(text[:min(len(text), detailMost)], "")), " ")
}
