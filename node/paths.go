package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/direct"
)

// Numbers of the choice between paths.
const (
	// headStart is how long an envelope waits for a direct dial before it goes by
	// relay instead. A dial to somebody who is there takes a few milliseconds on a
	// LAN and a round trip or two elsewhere.
	headStart = 400 * time.Millisecond
	// dialTimeout is how long a dial may go on behind that.
	dialTimeout = 5 * time.Second
	// redialFirst is the pause after a dial that failed; it doubles up to redialMost.
	redialFirst = 2 * time.Second
	redialMost  = 2 * time.Minute
)

// paths is one agent's way to its peers, best first: an open direct connection, a
// direct dial, the relay. It is the one place where paths are chosen, and the
// agent's Carrier.
type paths struct {
	direct *direct.Transport
	relays *relays
	places func() agent.Places
	kick   func(identity.AMID)

	mu    sync.Mutex
	ctx   context.Context
	wg    sync.WaitGroup
	roads map[identity.AMID]*road
}

// road is what is known about the way to one peer.
type road struct {
	public  agent.Places // from its signed record
	sealed  agent.Places // told inside a session
	seenAt  string       // peer id by which something of the peer was opened last
	dialing bool
	next    time.Time // no dial before
	pause   time.Duration
	waiting []carried // envelopes in their head start
}

type carried struct {
	e      agent.Envelope
	report func(agent.Outcome)
}

var _ agent.Carrier = (*paths)(nil)

// run lets dials happen until ctx ends and waits for those under way.
func (p *paths) run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	<-ctx.Done()
	p.wg.Wait()
	return nil
}

// Places implements agent.Carrier.
func (p *paths) Places() agent.Places { return p.places() }

// Learn implements agent.Carrier.
func (p *paths) Learn(peer identity.AMID, places agent.Places, sealed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.road(peer)
	if sealed {
		r.sealed = places
	} else {
		r.public = places
	}
	r.next, r.pause = time.Time{}, 0 // a new address deserves a new dial
}

// Seen implements agent.Carrier.
func (p *paths) Seen(peer identity.AMID, peerID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.road(peer).seenAt = peerID
}

// road returns the entry of a peer; p.mu is held.
func (p *paths) road(peer identity.AMID) *road {
	r := p.roads[peer]
	if r == nil {
		r = &road{}
		p.roads[peer] = r
	}
	return r
}

func (r *road) peerIDs() []string {
	ids := append(append([]string(nil), r.sealed.PeerIDs...), r.public.PeerIDs...)
	if r.seenAt != "" {
		ids = append(ids, r.seenAt)
	}
	return ids
}

func (r *road) relays() []string {
	if len(r.sealed.Relays) > 0 {
		return r.sealed.Relays
	}
	return r.public.Relays
}

// Carry implements agent.Carrier.
func (p *paths) Carry(e agent.Envelope, report func(agent.Outcome)) {
	if e.Via == api.PathRelayed {
		p.byRelay(e, report)
		return
	}
	p.mu.Lock()
	r := p.road(e.To)
	if id := p.openID(r); id != "" && len(r.waiting) == 0 {
		p.mu.Unlock()
		p.byDirect(id, e, report)
		return
	}
	if p.mayDial(r) {
		r.waiting = append(r.waiting, carried{e, report})
		if !r.dialing {
			p.dial(e.To, r)
		}
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.byRelay(e, report)
}

func (p *paths) openID(r *road) string {
	for _, id := range r.peerIDs() {
		if p.direct.Open(id) {
			return id
		}
	}
	return ""
}

func (p *paths) mayDial(r *road) bool {
	if p.ctx == nil || p.ctx.Err() != nil {
		return false
	}
	if r.dialing {
		return len(r.waiting) > 0 // join those in their head start
	}
	known := len(r.sealed.Addresses)+len(r.public.Addresses) > 0
	return known && len(r.peerIDs()) > 0 && !time.Now().Before(r.next)
}

// dial starts a direct dial; p.mu is held. What waits goes direct when the dial
// succeeds in time, and by relay when it does not.
func (p *paths) dial(peer identity.AMID, r *road) {
	r.dialing = true
	target := direct.Target{
		PeerIDs:   r.peerIDs(),
		Addresses: append(append([]string(nil), r.sealed.Addresses...), r.public.Addresses...),
	}
	ctx, cancel := context.WithTimeout(p.ctx, dialTimeout)
	late := time.AfterFunc(headStart, func() { p.release(peer) })
	p.wg.Go(func() {
		defer cancel()
		_, err := p.direct.Dial(ctx, target)
		late.Stop()
		p.mu.Lock()
		r.dialing = false
		if err != nil {
			r.pause = min(max(2*r.pause, redialFirst), redialMost)
			r.next = time.Now().Add(r.pause)
		} else {
			r.pause = 0
		}
		p.mu.Unlock()
		p.release(peer)
		if err == nil {
			p.kick(peer)
		}
	})
}

// release sends what waited for a dial: direct if there is a connection by now, by
// relay otherwise.
func (p *paths) release(peer identity.AMID) {
	p.mu.Lock()
	r := p.road(peer)
	waiting := r.waiting
	r.waiting = nil
	id := p.openID(r)
	p.mu.Unlock()
	for _, w := range waiting {
		if id != "" {
			p.byDirect(id, w.e, w.report)
		} else {
			p.byRelay(w.e, w.report)
		}
	}
}

// byDirect sends over an open connection. Without an acknowledgement in time the
// same bytes go by relay; the receiver knows them by their id.
func (p *paths) byDirect(id string, e agent.Envelope, report func(agent.Outcome)) {
	err := p.direct.Send(id, direct.Envelope{From: e.From, To: e.To, ID: e.ID, Data: e.Data}, func(err error) {
		if err == nil {
			report(agent.Outcome{Path: api.PathDirect, Acked: true})
			return
		}
		p.byRelay(e, report)
	})
	switch {
	case errors.Is(err, direct.ErrBusy):
		report(agent.Outcome{Err: err})
	case err != nil:
		p.byRelay(e, report)
	}
}

func (p *paths) byRelay(e agent.Envelope, report func(agent.Outcome)) {
	if e.Via == api.PathDirect {
		report(agent.Outcome{Err: agent.ErrNoPath})
		return
	}
	p.mu.Lock()
	theirs := p.road(e.To).relays()
	p.mu.Unlock()
	p.relays.carry(e, theirs, report)
}

// path is the best path to a peer right now.
func (p *paths) open(peer identity.AMID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads[peer]
	return r != nil && p.openID(r) != ""
}
