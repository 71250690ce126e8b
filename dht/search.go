package dht

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// Found is one agent that a search found: its newest card, verified here, and the
// peer ids of the servers that had it.
type Found struct {
	Card *identity.Card
	From []string
}

// Search asks for the cards that match a query: our bootstrap servers, and the
// servers that the table names as providers for it. What they answer is verified
// here, whoever sent it; what doesn't match or hold is dropped. The agents come in the
// order of their AMIDs. It returns ErrQuery, or ErrNoServer when nobody could be
// asked. Nothing found is no error.
func (n *Node) Search(ctx context.Context, q Query) ([]Found, error) {
	if err := q.check(); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	ctx, run, leave, err := n.enter(ctx, n.cards.SearchTimeout)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	defer leave()
	h := &haul{node: n, query: q, agents: make(map[identity.AMID]*Found)}
	if n.desk != nil {
		own, _ := n.desk.keeper.Cards(q, n.cards.Found, n.cfg.Clock())
		h.take(own, n.host.ID())
	} else if err := n.awaitServers(ctx, run.table); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	asked := make(map[peer.ID]bool)
	var wg sync.WaitGroup
	ask := func(p peer.AddrInfo) {
		if !asked[p.ID] && len(asked) < n.cards.Providers {
			asked[p.ID] = true
			wg.Go(func() { h.ask(ctx, p) })
		}
	}
	for _, id := range n.anchors() {
		ask(peer.AddrInfo{ID: id})
	}
	// A map's order is another one every time: many false providers can be in the way
	// of a search, but not of the same honest ones for ever.
	for _, p := range n.providers(ctx, run, topicKey(q.topic())) {
		ask(p)
	}
	wg.Wait()
	return h.result()
}

// haul is what a search has found so far.
type haul struct {
	node  *Node
	query Query

	mu       sync.Mutex
	answered int
	agents   map[identity.AMID]*Found
}

func (h *haul) ask(ctx context.Context, p peer.AddrInfo) {
	raw, err := h.node.exchangeCards(ctx, p, encodeAsk(h.query))
	if err != nil {
		h.node.log.Debug("cards not asked", "peer", p.ID.String(), "err", err)
		return
	}
	cards, _, err := parseCards(raw)
	if err != nil {
		h.node.log.Debug("cards not given", "peer", p.ID.String(), "err", err)
		return
	}
	h.take(cards, p.ID)
}

// take verifies the cards that one server gave, and keeps the newest of each agent.
func (h *haul) take(cards [][]byte, from peer.ID) {
	now := h.node.cfg.Clock()
	good := make([]*identity.Card, 0, len(cards))
	for _, raw := range cards {
		card, err := checkCard(raw, now)
		if err != nil || !h.query.Matches(card) {
			h.node.log.Debug("card dropped", "peer", from.String(), "err", err)
			continue
		}
		good = append(good, card)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered++
	for _, card := range good {
		old := h.agents[card.Agent]
		switch {
		case old == nil && len(h.agents) >= h.node.cards.Found:
		case old == nil || identity.Newer(card.Raw(), old.Card.Raw()) > 0:
			h.agents[card.Agent] = &Found{Card: card, From: []string{from.String()}}
		case identity.Newer(card.Raw(), old.Card.Raw()) == 0 && !slices.Contains(old.From, from.String()):
			old.From = append(old.From, from.String())
		}
	}
}

func (h *haul) result() ([]Found, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answered == 0 {
		return nil, fmt.Errorf("search: %w", ErrNoServer)
	}
	list := make([]Found, 0, len(h.agents))
	for _, f := range h.agents {
		slices.Sort(f.From)
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Found) int { return cmp.Compare(a.Card.Agent.String(), b.Card.Agent.String()) })
	return list, nil
}

// exchangeCards sends one request of CardsProtocol and returns the answer.
func (n *Node) exchangeCards(ctx context.Context, p peer.AddrInfo, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cards.RequestTime)
	defer cancel()
	if err := n.host.Connect(ctx, p); err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(ctx, p.ID, CardsProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	if err := writeFrame(s, request); err != nil {
		_ = s.Reset()
		return nil, err
	}
	raw, err := readFrame(s, maxAnswer)
	if err != nil {
		_ = s.Reset()
	}
	return raw, err
}
