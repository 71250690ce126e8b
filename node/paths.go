package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/content"
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

// nearby is what paths need of direct connections; direct.Transport has the
// contracts.
type nearby interface {
	Open(peerID string) bool
	Dial(ctx context.Context, target direct.Target) (peerID string, err error)
	Send(peerID string, e direct.Envelope, done func(error)) error
	Keys(ctx context.Context, peerID string, of identity.AMID) (direct.OneTimeKeys, error)
}

// post is what paths need of relays.
type post interface {
	// carry leaves an envelope at one of the relays named, or at a home when none
	// is. It calls report exactly once, and returns false when it reported
	// agent.ErrNoPath.
	carry(e agent.Envelope, theirs []string, report func(agent.Outcome)) bool
	// reach reports whether carry would find a relay now.
	reach(theirs []string) bool
	// uses reports whether the line to url is one for the relays named.
	uses(url string, theirs []string) bool
}

// paths is one agent's way to its peers, best first: an open direct connection, a
// direct dial, the relay. It is the one place where paths are chosen, and the
// agent's Carrier. Neither kick nor report is called with mu held.
type paths struct {
	direct nearby
	relays post
	places func() agent.Places
	kick   func(identity.AMID)
	guests *guests // nil: nobody needs to be known

	mu    sync.Mutex
	ctx   context.Context // of run; nil before and after
	wg    sync.WaitGroup
	roads roads
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
	p.mu.Lock()
	p.ctx = nil // no dial starts from here on
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// Places implements agent.Carrier.
func (p *paths) Places() agent.Places { return p.places() }

// Learn implements agent.Carrier.
func (p *paths) Learn(peer identity.AMID, places agent.Places, sealed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.known(peer)
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
	r := p.roads.of(peer)
	fresh := r.seenAt != peerID
	r.seenAt = peerID
	p.mu.Unlock()
	if fresh && p.direct.Open(peerID) {
		p.kick(peer) // when the connection opened, nobody knew whose it is
	}
}

// appeared hears that a peer is in the local network: it deserves a dial at once.
func (p *paths) appeared(peer identity.AMID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roads.find(peer) != nil {
		r := p.roads.of(peer)
		r.next, r.pause = time.Time{}, 0
	}
}

// Signalled implements agent.Carrier.
func (p *paths) Signalled(identity.AMID, content.Signal) {}

// WantDirect implements agent.Carrier.
func (p *paths) WantDirect(identity.AMID) {}

// connected kicks those who can be reached by a peer id. Others are left alone: a
// stranger opens connections as often as he likes.
func (p *paths) connected(peerID string) {
	p.mu.Lock()
	peers := p.roads.all(func(r *road) bool { return slices.Contains(r.peerIDs(), peerID) })
	p.mu.Unlock()
	for _, peer := range peers {
		p.kick(peer)
	}
}

// atRelay kicks those for whom mail can be left at a relay that is not our home.
func (p *paths) atRelay(url string) {
	p.mu.Lock()
	peers := p.roads.all(func(r *road) bool { return len(r.relays()) > 0 && p.relays.uses(url, r.relays()) })
	p.mu.Unlock()
	for _, peer := range peers {
		p.kick(peer)
	}
}

// Carry implements agent.Carrier.
func (p *paths) Carry(e agent.Envelope, report func(agent.Outcome)) {
	if p.guests == nil {
		p.take(e, report)
		return
	}
	p.guests.before(e, func() { p.take(e, report) })
}

func (p *paths) take(e agent.Envelope, report func(agent.Outcome)) {
	if e.Via == api.PathRelayed {
		p.byRelay(e, report)
		return
	}
	p.mu.Lock()
	r := p.roads.of(e.To)
	switch {
	case r.releasing || len(r.waiting) > 0:
		// What came before waits for a dial or is just leaving; stay behind it.
		r.waiting = append(r.waiting, carried{e, report})
	case p.openID(r) == "" && p.mayDial(r):
		r.waiting = append(r.waiting, carried{e, report})
		p.dial(r)
	default:
		p.mu.Unlock()
		p.forward(r, e, report)
		return
	}
	p.mu.Unlock()
}

// openID is the peer id of the open connection to a peer, empty for none; p.mu is
// held.
func (p *paths) openID(r *road) string {
	for _, id := range r.peerIDs() {
		if p.direct.Open(id) {
			return id
		}
	}
	return ""
}

// mayDial reports whether a dial is worth a try; p.mu is held.
func (p *paths) mayDial(r *road) bool {
	if p.ctx == nil || p.ctx.Err() != nil || r.dialing != nil {
		return false
	}
	return len(r.addresses()) > 0 && len(r.peerIDs()) > 0 && !time.Now().Before(r.next)
}

// dial starts a direct dial; p.mu is held. What waits goes direct when the dial
// succeeds in time, and by relay when it does not.
func (p *paths) dial(r *road) {
	over := make(chan struct{})
	r.dialing = over
	target := direct.Target{PeerIDs: r.peerIDs(), Addresses: r.addresses()}
	end := r.begin(api.AttemptDial, target.Addresses)
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
		close(over)
		p.mu.Lock()
		r.dialing = nil
		end(err)
		if err != nil {
			r.pause = min(max(2*r.pause, redialFirst), redialMost)
			r.next = time.Now().Add(r.pause)
		} else {
			r.pause = 0
		}
		p.mu.Unlock()
		p.release(r)
		if err == nil {
			p.kick(r.peer)
		}
	})
}

