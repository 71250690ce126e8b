package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/relay"
)

// guestsEvery is how often it is looked at whom an agent knows when nothing else says
// so: grants and knocks expire.
const guestsEvery = 10 * time.Minute

// company is what guests need of an agent.
type company interface {
	Correspondents() ([]identity.AMID, error)
	Corresponds(peer identity.AMID) (bool, error)
}

// guests are those from whom an agent's mailboxes take more than knocks (relay.md §9).
// A knock, and whatever goes to a peer that holds a grant, leaves when every relay of
// ours has confirmed that the peer is one of them: the answer may come at once.
type guests struct {
	of    company
	lines func() []*relay.Client // those that carry the list; called without mu
	log   *slog.Logger
	fresh chan struct{} // the list may be another one

	mu     sync.Mutex
	round  int                        // of looking at all
	listed map[identity.AMID]int      // in which round they were found last
	queues map[identity.AMID][]func() // what waits for the relays' word
}

func newGuests(of company, lines func() []*relay.Client, log *slog.Logger) *guests {
	return &guests{
		of: of, lines: lines, log: log, fresh: make(chan struct{}, 1),
		listed: make(map[identity.AMID]int), queues: make(map[identity.AMID][]func()),
	}
}

// run keeps the list until ctx ends.
func (g *guests) run(ctx context.Context) error {
	tick := time.NewTicker(guestsEvery)
	defer tick.Stop()
	for {
		if err := g.review(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.fresh:
		case <-tick.C:
		}
	}
}

// refresh has the list looked at soon.
func (g *guests) refresh() {
	select {
	case g.fresh <- struct{}{}:
	default:
	}
}

// review looks at all whom the agent knows, and tells the relays what changed. Who was
// added meanwhile stays.
func (g *guests) review() error {
	g.mu.Lock()
	g.round++
	round := g.round
	g.mu.Unlock()
	all, err := g.of.Correspondents()
	if err != nil {
		return err
	}
	var add, remove []identity.AMID
	g.mu.Lock()
	for _, peer := range all {
		if _, known := g.listed[peer]; !known {
			add = append(add, peer)
		}
		g.listed[peer] = round
	}
	for peer, found := range g.listed {
		if found < round && g.queues[peer] == nil {
			remove = append(remove, peer)
			delete(g.listed, peer)
		}
	}
	g.mu.Unlock()
	if len(add)+len(remove) > 0 {
		for _, c := range g.lines() {
			c.Allow(add, remove, nil)
		}
	}
	return nil
}

// list is the list as a relay is told it first; it is never nil, for that would be none.
func (g *guests) list() []identity.AMID {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]identity.AMID, 0, len(g.listed))
	for peer := range g.listed {
		all = append(all, peer)
	}
	return all
}

// before calls leave when the relays know the peer that an envelope goes to, at once if
// they need not. Envelopes to one peer leave in the order of the calls.
func (g *guests) before(e agent.Envelope, leave func()) {
	g.mu.Lock()
	if queue := g.queues[e.To]; queue != nil {
		g.queues[e.To] = append(queue, leave)
		g.mu.Unlock()
		return
	}
	if _, known := g.listed[e.To]; known {
		g.mu.Unlock()
		leave()
		return
	}
	g.mu.Unlock()
	if !e.Knock && !g.corresponds(e.To) {
		leave()
		return
	}
	g.mu.Lock()
	g.queues[e.To] = append(g.queues[e.To], leave)
	first := len(g.queues[e.To]) == 1
	g.listed[e.To] = g.round // not found by a look that began before
	g.mu.Unlock()
	if first {
		g.introduce(e.To)
	}
}

func (g *guests) corresponds(peer identity.AMID) bool {
	yes, err := g.of.Corresponds(peer)
	if err != nil {
		g.log.Debug("cannot tell whether a peer is known", "peer", peer.Short(), "err", err)
	}
	return yes
}

// introduce tells every relay of a peer, and lets go what waits for that when the last
// has answered. A relay that is not connected hears of it before anything else when it
// is again.
func (g *guests) introduce(peer identity.AMID) {
	lines := g.lines()
	var mu sync.Mutex
	open := len(lines) + 1
	answered := func() {
		mu.Lock()
		open--
		last := open == 0
		mu.Unlock()
		if last {
			g.release(peer)
		}
	}
	for _, c := range lines {
		c.Allow([]identity.AMID{peer}, nil, func(err error) {
			if err != nil && !errors.Is(err, relay.ErrDisconnected) {
				g.log.Debug("relay does not list a peer", "relay", c.URL(), "peer", peer.Short(), "err", err)
			}
			answered()
		})
	}
	answered()
}

// release lets go what waited, and what queued up behind it meanwhile.
func (g *guests) release(peer identity.AMID) {
	for {
		g.mu.Lock()
		queue := g.queues[peer]
		if len(queue) == 0 {
			delete(g.queues, peer)
			g.mu.Unlock()
			return
		}
		g.queues[peer] = []func(){} // not nil: who comes now waits behind
		g.mu.Unlock()
		for _, leave := range queue {
			leave()
		}
	}
}
