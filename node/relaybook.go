package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/homing"
)

// pinsMost is how many pins of relays that are not the owner's an agent remembers:
// peers name their relays. The one that was not met for longest goes first.
const pinsMost = 1000

// Kinds of rows of the book, behind agent.RowRelay.
const (
	rowHome = 'u' // URL      → homeRow
	rowPin  = 'p' // relay id → pinRow
)

// relayBook remembers in an agent's state what must outlive the process: on which
// relays others were told that the agent is homed, because there may be mail for it; and
// which relays have proved that they bind a connect frame to themselves, because they
// are never spoken to without again. A nil book remembers nothing.
type relayBook struct {
	store store.Store
	amid  identity.AMID
	homes []homing.Past // as written
	pins  map[string]pinRow
}

// homeRow is what is remembered of a relay that is or was a home.
type homeRow struct {
	Rank int       `json:"rank,omitempty"`
	Left time.Time `json:"left,omitzero"`
}

// pinRow is what is remembered of a relay that set a challenge.
type pinRow struct {
	Met time.Time `json:"met"` // to the day
	Own bool      `json:"own,omitempty"`
}

func (b *relayBook) key(kind byte, name string) []byte {
	return append(append(b.amid[:len(b.amid):len(b.amid)], agent.RowRelay, kind), name...)
}

// open reads what was remembered.
func (b *relayBook) open() error {
	if b == nil {
		return nil
	}
	b.pins = make(map[string]pinRow)
	return b.store.View(func(r store.Reader) error {
		if err := scanBook(r, b.key(rowHome, ""), func(url string, row homeRow) {
			b.homes = append(b.homes, homing.Past{URL: url, Rank: row.Rank, Left: row.Left})
		}); err != nil {
			return err
		}
		return scanBook(r, b.key(rowPin, ""), func(id string, row pinRow) { b.pins[id] = row })
	})
}

func scanBook[T any](r store.Reader, prefix []byte, f func(name string, row T)) error {
	var bad error
	err := r.Scan(prefix, nil, func(k, v []byte) bool {
		var row T
		if bad = json.Unmarshal(v, &row); bad != nil {
			bad = fmt.Errorf("row of the relay %q: %w", k[len(prefix):], bad)
			return false
		}
		f(string(k[len(prefix):]), row)
		return true
	})
	if err != nil {
		return err
	}
	return bad
}

// past are the homes of before.
func (b *relayBook) past() []homing.Past {
	if b == nil {
		return nil
	}
	return b.homes
}

// pinned lists the ids of relays that have set a challenge. A pin of the owner's goes
// when the relay is not named any more: so he can take one back.
func (b *relayBook) pinned(own map[string]bool) map[string]bool {
	all := make(map[string]bool)
	if b != nil {
		for id, row := range b.pins {
			all[id] = own[id] || !row.Own
		}
	}
	return all
}

// remember writes what changed of the homes.
func (b *relayBook) remember(ctx context.Context, past []homing.Past) error {
	if b == nil || slices.EqualFunc(past, b.homes, samePast) {
		return nil
	}
	err := b.store.Update(ctx, func(tx store.Tx) error {
		for _, p := range b.homes {
			if !slices.ContainsFunc(past, func(q homing.Past) bool { return q.URL == p.URL }) {
				if err := tx.Delete(b.key(rowHome, p.URL)); err != nil {
					return err
				}
			}
		}
		for _, p := range past {
			if err := setBook(tx, b.key(rowHome, p.URL), homeRow{Rank: p.Rank, Left: p.Left}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		b.homes = slices.Clone(past)
	}
	return err
}

func samePast(a, b homing.Past) bool {
	return a.URL == b.URL && a.Rank == b.Rank && a.Left.Equal(b.Left)
}

// pin remembers relays that have set a challenge, and forgets what is pinned no more.
func (b *relayBook) pin(ctx context.Context, ids []string, own map[string]bool, now time.Time) error {
	if b == nil {
		return nil
	}
	today := now.UTC().Truncate(24 * time.Hour)
	next := make(map[string]pinRow, len(b.pins)+len(ids))
	for id, row := range b.pins {
		if own[id] || !row.Own {
			next[id] = row
		}
	}
	for _, id := range ids {
		next[id] = pinRow{Met: today, Own: own[id]}
	}
	dropOldest(next, pinsMost)
	if maps.Equal(next, b.pins) {
		return nil
	}
	err := b.store.Update(ctx, func(tx store.Tx) error {
		for id := range b.pins {
			if _, stays := next[id]; !stays {
				if err := tx.Delete(b.key(rowPin, id)); err != nil {
					return err
				}
			}
		}
		for id, row := range next {
			if row == b.pins[id] {
				continue
			}
			if err := setBook(tx, b.key(rowPin, id), row); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		b.pins = next
	}
	return err
}

// dropOldest takes out pins of others' relays that are more than most.
func dropOldest(pins map[string]pinRow, most int) {
	var theirs []string
	for id, row := range pins {
		if !row.Own {
			theirs = append(theirs, id)
		}
	}
	slices.SortFunc(theirs, func(x, y string) int {
		return cmp.Or(pins[x].Met.Compare(pins[y].Met), cmp.Compare(x, y))
	})
	for _, id := range theirs[:max(0, len(theirs)-most)] {
		delete(pins, id)
	}
}

func setBook(tx store.Tx, key []byte, row any) error {
	raw, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return tx.Set(key, raw)
}