// release sends what waited for a dial, and what queued up behind it meanwhile, in
// the order in which it came.
func (p *paths) release(r *road) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.releasing {
		return
	}
	r.releasing = true
	for len(r.waiting) > 0 {
		batch := r.waiting
		r.waiting = nil
		p.mu.Unlock()
		for _, w := range batch {
			p.forward(r, w.e, w.report)
		}
		p.mu.Lock()
	}
	r.releasing = false
}

// forward sends direct if there is a connection, and by relay otherwise.
func (p *paths) forward(r *road, e agent.Envelope, report func(agent.Outcome)) {
	p.mu.Lock()
	id := p.openID(r)
	again := id != "" && e.Via != api.PathDirect && r.forget(e.ID)
	theirs := r.relays()
	p.mu.Unlock()
	switch {
	case id == "":
		p.byRelay(e, report)
	case again:
		// It was acknowledged on this path, and yet it comes again, because no
		// receipt came: whoever acknowledged may not be the peer, or not be well.
		p.relays.carry(e, theirs, func(o agent.Outcome) {
			if errors.Is(o.Err, agent.ErrNoPath) {
				p.byDirect(r, id, e, report)
				return
			}
			report(o)
		})
	default:
		p.byDirect(r, id, e, report)
	}
}

// byDirect sends over an open connection. Without an acknowledgement in time the
// same bytes go by relay; the receiver knows them by their id.
func (p *paths) byDirect(r *road, id string, e agent.Envelope, report func(agent.Outcome)) {
	err := p.direct.Send(id, direct.Envelope{From: e.From, To: e.To, ID: e.ID, Data: e.Data}, func(err error) {
		if err != nil {
			p.byRelay(e, report)
			return
		}
		p.mu.Lock()
		r.remember(e.ID)
		p.mu.Unlock()
		report(agent.Outcome{Path: api.PathDirect, Acked: true})
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
	theirs := p.roads.of(e.To).relays()
	p.mu.Unlock()
	if !p.relays.carry(e, theirs, report) && p.relays.reach(theirs) {
		p.kick(e.To) // a line came up before the report, and its kick was too early
	}
}

// open reports whether there is a direct connection to a peer right now.
func (p *paths) open(peer identity.AMID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.find(peer)
	return r != nil && p.openID(r) != ""
}
