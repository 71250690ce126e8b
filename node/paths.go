package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/direct"
	"amesh/node/path"
)

// Numbers of the choice between paths; those of the climb to a direct one are in
// node/path.
const (
	// headStart is how long an envelope waits for a direct dial before it goes by
	// relay instead. A dial to somebody who is there takes a few milliseconds on a
	// LAN and a round trip or two elsewhere.
	headStart = 400 * time.Millisecond
	// dialTimeout is how long a dial may go on behind that.
	dialTimeout = 5 * time.Second
)

// nearby is what paths need of direct connections; direct.Transport has the
// contracts.
type nearby interface {
	Open(peerID string) bool
	Dial(ctx context.Context, target direct.Target) (peerID string, err error)
	Send(peerID string, e direct.Envelope, done func(error)) error
	Keys(ctx context.Context, peerID string, of identity.AMID) (direct.OneTimeKeys, error)
	Conn(peerID string) (direct.Conn, bool)
	ThroughHole(peerID string) bool
	Punched(peerID, remote string)
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

// pathsConfig is what paths are made of.
type pathsConfig struct {
	own    identity.AMID
	direct nearby
	relays post
	places func() agent.Places
	nearby func(identity.AMID) agent.Places // in the local network, right now
	kick   func(identity.AMID)
	guests *guests // nil: nobody needs to be known
	limits path.Limits
	log    *slog.Logger

	// begin starts to gather candidates for ICE; nil: the owner wants no punching, or
	// there is nothing to punch with.
	begin func(context.Context) (punch, error)
	// meet makes a direct connection by way of a circuit, and returns the multiaddr of its
	// other end; nil: there is no circuit relay.
	meet func(ctx context.Context, peerID string) (string, error)
	// met reports whether a node was just told over a circuit where to dial us; needed with
	// meet.
	met func(peerID string) bool
	// signal seals an offer or an answer for a peer; needed with begin.
	signal func(context.Context, identity.AMID, content.Signal) error
}

// paths is one agent's way to its peers: a connection that was proven, else the relay.
// Its machines (node/path), one for each peer, say when to dial and when to punch. It
// is the one place where paths are chosen, and the agent's Carrier. Neither kick nor
// report is called with mu held.
type paths struct {
	pathsConfig
	wake chan struct{} // a machine may want a tick sooner

	mu    sync.Mutex
	ctx   context.Context // of run; nil before and after
	wg    sync.WaitGroup
	roads roads
	due   time.Time // of the next tick; zero: none
}

func newPaths(cfg pathsConfig) *paths {
	return &paths{pathsConfig: cfg, wake: make(chan struct{}, 1), roads: newRoads(cfg.nearby, cfg.limits)}
}

type carried struct {
	e      agent.Envelope
	report func(agent.Outcome)
}

var _ agent.Carrier = (*paths)(nil)

// Places implements agent.Carrier.
func (p *paths) Places() agent.Places { return p.places() }

// Learn implements agent.Carrier.
func (p *paths) Learn(peer identity.AMID, places agent.Places, sealed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.known(peer)
	if sealed {
		r.sealed, r.inside = places, true
	} else {
		r.public = places
	}
	p.tell(r, path.Event{Kind: path.Told}) // a new address deserves a new dial
}

// Seen implements agent.Carrier.
func (p *paths) Seen(peer identity.AMID, peerID string) {
	p.mu.Lock()
	r := p.roads.of(peer)
	fresh := r.seenAt != peerID
	r.seenAt = peerID
	p.sync(r, time.Now())
	kick := fresh && r.machine.Carries()
	p.mu.Unlock()
	if kick {
		p.kick(peer) // when the connection opened, nobody knew whose it is
	}
}

// WantDirect implements agent.Carrier.
func (p *paths) WantDirect(peer identity.AMID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.of(peer)
	r.inside = true
	p.tell(r, path.Event{Kind: path.Want})
}

// appeared hears that a peer is in the local network: it deserves a dial at once.
func (p *paths) appeared(peer identity.AMID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roads.find(peer) != nil {
		p.tell(p.roads.of(peer), path.Event{Kind: path.Told})
	}
}

// moved hears that the machine's network is another one.
func (p *paths) moved() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.roads.each() {
		p.tell(r, path.Event{Kind: path.Moved})
	}
}

