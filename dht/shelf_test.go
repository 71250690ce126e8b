package dht

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"amesh/identity"
)

// offer is a card that says what an agent can do.
func offer(t *testing.T, key identity.PrivateKey, sequence uint64, ids ...string) []byte {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	return offerOf(t, key, sequence, now, now.Add(time.Hour), ids...)
}

func offerOf(t *testing.T, key identity.PrivateKey, sequence uint64, issued, expires time.Time, ids ...string) []byte {
	t.Helper()
	card := identity.Card{Sequence: sequence, Issued: issued, Expires: expires, Name: "somebody"}
	for _, id := range ids {
		card.Capabilities = append(card.Capabilities, identity.Capability{ID: id, Category: "cat-" + firstWord(id)})
	}
	raw, err := identity.SignCard(key, card)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parsed(t *testing.T, raw []byte) *identity.Card {
	t.Helper()
	card, err := identity.ParseCard(raw)
	if err != nil {
		t.Fatal(err)
	}
	return card
}

func newShelf(t *testing.T, change func(*CardLimits)) *CardShelf {
	t.Helper()
	limits := DefaultCardLimits()
	if change != nil {
		change(&limits)
	}
	s, err := NewCardShelf(limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("198.51.100.1")
)

func TestShelfAnswersByIDPrefixAndCategory(t *testing.T) {
	s, now := newShelf(t, nil), time.Now()
	flights, hotels, chat := offer(t, newKey(t), 1, "travel/flights"), offer(t, newKey(t), 1, "travel/hotels"), offer(t, newKey(t), 1, "chat")
	for _, raw := range [][]byte{flights, hotels, chat} {
		if _, err := s.Keep(parsed(t, raw), here, now); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		query Query
		want  int
	}{
		"one thing":                 {Query{ID: "travel/flights"}, 1},
		"all of a kind":             {Query{ID: "travel"}, 2},
		"that word and nothing":     {Query{ID: "travel", Exact: true}, 0},
		"a word that only begins":   {Query{ID: "trav"}, 0},
		"a category":                {Query{Category: "cat-travel"}, 2},
		"both":                      {Query{ID: "travel/hotels", Category: "cat-travel"}, 1},
		"both, which no one has":    {Query{ID: "chat", Category: "cat-travel"}, 0},
		"nothing that anybody does": {Query{ID: "cooking"}, 0},
	} {
		if err := c.query.check(); err != nil {
			t.Fatal(err)
		}
		if got, more := s.Cards(c.query, 10, now); len(got) != c.want || more {
			t.Errorf("%s: %d cards, want %d", name, len(got), c.want)
		}
	}
	if got, more := s.Cards(Query{ID: "travel"}, 1, now); len(got) != 1 || !more {
		t.Errorf("one of two: %d cards, more %v", len(got), more)
	}
	if want := []string{"cat-travel", "travel", "cat-chat", "chat"}; !slices.Equal(s.Topics(now), want) {
		t.Errorf("topics %q, want %q", s.Topics(now), want)
	}
}

// T59: an older card never takes the place of a newer one, and a newer one takes its
// words away too.
func TestT59ShelfKeepsTheNewest(t *testing.T) {
	s, now, key := newShelf(t, nil), time.Now(), newKey(t)
	newer := parsed(t, offer(t, key, 2, "chat"))
	if _, err := s.Keep(newer, here, now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep(parsed(t, offer(t, key, 1, "travel")), here, now); !errors.Is(err, ErrStaleCard) {
		t.Errorf("older: got %v, want ErrStaleCard", err)
	}
	if _, err := s.Keep(newer, here, now); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if _, err := s.Keep(parsed(t, offer(t, key, 3)), here, now); err != nil {
		t.Errorf("nothing any more: %v", err)
	}
	if got, _ := s.Cards(Query{ID: "chat"}, 9, now); len(got) != 0 {
		t.Error("what the agent no longer says is still found")
	}
	if len(s.Topics(now)) != 0 {
		t.Errorf("topics %q, want none", s.Topics(now))
	}
}

func TestShelfIsBounded(t *testing.T) {
	now := time.Now()
	keep := func(s *CardShelf, from netip.Addr, ids ...string) error {
		_, err := s.Keep(parsed(t, offer(t, newKey(t), 1, ids...)), from, now)
		return err
	}
	t.Run("cards", func(t *testing.T) {
		s := newShelf(t, func(l *CardLimits) { l.Cards = 2 })
		if err := errors.Join(keep(s, here, "a"), keep(s, here, "a")); err != nil {
			t.Fatal(err)
		}
		if err := keep(s, here, "a"); !errors.Is(err, ErrCardsFull) {
			t.Errorf("got %v, want ErrCardsFull", err)
		}
	})
	t.Run("one network", func(t *testing.T) {
		s := newShelf(t, func(l *CardLimits) { l.PerNetwork = 2 })
		if err := errors.Join(keep(s, here, "a"), keep(s, here, "a")); err != nil {
			t.Fatal(err)
		}
		if err := keep(s, here, "a"); !errors.Is(err, ErrCardsFull) {
			t.Errorf("third of one network: got %v, want ErrCardsFull", err)
		}
		if err := keep(s, there, "a"); err != nil {
			t.Errorf("first of another network: %v", err)
		}
		for range 4 {
			if err := keep(s, netip.MustParseAddr("127.0.0.1"), "a"); err != nil {
				t.Errorf("this machine: %v", err)
			}
		}
	})
	t.Run("bytes", func(t *testing.T) {
		s, key := newShelf(t, func(l *CardLimits) { l.Bytes = 400 }), newKey(t)
		if _, err := s.Keep(parsed(t, offer(t, key, 1, "a")), here, now); err != nil {
			t.Fatal(err)
		}
		var many []string
		for i := range 40 {
			many = append(many, fmt.Sprintf("a/%d", i))
		}
		if _, err := s.Keep(parsed(t, offer(t, key, 2, many...)), here, now); !errors.Is(err, ErrCardsFull) {
			t.Errorf("growing: got %v, want ErrCardsFull", err)
		}
		if got, _ := s.Cards(Query{ID: "a"}, 9, now); len(got) != 1 {
			t.Error("the card that was there is gone")
		}
	})
}

func TestShelfForgetsWhatNobodyLeavesAgain(t *testing.T) {
	s, now := newShelf(t, func(l *CardLimits) { l.KeepFor, l.PerNetwork = 10*time.Minute, 1 }), time.Now()
	key, card := newKey(t), Query{ID: "chat"}
	raw := parsed(t, offer(t, key, 1, "chat"))
	count := func(at time.Time) int {
		got, _ := s.Cards(card, 9, at)
		return len(got)
	}
	until, err := s.Keep(raw, here, now)
	if err != nil || !until.Equal(now.Add(10*time.Minute)) {
		t.Fatalf("kept until %v, %v", until, err)
	}
	if count(now.Add(10*time.Minute)) != 1 || count(now.Add(10*time.Minute+1)) != 0 {
		t.Error("kept longer or shorter than promised")
	}
	if _, err := s.Keep(raw, here, now.Add(9*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if count(now.Add(18*time.Minute)) != 1 {
		t.Error("left again, and gone")
	}
	if count(raw.Expires.Add(time.Second)) != 0 {
		t.Error("an expired card is handed out")
	}
	if _, err := s.Keep(parsed(t, offer(t, newKey(t), 1, "chat")), here, now.Add(30*time.Minute)); err != nil {
		t.Errorf("the place of what was forgotten: %v", err)
	}
}
