package agent

import (
	"context"
	"fmt"
	"math"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
)

// One-time keys that lie elsewhere to be handed out, at a registry: the agent cannot
// see who was given which, but that one was given twice shows when it is named twice
// (T17).

// OneTimeDepositMost is how many keys of both kinds one deposit may have.
const OneTimeDepositMost = 200

// depositRow is kept of a key as long as its private part could be: where it was left,
// and whether a knock has used it.
type depositRow struct {
	Place   string    `json:"place"`
	Expires time.Time `json:"expires"`
	Used    bool      `json:"used,omitempty"`
}

// OneTimeDeposit makes new one-time keys, so many of each kind, for somebody who hands
// them out, and returns them as they are signed. Their private parts are on disk when it
// returns, and nobody else is given them. place names the holder. It returns none when
// the agent's own key has left; the error is the store's.
func (a *Agent) OneTimeDeposit(ctx context.Context, place string, x25519, kem int) ([][]byte, error) {
	if a.Revoked() != nil || x25519 < 0 || kem < 0 {
		return nil, nil
	}
	kem = min(kem, OneTimeDepositMost)
	x25519 = min(x25519, OneTimeDepositMost-kem)
	keys, err := a.oneTime.deposit(ctx, place, map[identity.KeyKind]int{identity.KindOneTime: x25519, identity.KindOneTimeKEM: kem})
	if err != nil {
		return nil, fmt.Errorf("keys to be handed out by %s: %w", place, err)
	}
	return keys, nil
}

func (p *oneTimeKeys) deposit(ctx context.Context, place string, want map[identity.KeyKind]int) ([][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	made, err := p.makeNew(want, p.a.prekeys.current().bundle.Epoch, p.a.Clock().Truncate(time.Second))
	if err != nil || len(made) == 0 {
		return nil, err
	}
	next := p.next + uint64(len(made))
	var keys [][]byte
	err = p.a.Store.Update(ctx, func(tx store.Tx) error {
		for _, m := range made {
			if err := p.putPrivate(tx, m); err != nil {
				return err
			}
			row := depositRow{Place: place, Expires: m.Expires}
			if err := setJSON(tx, p.depositKey(m.name()), row); err != nil {
				return err
			}
			keys = append(keys, m.raw)
		}
		return tx.Set(p.a.key(rowCounter, []byte{counterOneTime}), be64(next))
	})
	if err != nil {
		return nil, err
	}
	p.next = next
	return keys, nil
}

// makeNew makes keys, so many of each kind as long as there are ids; p.mu is held.
func (p *oneTimeKeys) makeNew(want map[identity.KeyKind]int, epoch uint32, now time.Time) ([]madeKey, error) {
	var made []madeKey
	for _, kind := range oneTimeKinds {
		for range want[kind] {
			id := p.next + uint64(len(made))
			if id > math.MaxUint32 {
				return made, nil // no id is ever used again; knocks do without
			}
			m, err := p.makeOne(kind)
			if err != nil {
				return nil, err
			}
			m.Epoch, m.ID, m.Created, m.Expires = epoch, uint32(id), now, now.Add(p.a.Limits.OneTimeLife)
			if m.raw, err = identity.SignOneTimeKey(p.a.Key, *m.OneTimeKey); err != nil {
				return nil, err
			}
			made = append(made, m)
		}
	}
	return made, nil
}

func (p *oneTimeKeys) depositKey(n knock.KeyName) []byte {
	_, row := p.rowsOf(n)
	row[identity.AMIDSize] = rowDeposit // the name of the key is written the same way
	return row
}

// spend notes that a key which lies elsewhere was used.
func (p *oneTimeKeys) spend(tx store.Tx, n knock.KeyName) error {
	key := p.depositKey(n)
	row, found, err := getJSON[depositRow](tx, key)
	if err != nil || !found {
		return err
	}
	row.Used = true
	return setJSON(tx, key, row)
}

// twice reports a key that a knock names although another one used it, where the key
// lay elsewhere: its holder gave it twice, or the one who got it used it twice.
func (p *oneTimeKeys) twice(r store.Reader, n knock.KeyName, peer identity.AMID) error {
	row, found, err := getJSON[depositRow](r, p.depositKey(n))
	if err != nil || !found || !row.Used {
		return err
	}
	if p.a.ServedTwice != nil {
		p.a.ServedTwice(row.Place, peer)
	}
	return nil
}

// doomedDeposits finds rows of keys that nobody can use any more.
func (p *oneTimeKeys) doomedDeposits(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	return scanJSON(r, p.a.key(rowDeposit), nil, func(k []byte, row depositRow) bool {
		return add(k, now.After(row.Expires.Add(p.a.Limits.PrekeyGrace)))
	})
}
