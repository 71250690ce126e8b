package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
	"amesh/ratchet"
)

// prekeySet is a bundle that we published, with its private parts.
type prekeySet struct {
	bundle   *identity.Bundle
	exchange ratchet.Secret
	signed   ratchet.Secret
	kem      ratchet.KEMSeed
}

// prekeys are our own bundles: the newest, which is published, and older ones
// whose private parts still open knocks that are under way.
type prekeys struct {
	a    *Agent
	turn sync.Mutex // of whoever replaces: two at once would sign two bundles under one number
	mu   sync.RWMutex
	// sets is in order of sequence, the newest last.
	sets []*prekeySet
}

// load reads the sets and makes the first one if there is none.
func (p *prekeys) load(ctx context.Context) error {
	err := p.a.Store.View(func(r store.Reader) error {
		var bad error
		err := r.Scan(p.a.key(rowPrekeys), nil, func(k, v []byte) bool {
			var set *prekeySet
			if set, bad = p.open(k, v); bad != nil {
				return false
			}
			p.sets = append(p.sets, set)
			return true
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return fmt.Errorf("read prekeys: %w", err)
	}
	return p.rotate(ctx)
}

// current is the newest set.
func (p *prekeys) current() *prekeySet {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sets[len(p.sets)-1]
}

// named finds the set of a knock. It returns nil when its private parts are gone.
func (p *prekeys) named(bundleID [32]byte) *prekeySet {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, s := range p.sets {
		if s.bundle.ID() == bundleID {
			return s
		}
	}
	return nil
}

// rotate makes a new set when the newest is old, and erases those whose time is
// over. The private parts are on disk before anybody can see the bundle (CP 8).
func (p *prekeys) rotate(ctx context.Context) error { return p.replace(ctx, false) }

// replace is rotate, which makes a new set in any case when it is forced to.
func (p *prekeys) replace(ctx context.Context, force bool) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	now := p.a.expiry.now()
	p.mu.RLock()
	n := len(p.sets)
	// One made while the clock was ahead is of no use to anybody now.
	fresh := !force && n > 0 && p.sets[n-1].bundle.Epoch == p.a.Epoch() && now.Before(p.sets[n-1].bundle.Created.Add(p.a.Limits.BundleRenew)) &&
		!p.a.Clock().Add(p.a.Limits.Skew).Before(p.sets[n-1].bundle.Created)
	var old []*prekeySet
	for i, s := range p.sets {
		if i < n-1 && now.After(s.bundle.Expires.Add(p.a.Limits.PrekeyGrace)) {
			old = append(old, s)
		}
	}
	p.mu.RUnlock()
	if fresh && len(old) == 0 {
		return nil
	}
	var next *prekeySet
	if !fresh {
		var err error
		if next, err = p.make(p.a.Clock()); err != nil {
			return err
		}
	}
	err := p.a.Store.Update(ctx, func(tx store.Tx) error {
		for _, s := range old {
			if err := tx.Delete(p.a.key(rowPrekeys, be64(s.bundle.Sequence))); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		key := p.a.key(rowPrekeys, be64(next.bundle.Sequence))
		return tx.Set(key, p.a.StateKey.Seal(key, next.encode()))
	})
	if err != nil {
		return fmt.Errorf("store prekeys: %w", err)
	}
	p.swap(next, old)
	return nil
}

func (p *prekeys) swap(next *prekeySet, old []*prekeySet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []*prekeySet
	for _, s := range p.sets {
		gone := false
		for _, o := range old {
			gone = gone || o == s
		}
		if !gone {
			kept = append(kept, s)
		}
	}
	if next != nil {
		kept = append(kept, next)
	}
	p.sets = kept
}

// make makes fresh keys and signs their bundle.
func (p *prekeys) make(now time.Time) (*prekeySet, error) {
	s := &prekeySet{}
	var err error
	if s.exchange, err = ratchet.GenerateSecret(p.a.Rand); err != nil {
		return nil, err
	}
	if s.signed, err = ratchet.GenerateSecret(p.a.Rand); err != nil {
		return nil, err
	}
	if s.kem, err = ratchet.GenerateKEMSeed(p.a.Rand); err != nil {
		return nil, err
	}
	b := identity.Bundle{Epoch: p.a.Epoch(), Sequence: 1}
	if last := p.last(); last != nil {
		b.Sequence = last.Sequence + 1
		b.SignedPrekeyID, b.KEMKeyID = last.SignedPrekeyID+1, last.KEMKeyID+1
	} else if b.SignedPrekeyID, b.KEMKeyID, err = p.firstIDs(); err != nil {
		return nil, err
	}
	b.Created, b.Expires = now.Truncate(time.Second), now.Truncate(time.Second).Add(p.a.Limits.BundleLife)
	b.Certificate = identity.KeyCertificate{Exchange: s.exchange.Public(), Created: b.Created, Expires: b.Expires}
	b.SignedPrekey, b.KEMKey = s.signed.Public(), s.kem.Public()
	raw, err := identity.SignBundle(p.a.Key, b)
	if err != nil {
		return nil, err
	}
	s.bundle, err = identity.ParseBundle(raw)
	return s, err
}

func (p *prekeys) last() *identity.Bundle {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.sets) == 0 {
		return nil
	}
	return p.sets[len(p.sets)-1].bundle
}

// firstIDs starts at random numbers of 31 bits, so that keys of a lost state are
// not mistaken for new ones.
func (p *prekeys) firstIDs() (signed, kem uint32, err error) {
	var b [8]byte
	if _, err := p.a.Rand.Read(b[:]); err != nil {
		return 0, 0, err
	}
	return binary.BigEndian.Uint32(b[:]) >> 1, binary.BigEndian.Uint32(b[4:]) >> 1, nil
}

func (s *prekeySet) encode() []byte {
	w := wire.NewWriter(2048)
	w.LP16(s.bundle.Raw())
	w.Fixed(s.exchange[:])
	w.Fixed(s.signed[:])
	w.Fixed(s.kem[:])
	return w.Bytes()
}

func (p *prekeys) open(key, sealed []byte) (*prekeySet, error) {
	plain, err := p.a.StateKey.Open(key, sealed)
	if err != nil {
		return nil, err
	}
	s := &prekeySet{}
	r := wire.NewReader(plain)
	raw := r.LP16(4096)
	r.Into(s.exchange[:])
	r.Into(s.signed[:])
	r.Into(s.kem[:])
	if err := r.Done(); err != nil {
		return nil, err
	}
	s.bundle, err = identity.ParseBundle(append([]byte(nil), raw...))
	return s, err
}

// certificate is the key certificate that a knock carries, the bundle's own.
func (s *prekeySet) certificate(key identity.PrivateKey) ([]byte, error) {
	return identity.SignKeyCertificate(key, s.bundle.Certificate)
}

// Record signs the agent's public record with the given places. Its sequence grows
// with every call, also across restarts. It returns identity.ErrRevoked when the
// agent's key has left.
func (a *Agent) Record(ctx context.Context, p Places) ([]byte, error) {
	if a.left.of(a.amid) != nil {
		return nil, identity.ErrRevoked
	}
	now := a.Clock().Truncate(time.Second)
	var seq uint64
	err := a.Store.Update(ctx, func(tx store.Tx) (err error) {
		seq, err = a.nextSequence(tx, counterRecord)
		return err
	})
	if err != nil {
		return nil, err
	}
	return identity.SignRecord(a.Key, identity.AgentRecord{
		Sequence: seq, Created: now, Expires: now.Add(a.Limits.RecordLife),
		Relays: p.Relays, PeerIDs: p.PeerIDs, Addresses: p.Addresses,
	}, a.prekeys.current().bundle.Raw())
}
