package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/homing"
)

// relayBook remembers in an agent's state what must outlive the process: on which
// relays others were told that the agent is homed. There may be mail for it. A nil
// book remembers nothing.
type relayBook struct {
	store store.Store
	amid  identity.AMID
	last  []homing.Past // as written
}

// relayRow is what is remembered of one relay.
type relayRow struct {
	Rank int       `json:"rank,omitempty"`
	Left time.Time `json:"left,omitzero"`
}

func (b *relayBook) key(url string) []byte {
	return append(append(b.amid[:len(b.amid):len(b.amid)], agent.RowRelay), url...)
}

// past reads what was remembered.
func (b *relayBook) past() ([]homing.Past, error) {
	if b == nil {
		return nil, nil
	}
	prefix := b.key("")
	var list []homing.Past
	var bad error
	err := b.store.View(func(r store.Reader) error {
		return r.Scan(prefix, nil, func(k, v []byte) bool {
			var row relayRow
			if bad = json.Unmarshal(v, &row); bad != nil {
				bad = fmt.Errorf("row of the relay %q: %w", k[len(prefix):], bad)
				return false
			}
			list = append(list, homing.Past{URL: string(k[len(prefix):]), Rank: row.Rank, Left: row.Left})
			return true
		})
	})
	if err == nil {
		err = bad
	}
	b.last = list
	return list, err
}

// remember writes what changed.
func (b *relayBook) remember(ctx context.Context, past []homing.Past) error {
	if b == nil || slices.EqualFunc(past, b.last, samePast) {
		return nil
	}
	err := b.store.Update(ctx, func(tx store.Tx) error {
		for _, p := range b.last {
			if !slices.ContainsFunc(past, func(q homing.Past) bool { return q.URL == p.URL }) {
				if err := tx.Delete(b.key(p.URL)); err != nil {
					return err
				}
			}
		}
		for _, p := range past {
			raw, err := json.Marshal(relayRow{Rank: p.Rank, Left: p.Left})
			if err != nil {
				return err
			}
			if err := tx.Set(b.key(p.URL), raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		b.last = slices.Clone(past)
	}
	return err
}

func samePast(a, b homing.Past) bool {
	return a.URL == b.URL && a.Rank == b.Rank && a.Left.Equal(b.Left)
}