// tenants are the peers with which there is, or was, a session, and that said inside it
// that they are at a node.
func (p *paths) tenants(peerID string) []identity.AMID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []identity.AMID
	for r := range p.roads.each() {
		if r.inside && (r.metAt == peerID || slices.Contains(r.sealed.PeerIDs, peerID)) {
			list = append(list, r.peer)
		}
	}
	return list
}

// try looks for a direct path to a peer now, whatever came of it before.
func (p *paths) try(peer identity.AMID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roads.find(peer) != nil {
		p.tell(p.roads.of(peer), path.Event{Kind: path.Ask})
	}
}

// connected hears that connections to a peer id came or went, and kicks those who can be
// reached over one. Others are left alone: a stranger opens connections as often as he
// likes.
func (p *paths) connected(peerID string) {
	p.mu.Lock()
	var peers []identity.AMID
	for r := range p.roads.each() {
		if !r.at(peerID) {
			continue
		}
		p.sync(r, time.Now())
		if r.machine.Carries() {
			peers = append(peers, r.peer)
		}
	}
	p.mu.Unlock()
	for _, peer := range peers {
		p.kick(peer)
	}
}

// atRelay kicks those for whom mail can be left at a relay that is not our home.
func (p *paths) atRelay(url string) {
	p.mu.Lock()
	var peers []identity.AMID
	for r := range p.roads.each() {
		if len(r.relays()) > 0 && p.relays.uses(url, r.relays()) {
			peers = append(peers, r.peer)
		}
	}
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
	began := p.tell(r, path.Event{Kind: path.Need}) == path.Dial
	if began || r.releasing || len(r.waiting) > 0 {
		// What came before waits for a dial or is just leaving; stay behind it.
		r.waiting = append(r.waiting, carried{e, report})
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.forward(r, e, report)
}

// openID is the peer id of the open connection to a peer, empty for none; p.mu is
// held.
func (p *paths) openID(r *road) string {
	for id := range r.peerIDs() {
		if p.direct.Open(id) {
			return id
		}
	}
	return ""
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

// forward sends over the connection if it carries, and by relay otherwise. One that is
// only being watched is better than none.
func (p *paths) forward(r *road, e agent.Envelope, report func(agent.Outcome)) {
	p.mu.Lock()
	p.sync(r, time.Now())
	id, carries := p.openID(r), r.machine.Carries()
	theirs := r.relays()
	p.mu.Unlock()
	if id == "" || !carries && e.Via != api.PathDirect && p.relays.reach(theirs) {
		p.byRelay(e, report)
		return
	}
	p.mu.Lock()
	again := e.Via != api.PathDirect && r.forget(e.ID)
	p.mu.Unlock()
	if !again {
		p.byDirect(r, id, e, report)
		return
	}
	// It was acknowledged on this path, and yet it comes again, because no receipt came:
	// whoever acknowledged may not be the peer, or not be well.
	p.relays.carry(e, theirs, func(o agent.Outcome) {
		if errors.Is(o.Err, agent.ErrNoPath) {
			p.byDirect(r, id, e, report)
			return
		}
		report(o)
	})
}

// byDirect sends over an open connection. Without an acknowledgement in time the
// same bytes go by relay; the receiver knows them by their id.
func (p *paths) byDirect(r *road, id string, e agent.Envelope, report func(agent.Outcome)) {
	kind := p.kind(id)
	err := p.direct.Send(id, direct.Envelope{From: e.From, To: e.To, ID: e.ID, Data: e.Data}, func(err error) {
		if err != nil {
			p.byRelay(e, report)
			return
		}
		p.mu.Lock()
		r.remember(e.ID)
		p.mu.Unlock()
		report(agent.Outcome{Path: kind, Acked: true})
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

// kind is what a connection is called.
func (p *paths) kind(peerID string) api.PathKind {
	if p.direct.ThroughHole(peerID) {
		return api.PathPunched
	}
	return api.PathDirect
}

// by is the path over which envelopes to a peer would go right now, if not by relay:
// PathDirect, PathPunched or PathNone.
func (p *paths) by(peer identity.AMID) api.PathKind {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.find(peer)
	if r == nil {
		return api.PathNone
	}
	p.sync(r, time.Now())
	if id := p.openID(r); id != "" && r.machine.Carries() {
		return p.kind(id)
	}
	return api.PathNone
}
