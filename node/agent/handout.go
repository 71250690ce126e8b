package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
)

// Handing out our one-time keys.

// handout is one answer with keys in it.
type handout struct {
	at time.Time
	to string
}

// OneTimeKeys hands out a one-time key of each kind, as long as there are any; nil for
// none, which is no error. Nobody is given a key that was given to somebody before,
// also after a crash. requester is the node that asks, by a name that it proved. It
// gets at most Limits.OneTimePerNode answers with keys in an hour, and all together
// Limits.OneTimePerHour. The error is the store's.
func (a *Agent) OneTimeKeys(ctx context.Context, requester string) (x25519, kem []byte, err error) {
	if a.Revoked() != nil {
		return nil, nil, nil // nobody is to knock here any more
	}
	return a.oneTime.give(ctx, requester)
}

// OneTimeLeft is how many keys of each kind are ready to be handed out.
func (a *Agent) OneTimeLeft() (x25519, kem int) {
	a.oneTime.mu.Lock()
	defer a.oneTime.mu.Unlock()
	return countKind(a.oneTime.ready, identity.KindOneTime), countKind(a.oneTime.ready, identity.KindOneTimeKEM)
}

func (p *oneTimeKeys) give(ctx context.Context, requester string) (x25519, kem []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.a.Clock()
	if !p.mayGive(requester, now) {
		return nil, nil, nil
	}
	picked := p.pick(now)
	if len(picked) == 0 {
		return nil, nil, nil
	}
	err = p.a.Store.Update(ctx, func(tx store.Tx) error {
		for _, k := range picked {
			_, ready := p.rowsOf(k.name())
			if err := tx.Delete(ready); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("hand out one-time keys: %w", err)
	}
	p.given = append(p.given, handout{now, requester})
	for _, k := range picked {
		p.forget(k.name())
		if k.Kind == identity.KindOneTimeKEM {
			kem = k.raw
		} else {
			x25519 = k.raw
		}
		if 5*countKind(p.ready, k.Kind) < p.full(k.Kind) {
			p.wake()
		}
	}
	return x25519, kem, nil
}

// mayGive counts what was given in the last hour; p.mu is held.
func (p *oneTimeKeys) mayGive(requester string, now time.Time) bool {
	p.given = slices.DeleteFunc(p.given, func(h handout) bool { return now.Sub(h.at) >= time.Hour })
	same := 0
	for _, h := range p.given {
		if h.to == requester {
			same++
		}
	}
	return same < p.a.Limits.OneTimePerNode && len(p.given) < p.a.Limits.OneTimePerHour
}

// pick is the oldest usable key of each kind; p.mu is held.
func (p *oneTimeKeys) pick(now time.Time) []readyKey {
	epoch := p.a.prekeys.current().bundle.Epoch
	var picked []readyKey
	for _, kind := range oneTimeKinds {
		i := slices.IndexFunc(p.ready, func(k readyKey) bool { return k.Kind == kind && p.fresh(k, epoch, now) })
		if i >= 0 {
			picked = append(picked, p.ready[i])
		}
	}
	return picked
}

// forget takes a key off the list of those that are ready; p.mu is held.
func (p *oneTimeKeys) forget(n knock.KeyName) {
	p.ready = slices.DeleteFunc(p.ready, func(k readyKey) bool { return k.name() == n })
}

func (p *oneTimeKeys) wake() {
	select {
	case p.low <- struct{}{}:
	default:
	}
}
