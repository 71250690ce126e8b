package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
	"amesh/knock"
	"amesh/ratchet"
)

// errOneTimeUnknown says that a knock names a one-time key that we do not have, or no
// longer: its sender can go on without one (session.md §8.5, code 1).
var errOneTimeUnknown = fmt.Errorf("%w: one-time key", knock.ErrPrekeyUnknown)

// oneTimeSpare is how long before its end a key is replaced that nobody was given.
const oneTimeSpare = 24 * time.Hour

// oneTimeKeys are our own keys that are used once (session.md §2.5).
//
//	made ──────► ready ──────────► given ─────────► used
//	private part  │    committed before   erased with the first message 0
//	on disk       │    a byte leaves        │       that names the key
//	              ▼                         ▼
//	           replaced: old, or        erased at expires + 8 d, or
//	           of another epoch         of another epoch
//
// The private parts lie in the store only: what was given and not used is as much as
// strangers make of it.
type oneTimeKeys struct {
	a   *Agent
	low chan struct{} // has something when few are ready; the sweep makes new ones

	// mu is held while the store commits, so that memory and disk agree.
	mu    sync.Mutex
	next  uint64     // id of the next key to be made
	ready []readyKey // by kind and id
	given []handout  // of the last hour, the oldest first
}

// readyKey is a key that nobody was given yet, as it is signed.
type readyKey struct {
	*identity.OneTimeKey
	raw []byte
}

func (k readyKey) name() knock.KeyName { return knock.KeyName{Kind: k.Kind, ID: k.ID} }

func newOneTimeKeys(a *Agent) *oneTimeKeys {
	return &oneTimeKeys{a: a, low: make(chan struct{}, 1)}
}

// rowsOf are the keys of the rows of a one-time key: its private part, and what is
// signed while it is ready.
func (p *oneTimeKeys) rowsOf(n knock.KeyName) (private, ready []byte) {
	id := binary.BigEndian.AppendUint32(nil, n.ID)
	return p.a.key(rowOneTime, []byte{byte(n.Kind)}, id), p.a.key(rowReady, []byte{byte(n.Kind)}, id)
}

// load reads what is ready. It makes nothing: refill does, which the sweep calls as
// soon as the agent runs.
func (p *oneTimeKeys) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.a.Key.AMID()
	err := p.a.Store.View(func(r store.Reader) error {
		var bad error
		err := r.Scan(p.a.key(rowReady), nil, func(_, v []byte) bool {
			k := readyKey{raw: bytes.Clone(v)}
			if k.OneTimeKey, bad = identity.OwnOneTimeKey(k.raw, own); bad == nil {
				p.ready = append(p.ready, k)
			}
			return bad == nil
		})
		return errors.Join(err, bad, p.loadNext(r))
	})
	if err != nil {
		return fmt.Errorf("read one-time keys: %w", err)
	}
	return nil
}

