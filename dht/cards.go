package dht

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"amesh/identity"
	"amesh/internal/prefix"
)

// cardDesk answers CardsProtocol for a CardKeeper.
type cardDesk struct {
	keeper CardKeeper
	limits CardLimits
	clock  func() time.Time
	rate   *prefix.Rate
	busy   chan struct{} // one place for each request that is answered at once
}

func newCardDesk(keeper CardKeeper, limits CardLimits, clock func() time.Time) *cardDesk {
	return &cardDesk{
		keeper: keeper, limits: limits, clock: clock,
		rate: prefix.NewRate(limits.PerSecond, limits.Burst, time.Now()),
		busy: make(chan struct{}, limits.Serving),
	}
}

// answer is the answer to one request, and the words of a card that was taken.
func (d *cardDesk) answer(raw []byte, from netip.Addr) (out []byte, topics []string) {
	if !d.rate.Take(from, 1, time.Now()) {
		return []byte{byte(cardTooOften)}, nil
	}
	req, err := parseCardRequest(raw)
	if err != nil {
		return []byte{byte(cardBad)}, nil
	}
	now := d.clock()
	if req.card == nil {
		cards, more := d.keeper.Cards(req.query, d.limits.Answer, now)
		return encodeCards(cards, more, d.limits.Answer, d.limits.AnswerBytes), nil
	}
	card, err := checkCard(req.card, now)
	if err != nil {
		return []byte{byte(cardRefused)}, nil
	}
	until, err := d.keeper.Keep(card, from, now)
	if err != nil {
		return []byte{byte(codeOf(err))}, nil
	}
	return encodeKept(until), topicsOf(card)
}

// checkCard verifies everything about a card: form, size, name, signature, times.
func checkCard(raw []byte, now time.Time) (*identity.Card, error) {
	card, err := identity.ParseCard(raw)
	if err != nil {
		return nil, err
	}
	return card, card.Valid(now)
}

// serveCards answers one stream.
func (n *Node) serveCards(s network.Stream) {
	defer s.Close()
	select {
	case n.desk.busy <- struct{}{}:
		defer func() { <-n.desk.busy }()
	default:
		_ = s.Reset()
		return
	}
	ctx, _, leave, err := n.enter(context.Background(), n.desk.limits.RequestTime)
	if err != nil {
		_ = s.Reset()
		return
	}
	defer leave()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	if err := s.Scope().ReserveMemory(maxCardFrame+n.desk.limits.AnswerBytes, network.ReservationPriorityMedium); err != nil {
		_ = s.Reset()
		return
	}
	raw, err := readFrame(s, maxCardFrame)
	if err != nil {
		n.log.Debug("cards: request", "peer", s.Conn().RemotePeer().String(), "err", err)
		_ = s.Reset()
		return
	}
	from, _ := ipOf(s.Conn().RemoteMultiaddr())
	out, topics := n.desk.answer(raw, from)
	if err := writeFrame(s, out); err != nil {
		_ = s.Reset()
		return
	}
	if slices.ContainsFunc(topics, n.unannounced) {
		signal(n.newTopics)
	}
}
