package dht

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// LeaveCard leaves a signed card with our bootstrap servers, and keeps it there while
// Run runs, until a newer one takes its place, it expires or ForgetCard. It returns nil
// when a server took it. ErrUnconfirmed means that the card is remembered and will be
// tried again; any other error that it was refused: ErrCard, ErrStaleCard, ErrClosed.
//
// What was left can't be taken away before its time. An agent that wants to be found
// no longer leaves a newer card without capabilities.
func (n *Node) LeaveCard(ctx context.Context, raw []byte) error {
	card, err := checkCard(raw, n.cfg.Clock())
	if err != nil {
		return fmt.Errorf("leave card: %w: %w", ErrCard, err)
	}
	n.mu.Lock()
	old := n.left[card.Agent]
	switch {
	case n.state == stateClosed:
		err = ErrClosed
	case old != nil && identity.Newer(raw, old.Raw()) < 0:
		err = ErrStaleCard
	default:
		n.left[card.Agent] = card
	}
	n.mu.Unlock()
	if err == nil {
		if err = n.leave(ctx, card); errors.Is(err, ErrUnconfirmed) {
			signal(n.soon)
		}
	}
	if err != nil {
		return fmt.Errorf("leave card of %s: %w", card.Agent, err)
	}
	return nil
}

// ForgetCard stops renewing an agent's card.
func (n *Node) ForgetCard(agent identity.AMID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.left, agent)
}

// leave brings a card to every bootstrap server that is connected.
func (n *Node) leave(ctx context.Context, card *identity.Card) error {
	ctx, _, leave, err := n.enter(ctx, n.limits.PutTimeout)
	if errors.Is(err, ErrClosed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	defer leave()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		taken int
		errs  []error
	)
	for _, id := range n.anchors() {
		wg.Go(func() {
			raw, err := n.exchangeCards(ctx, peer.AddrInfo{ID: id}, encodeLeave(card.Raw()))
			if err == nil {
				err = parseKept(raw)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", id, err))
			} else {
				taken++
			}
		})
	}
	wg.Wait()
	err = errors.Join(errs...)
	switch {
	case errors.Is(err, ErrStaleCard):
		n.mu.Lock()
		if n.left[card.Agent] == card {
			delete(n.left, card.Agent) // trying again can't help, the sequence must be raised
		}
		n.mu.Unlock()
		return err
	case taken > 0:
		return nil
	case err == nil:
		return fmt.Errorf("%w: no server connected", ErrUnconfirmed)
	}
	return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
}

// leaveAll renews every card and reports whether some server took each.
func (n *Node) leaveAll(ctx context.Context) bool {
	now := n.cfg.Clock()
	var cards []*identity.Card
	n.mu.Lock()
	for agent, card := range n.left {
		if card.Valid(now) != nil {
			delete(n.left, agent)
			continue
		}
		cards = append(cards, card)
	}
	n.mu.Unlock()
	all := true
	for _, card := range cards {
		err := n.leave(ctx, card)
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, ErrStaleCard):
			n.log.Warn("newer agent card found, ours no longer left", "agent", card.Agent.String())
		default:
			all = false
			n.log.Debug("card not left", "agent", card.Agent.String(), "err", err)
		}
	}
	return all
}