// loadNext reads the id of the next key. The first is a random number of 31 bits, so
// that keys of a lost state are not mistaken for new ones.
func (p *oneTimeKeys) loadNext(r store.Reader) error {
	b, err := r.Get(p.a.key(rowCounter, []byte{counterOneTime}))
	switch {
	case err == nil && len(b) == 8:
		p.next = binary.BigEndian.Uint64(b)
		return nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	var first [4]byte
	if _, err := p.a.Rand.Read(first[:]); err != nil {
		return err
	}
	p.next = uint64(binary.BigEndian.Uint32(first[:]) >> 1)
	return nil
}

// refill replaces what is ready and old or of another epoch than our newest bundle,
// and makes new keys of a kind when fewer than a fifth of them are left. Their private
// parts are on disk before anybody can be given one (CP 8).
func (p *oneTimeKeys) refill(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, epoch := p.a.Clock(), p.a.prekeys.current().bundle.Epoch
	var kept []readyKey
	var stale []knock.KeyName
	for _, k := range p.ready {
		if p.fresh(k, epoch, now) && now.Add(oneTimeSpare).Before(k.Expires) {
			kept = append(kept, k)
		} else {
			stale = append(stale, k.name())
		}
	}
	made, err := p.makeMissing(kept, epoch, now.Truncate(time.Second))
	if err != nil {
		return fmt.Errorf("make one-time keys: %w", err)
	}
	if len(stale)+len(made) == 0 {
		return nil
	}
	next := p.next + uint64(len(made))
	err = p.a.Store.Update(ctx, func(tx store.Tx) error {
		for _, n := range stale {
			if err := p.erase(tx, n); err != nil {
				return err
			}
		}
		for _, m := range made {
			if err := p.put(tx, m); err != nil {
				return err
			}
		}
		return tx.Set(p.a.key(rowCounter, []byte{counterOneTime}), be64(next))
	})
	if err != nil {
		return fmt.Errorf("store one-time keys: %w", err)
	}
	p.next, p.ready = next, kept
	for _, m := range made {
		p.ready = append(p.ready, m.readyKey)
	}
	return nil
}

// fresh reports whether a key can be given to somebody whose clock is right.
func (p *oneTimeKeys) fresh(k readyKey, epoch uint32, now time.Time) bool {
	now = now.Add(p.a.Limits.Skew) // one made while the clock was ahead is of no use
	return k.Epoch == epoch && now.Before(k.Expires) && !now.Before(k.Created)
}

// madeKey is a new key with its private part.
type madeKey struct {
	readyKey
	secret []byte
}

// makeMissing fills up the kinds of which fewer than a fifth are left.
func (p *oneTimeKeys) makeMissing(have []readyKey, epoch uint32, now time.Time) ([]madeKey, error) {
	want := make(map[identity.KeyKind]int)
	for _, kind := range oneTimeKinds {
		if n, full := countKind(have, kind), p.full(kind); 5*n < full {
			want[kind] = full - n
		}
	}
	return p.makeNew(want, epoch, now)
}

// oneTimeKinds are in the order of their numbers, which is that of the rows.
var oneTimeKinds = []identity.KeyKind{identity.KindOneTimeKEM, identity.KindOneTime}

func (p *oneTimeKeys) full(kind identity.KeyKind) int {
	if kind == identity.KindOneTimeKEM {
		return p.a.Limits.OneTimeKEM
	}
	return p.a.Limits.OneTime
}

func countKind(list []readyKey, kind identity.KeyKind) (n int) {
	for _, k := range list {
		if k.Kind == kind {
			n++
		}
	}
	return n
}

func (p *oneTimeKeys) makeOne(kind identity.KeyKind) (madeKey, error) {
	m := madeKey{readyKey: readyKey{OneTimeKey: &identity.OneTimeKey{AMID: p.a.amid, Kind: kind}}}
	if kind == identity.KindOneTimeKEM {
		seed, err := ratchet.GenerateKEMSeed(p.a.Rand)
		if err != nil {
			return m, err
		}
		m.Public, m.secret = seed.Public(), seed[:]
		return m, nil
	}
	secret, err := ratchet.GenerateSecret(p.a.Rand)
	if err != nil {
		return m, err
	}
	public := secret.Public()
	m.Public, m.secret = public[:], secret[:]
	return m, nil
}

func (p *oneTimeKeys) put(tx store.Tx, m madeKey) error {
	if err := p.putPrivate(tx, m); err != nil {
		return err
	}
	_, ready := p.rowsOf(m.name())
	return tx.Set(ready, m.raw)
}

func (p *oneTimeKeys) putPrivate(tx store.Tx, m madeKey) error {
	private, _ := p.rowsOf(m.name())
	w := wire.NewWriter(12 + len(m.secret))
	w.U32(m.Epoch)
	w.I64(m.Expires.Unix())
	w.Fixed(m.secret)
	return tx.Set(private, p.a.StateKey.Seal(private, w.Bytes()))
}

func (p *oneTimeKeys) erase(tx store.Tx, n knock.KeyName) error {
	private, ready := p.rowsOf(n)
	return errors.Join(tx.Delete(private), tx.Delete(ready))
}

// privatePart is what a row of a private part says.
type privatePart struct {
	epoch   uint32
	expires time.Time
	secret  []byte
}

func (p *oneTimeKeys) openPrivate(row, sealed []byte) (privatePart, error) {
	plain, err := p.a.StateKey.Open(row, sealed)
	if err != nil {
		return privatePart{}, fmt.Errorf("one-time key: %w", err)
	}
	r := wire.NewReader(plain)
	k := privatePart{epoch: r.U32(), expires: time.Unix(r.I64(), 0)}
	k.secret = r.Fixed(r.Len())
	return k, r.Done()
}

// oneTimeNames are the one-time keys that a knock names.
func oneTimeNames(k *knock.Knock) []knock.KeyName {
	var names []knock.KeyName
	if k.KEM.Kind == identity.KindOneTimeKEM {
		names = append(names, k.KEM)
	}
	if k.OneTime.Kind == identity.KindOneTime {
		names = append(names, k.OneTime)
	}
	return names
}

// named adds the private parts of the one-time keys that a knock names to keys, which
// has those of its bundle. It returns errOneTimeUnknown for a key that is
// unknown, used, or of another epoch than the bundle.
func (p *oneTimeKeys) named(b *batch, k *knock.Knock, keys *knock.ResponderKeys) error {
	return p.a.Store.View(func(r store.Reader) error {
		for _, n := range oneTimeNames(k) {
			row, _ := p.rowsOf(n)
			sealed, err := r.Get(row)
			if errors.Is(err, store.ErrNotFound) || b.spent[n] {
				if err := p.twice(r, n, k.From); err != nil {
					return err
				}
				return errOneTimeUnknown
			}
			if err != nil {
				return err
			}
			part, err := p.openPrivate(row, sealed)
			if err != nil && !errors.Is(err, store.ErrSealed) {
				return err
			}
			if err != nil || part.epoch != keys.Bundle.Epoch {
				return errOneTimeUnknown
			}
			if n.Kind == identity.KindOneTimeKEM {
				keys.KEM = ratchet.KEMSeed(part.secret)
			} else {
				secret := ratchet.Secret(part.secret)
				keys.OneTime = &secret
			}
		}
		return nil
	})
}

// use erases the one-time keys that an opened knock used, in the transaction that keeps
// its session (T20). That fails with errOneTimeUnknown when another clerk's knock used
// one of them since named looked: then nothing of the batch is kept.
func (p *oneTimeKeys) use(b *batch, k *knock.Knock) {
	names := oneTimeNames(k)
	if len(names) == 0 {
		return
	}
	for _, n := range names {
		b.spent[n] = true
	}
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		for _, n := range names {
			private, _ := p.rowsOf(n)
			if _, err := tx.Get(private); errors.Is(err, store.ErrNotFound) {
				return errOneTimeUnknown
			} else if err != nil {
				return err
			}
			if err := errors.Join(p.erase(tx, n), p.spend(tx, n)); err != nil {
				return err
			}
		}
		*after = append(*after, func() { p.used(names) })
		return nil
	})
}

// used forgets keys that are ready in a state which was put back, and were given to
// somebody before that.
func (p *oneTimeKeys) used(names []knock.KeyName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range names {
		p.forget(n)
	}
}

// doomed finds private parts whose time is over.
func (p *oneTimeKeys) doomed(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	epoch := p.a.prekeys.current().bundle.Epoch
	var bad error
	err := r.Scan(p.a.key(rowOneTime), nil, func(row, sealed []byte) bool {
		part, err := p.openPrivate(bytes.Clone(row), sealed)
		if errors.Is(err, store.ErrSealed) {
			return add(row, true) // the key that sealed it is gone
		}
		if bad = err; bad != nil {
			return false
		}
		return add(row, part.epoch != epoch || now.After(part.expires.Add(p.a.Limits.PrekeyGrace)))
	})
	return errors.Join(err, bad)
}
