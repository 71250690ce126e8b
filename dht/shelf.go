package dht

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/prefix"
)

// CardKeeper is where a server keeps the cards that agents leave with it. It is asked
// from many goroutines at once.
type CardKeeper interface {
	// Keep takes a card that was verified and holds at the time now, from an address.
	// It returns until when it is kept; ErrStaleCard where a newer one is here, or
	// ErrCardsFull.
	Keep(card *identity.Card, from netip.Addr, now time.Time) (time.Time, error)
	// Cards returns up to most cards that match a query and hold at the time now, as
	// they were signed, and whether there are more. Which ones of many, is open.
	Cards(q Query, most int, now time.Time) (cards [][]byte, more bool)
	// Topics are the words under which cards are found here, those of the most cards
	// first.
	Topics(now time.Time) []string
}

// CardShelf is a CardKeeper in memory. It refuses new agents rather than forget old
// ones when it is full: whoever may push others out by leaving more could silence
// anybody. It has one card of an agent, and forgets it when nobody left it again.
type CardShelf struct {
	limits CardLimits

	mu      sync.Mutex
	cards   map[identity.AMID]*shelved
	topics  map[string]map[identity.AMID]*shelved
	network map[netip.Prefix]int
	bytes   int64
	swept   time.Time
}

type shelved struct {
	card    *identity.Card
	until   time.Time
	network netip.Prefix // invalid: not counted
}

// sweepEvery is how often a shelf looks for cards whose time is over, at the earliest.
const sweepEvery = time.Minute

// NewCardShelf returns an empty shelf; zero limits are the defaults.
func NewCardShelf(limits CardLimits) (*CardShelf, error) {
	if limits == (CardLimits{}) {
		limits = DefaultCardLimits()
	}
	if err := limits.check(); err != nil {
		return nil, fmt.Errorf("card shelf: %w", err)
	}
	return &CardShelf{
		limits: limits,
		cards:  make(map[identity.AMID]*shelved), topics: make(map[string]map[identity.AMID]*shelved),
		network: make(map[netip.Prefix]int),
	}, nil
}

// Keep implements CardKeeper.
func (s *CardShelf) Keep(card *identity.Card, from netip.Addr, now time.Time) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	until := now.Add(s.limits.KeepFor)
	if card.Expires.Before(until) {
		until = card.Expires
	}
	old := s.cards[card.Agent]
	size := int64(len(card.Raw()))
	if old != nil {
		if identity.Newer(card.Raw(), old.card.Raw()) < 0 {
			return time.Time{}, ErrStaleCard
		}
		if grow := size - int64(len(old.card.Raw())); grow > 0 && s.bytes+grow > s.limits.Bytes {
			return time.Time{}, ErrCardsFull
		}
		s.drop(old)
		s.put(&shelved{card: card, until: until, network: old.network})
		return until, nil
	}
	var network netip.Prefix
	if from.IsValid() && !from.Unmap().IsLoopback() {
		network = prefix.Of(from)
	}
	if len(s.cards) >= s.limits.Cards || s.bytes+size > s.limits.Bytes || s.network[network] >= s.limits.PerNetwork {
		return time.Time{}, ErrCardsFull
	}
	s.put(&shelved{card: card, until: until, network: network})
	return until, nil
}

// put and drop keep the indexes; s.mu is held.
func (s *CardShelf) put(c *shelved) {
	s.cards[c.card.Agent] = c
	s.bytes += int64(len(c.card.Raw()))
	if c.network.IsValid() {
		s.network[c.network]++
	}
	for _, topic := range topicsOf(c.card) {
		if s.topics[topic] == nil {
			s.topics[topic] = make(map[identity.AMID]*shelved)
		}
		s.topics[topic][c.card.Agent] = c
	}
}

func (s *CardShelf) drop(c *shelved) {
	delete(s.cards, c.card.Agent)
	s.bytes -= int64(len(c.card.Raw()))
	if c.network.IsValid() {
		if s.network[c.network]--; s.network[c.network] == 0 {
			delete(s.network, c.network)
		}
	}
	for _, topic := range topicsOf(c.card) {
		delete(s.topics[topic], c.card.Agent)
		if len(s.topics[topic]) == 0 {
			delete(s.topics, topic)
		}
	}
}

func (s *CardShelf) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for _, c := range s.cards {
		if now.After(c.until) {
			s.drop(c)
		}
	}
}

// Cards implements CardKeeper. The map's order is another one every time, so that of
// many cards everybody is shown now and then.
func (s *CardShelf) Cards(q Query, most int, now time.Time) (cards [][]byte, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.topics[q.topic()] {
		if now.After(c.until) || c.card.Valid(now) != nil || !q.Matches(c.card) {
			continue
		}
		if len(cards) == most {
			return cards, true
		}
		cards = append(cards, c.card.Raw())
	}
	return cards, false
}

// Topics implements CardKeeper.
func (s *CardShelf) Topics(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	count := make(map[string]int, len(s.topics))
	list := make([]string, 0, len(s.topics))
	for topic, cards := range s.topics {
		count[topic] = len(cards)
		list = append(list, topic)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	return list
}
