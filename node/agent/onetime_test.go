package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// filled waits until a person's pool was made, and returns how much is in it.
func filled(t *testing.T, p *person) (x25519, kem int) {
	t.Helper()
	until(t, p, "one-time keys", func() bool {
		x25519, kem = p.OneTimeLeft()
		return x25519 > 0 && kem > 0
	})
	return x25519, kem
}

// fetch has a node given one-time keys, and verifies them as a stranger would.
func fetch(t *testing.T, from *person, requester string) peerKeys {
	t.Helper()
	x25519, kem, err := from.OneTimeKeys(t.Context(), requester)
	if err != nil {
		t.Fatal(err)
	}
	return peerKeys{
		x25519: mustParse(t, from, x25519, identity.KindOneTime),
		kem:    mustParse(t, from, kem, identity.KindOneTimeKEM),
	}
}

func mustParse(t *testing.T, of *person, raw []byte, kind identity.KeyKind) *identity.OneTimeKey {
	t.Helper()
	if raw == nil {
		return nil
	}
	k, err := identity.ParseOneTimeKey(raw, of.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if k.Kind != kind || k.Epoch != of.prekeys.current().bundle.Epoch || k.Valid(of.Clock()) != nil {
		t.Fatalf("key of kind %d, epoch %d, from %s to %s", k.Kind, k.Epoch, k.Created, k.Expires)
	}
	return k
}

// privateParts are the names of the keys whose private parts are on disk, with them.
func privateParts(t *testing.T, p *person) map[knock.KeyName][]byte {
	t.Helper()
	parts := make(map[knock.KeyName][]byte)
	err := p.mem.View(func(r store.Reader) error {
		var bad error
		err := r.Scan(p.Agent.key(rowOneTime), nil, func(k, v []byte) bool {
			var part privatePart
			part, bad = p.oneTime.openPrivate(bytes.Clone(k), v)
			id := k[len(k)-4:]
			n := knock.KeyName{Kind: identity.KeyKind(k[len(k)-5]), ID: uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])}
			parts[n] = bytes.Clone(part.secret)
			return bad == nil
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// nameKeys looks for the one-time keys of a knock, in a batch of its own.
func nameKeys(t *testing.T, p *person, raw []byte) error {
	t.Helper()
	k, err := p.screen(raw)
	if err != nil {
		t.Fatal(err)
	}
	return p.oneTime.named(&batch{}, k, &knock.ResponderKeys{Bundle: p.prekeys.named(k.BundleID).bundle})
}

// tryKnock hands a knock to a clerk without committing what comes of it.
func tryKnock(t *testing.T, p *person, raw []byte) (err error) {
	t.Helper()
	k, bad := p.screen(raw)
	if bad != nil {
		t.Fatal(bad)
	}
	onClerk(t, p, k.From, func(c *clerk) error {
		err = c.takeKnock(c.begin(), arrival{Incoming: Incoming{Ack: func() {}}, id: k.EnvelopeID(), know: k})
		return nil
	})
	return err
}

// T17: a key that was served twice serves the first knock. The second is told apart from
// one that is merely bad, and its sender gets through without a one-time key.
func TestOneTimeKeyServedTwice(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	keys := fetch(t, bob, "a registry")
	for name, used := range map[string]peerKeys{"both": keys, "X25519": {x25519: keys.x25519}, "KEM": {kem: keys.kem}} {
		if err := nameKeys(t, bob, handKnockWith(t, w, newKey(t), bob, used)); err != nil {
			t.Fatalf("%s: before any was used: %v", name, err)
		}
	}
	before := len(privateParts(t, bob))
	ann, cid := newKey(t), newKey(t)
	receiveAndWait(bob, ann.AMID(), handKnockWith(t, w, ann, bob, keys))
	if n := len(privateParts(t, bob)); n != before-2 {
		t.Fatalf("%d private parts after the first knock, want %d", n, before-2)
	}
	for name, used := range map[string]peerKeys{"both": keys, "X25519": {x25519: keys.x25519}, "KEM": {kem: keys.kem}} {
		raw := handKnockWith(t, w, cid, bob, used)
		if err := nameKeys(t, bob, raw); !errors.Is(err, errOneTimeUnknown) || !errors.Is(err, knock.ErrPrekeyUnknown) {
			t.Errorf("%s: %v, want errOneTimeUnknown", name, err)
		}
		receiveAndWait(bob, cid.AMID(), raw)
		if n, m := count(t, bob, rowSession), count(t, bob, rowKnock); n != 1 || m != 1 {
			t.Errorf("%s: %d sessions and %d knocks, want ann's only", name, n, m)
		}
	}
	receiveAndWait(bob, cid.AMID(), handKnock(t, w, cid, bob))
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 2 {
		t.Errorf("%d knocks, %v; want ann's with keys and cid's without", len(knocks), err)
	}
}

// Two peers that were served the same key knock at the same moment, in two clerks.
func TestOneTimeKeyRace(t *testing.T) {
	w := newWorld(t)
	w.limits.StorePause = time.Millisecond
	bob := w.person("bob", "accept")
	for i := range 10 {
		filled(t, bob)
		keys := fetch(t, bob, fmt.Sprint("node ", i))
		before := count(t, bob, rowSession)
		var wg sync.WaitGroup
		for range 4 {
			key := newKey(t)
			raw := handKnockWith(t, w, key, bob, keys)
			wg.Go(func() { receiveAndWait(bob, key.AMID(), raw) })
		}
		wg.Wait()
		if n := count(t, bob, rowSession) - before; n != 1 {
			t.Fatalf("%d sessions by one key", n)
		}
	}
}

// The store decides which of two knocks used a key: a batch that comes too late keeps
// nothing, and the knock is found out at the next try.
func TestOneTimeKeyUsedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.limits.StorePause = time.Millisecond
	bob := w.person("bob", "accept")
	filled(t, bob)
	keys := fetch(t, bob, "somebody")
	first, second := newKey(t), newKey(t)
	raw := handKnockWith(t, w, second, bob, keys)
	k, err := bob.screen(raw)
	if err != nil {
		t.Fatal(err)
	}
	onClerk(t, bob, second.AMID(), func(c *clerk) error {
		b := c.begin()
		arr := arrival{Incoming: Incoming{Ack: func() {}}, id: k.EnvelopeID(), know: k}
		if err := c.takeKnock(b, arr); err != nil {
			t.Error(err)
		}
		if err := c.takeKnock(b, arr); !errors.Is(err, errDropped) || errors.Is(err, errOneTimeUnknown) {
			t.Errorf("the same knock again in the batch: %v, want a replay", err)
		}
		other, err := bob.screen(handKnockWith(t, w, second, bob, peerKeys{kem: keys.kem}))
		if err != nil {
			return err
		}
		ours := knock.ResponderKeys{Bundle: bob.prekeys.current().bundle}
		if err := bob.oneTime.named(b, other, &ours); !errors.Is(err, errOneTimeUnknown) {
			t.Errorf("another knock with the key in the batch: %v, want errOneTimeUnknown", err)
		}
		receiveAndWait(bob, first.AMID(), handKnockWith(t, w, first, bob, keys))
		if err := c.commit(b); !errors.Is(err, errOneTimeUnknown) || !c.bear(err) {
			t.Errorf("commit: %v, want errOneTimeUnknown, which the clerk bears", err)
		}
		if n, m := count(t, bob, rowSession), count(t, bob, rowKnock); n != 1 || m != 1 {
			t.Errorf("%d sessions and %d knocks, want the first's only", n, m)
		}
		return c.load()
	})
	receiveAndWait(bob, second.AMID(), raw)
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 {
		t.Errorf("%d knocks, %v; want the first only", len(knocks), err)
	}
}

// T20, D9: a knock that does not open uses nothing up, however well it is signed.
func TestForgedKnocksUseNoOneTimeKey(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	keys := fetch(t, bob, "ann's node")
	key := newKey(t)
	good := handKnockWith(t, w, key, bob, keys)
	hash := bob.mem.Hash()
	for i := range 200 {
		forger := newKey(t)
		forged := bytes.Clone(good)
		switch i % 4 {
		case 0: // somebody else's ids under his own name, guessed keys behind them
			forged = handKnockWith(t, w, forger, bob, guess(t, keys))
		case 1:
			forged = handKnockWith(t, w, forger, bob, peerKeys{kem: keys.kem, x25519: guess(t, keys).x25519})
		case 2:
			rand.Read(forged[len(forged)-32:]) // in the signature
		case 3:
			forged[1403+i] ^= 1 // in message 0
		}
		receiveAndWait(bob, forger.AMID(), forged)
	}
	if bob.mem.Hash() != hash {
		t.Error("forged knocks changed the store")
	}
	receiveAndWait(bob, key.AMID(), good)
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 {
		t.Fatalf("%d knocks, %v: the honest one was dropped", len(knocks), err)
	}
}

// guess is other keys under the same names.
func guess(t *testing.T, keys peerKeys) peerKeys {
	t.Helper()
	secret, err := ratchet.GenerateSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := ratchet.GenerateKEMSeed(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, kem, point := *keys.x25519, *keys.kem, secret.Public()
	x25519.Public, kem.Public = point[:], seed.Public()
	return peerKeys{x25519: &x25519, kem: &kem}
}

// T33: a knock whose one-time keys are used up is known again under another tail: by its
// hash, since its th0 cannot be computed any more. It gets no renew.
func TestReplayOfAKnockWithOneTimeKeys(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	key := newKey(t)
	raw := handKnockWith(t, w, key, bob, fetch(t, bob, "ann's node"))
	receiveAndWait(bob, key.AMID(), raw)
	again := append(bytes.Clone(raw), noise(82+40+256)...) // its tail is not signed
	if err := tryKnock(t, bob, again); !errors.Is(err, errDropped) || errors.Is(err, errOneTimeUnknown) {
		t.Errorf("%v, want a replay that is dropped", err)
	}
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 {
		t.Errorf("%d knocks, %v", len(knocks), err)
	}
}

// T20, CP 23: whatever commit of the answering side is a crash, the private parts of the
// keys are gone exactly when the session is there, and the message arrives.
func TestOneTimeKeysAtEveryCrash(t *testing.T) {
	for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
		for n := 1; ; n++ {
			w := newWorld(t)
			bob := w.person("bob", "accept")
			filled(t, bob)
			all := len(privateParts(t, bob))
			w.keys = inquiry{w.sb, "ann's node"}
			ann := w.person("ann", "ask")
			bob.mem.CrashAt(bob.mem.Commits()+n, phase)
			m := w.send(ann, bob, "hello", api.StateAccepted)
			crashed := waitForEnd(t, ann, bob, m.ID)
			used, sessions := all-durable(t, bob, rowOneTime), durable(t, bob, rowSession)
			if used != 2*sessions {
				t.Errorf("commit %d, phase %v: %d private parts erased, %d knocks taken", n, phase, used, sessions)
			}
			if !crashed {
				if used != 2 {
					t.Fatalf("without a crash: %d private parts erased, want 2", used)
				}
				break
			}
			restart(t, w, bob)
			if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || m.State != api.StateDelivered {
				t.Errorf("commit %d, phase %v: %s (%s), %v", n, phase, m.State, m.Reason, err)
			}
		}
	}
}

// waitForEnd waits until ann's message was delivered, or bob crashed, which it reports.
func waitForEnd(t *testing.T, ann, bob *person, id string) (crashed bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		changed := ann.changed.wait()
		if m, err := ann.Message(t.Context(), id, "", 0); err != nil || m.State == api.StateDelivered {
			return false
		}
		select {
		case err := <-bob.done:
			bob.done <- err
			return true
		case <-changed:
		case <-late:
			t.Fatal("neither delivered nor crashed")
		}
	}
}

// durable counts rows of what is on disk, also after a crash.
func durable(t *testing.T, p *person, kind byte) int {
	t.Helper()
	was := p.mem
	defer func() { p.mem = was }()
	p.mem = was.Reopen()
	return count(t, p, kind)
}

// Keys that get old are replaced before they end. The private part of one that was given
// and not used goes 8 d after its end, and not before.
func TestOneTimeKeysGetOld(t *testing.T) {
	w := newWorld(t)
	var later atomic.Int64
	start := time.Now()
	w.clock = func() time.Time { return start.Add(time.Duration(later.Load())) }
	bob := w.person("bob", "accept")
	filled(t, bob)
	const day = 24 * time.Hour
	given := fetch(t, bob, "a node")
	firsts := given.x25519.Expires
	at := func(d time.Duration) (parts map[knock.KeyName][]byte) {
		t.Helper()
		later.Store(int64(d))
		if err := bob.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		fetched := fetch(t, bob, fmt.Sprint("a node at ", d))
		if left := fetched.x25519.Expires.Sub(bob.Clock()); left < time.Hour {
			t.Errorf("after %v: handed out with %v to live", d, left)
		}
		return privateParts(t, bob)
	}
	name := knock.KeyName{Kind: given.x25519.Kind, ID: given.x25519.ID}
	if parts := at(28 * day); parts[name] == nil || len(parts) != 15 {
		t.Errorf("after 28 d: %d private parts, the used one's is there: %t", len(parts), parts[name] != nil)
	}
	if parts := at(29*day + time.Hour); parts[name] == nil || len(parts) != 15+4 {
		t.Errorf("after 29 d: %d private parts, want those of the new keys and 4 that were given", len(parts))
	}
	if parts := at(firsts.Sub(start) + 8*day - time.Minute); parts[name] == nil {
		t.Error("erased less than 8 d after its end")
	}
	if parts := at(firsts.Sub(start) + 8*day + time.Minute); parts[name] != nil {
		t.Error("still there 8 d after its end")
	}
}

// With a new epoch of the bundle every one-time key is another, and knocks with the old
// ones are told apart (session.md §8.7).
func TestOneTimeKeysOfANewEpoch(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	keys := fetch(t, bob, "a node")
	key := newKey(t)
	raw := handKnockWith(t, w, key, bob, keys)
	old := privateParts(t, bob)

	set := *bob.prekeys.current()
	b := *set.bundle
	b.Epoch, b.Certificate.Epoch, b.Sequence = b.Epoch+1, b.Epoch+1, b.Sequence+1
	signed, err := identity.SignBundle(bob.key, b)
	if err != nil {
		t.Fatal(err)
	}
	if set.bundle, err = identity.ParseBundle(signed); err != nil {
		t.Fatal(err)
	}
	bob.Agent.mark.mu.Lock()
	bob.Agent.mark.epoch = b.Epoch
	bob.Agent.mark.mu.Unlock()
	before := bob.prekeys.current()
	bob.prekeys.swap(&set, nil)
	if x25519, kem, err := bob.OneTimeKeys(t.Context(), "a node"); err != nil || x25519 != nil || kem != nil {
		t.Errorf("keys of the old epoch are handed out: %v", err)
	}
	if err := bob.oneTime.refill(t.Context()); err != nil {
		t.Fatal(err)
	}
	fetch(t, bob, "a node") // checks the epoch
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range privateParts(t, bob) {
		if old[n] != nil {
			t.Errorf("the private part of %v is still there", n)
		}
	}
	if err := nameKeys(t, bob, raw); !errors.Is(err, errOneTimeUnknown) {
		t.Errorf("a knock with keys of the old epoch: %v, want errOneTimeUnknown", err)
	}
	fresh := fetch(t, bob, "a node")
	fresh.x25519.Epoch, fresh.kem.Epoch = before.bundle.Epoch, before.bundle.Epoch
	if err := nameKeys(t, bob, handKnockWith(t, w, key, bob, fresh)); !errors.Is(err, errOneTimeUnknown) {
		t.Errorf("a new key with a bundle of the old epoch: %v, want errOneTimeUnknown", err)
	}
}

// A private part whose state key is gone is as good as none.
func TestOneTimeKeySealedUnderALostKey(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	keys := fetch(t, bob, "a node")
	key := newKey(t)
	raw := handKnockWith(t, w, key, bob, keys)
	err := bob.mem.Update(t.Context(), func(tx store.Tx) error {
		row, _ := bob.oneTime.rowsOf(knock.KeyName{Kind: keys.kem.Kind, ID: keys.kem.ID})
		return tx.Set(row, noise(100))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nameKeys(t, bob, raw); !errors.Is(err, errOneTimeUnknown) {
		t.Errorf("%v, want errOneTimeUnknown", err)
	}
	before := count(t, bob, rowOneTime)
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, bob, rowOneTime); n != before-1 {
		t.Errorf("%d private parts after the sweep, want %d", n, before-1)
	}
}

// After a state was put back a key is ready that somebody already has. His knock takes it
// off the list.
func TestOneTimeKeyOfAStatePutBack(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	copied := bob.mem.Reopen() // which crashes the original
	w.end(bob)
	mark := bob.mark.raw
	bob.mem = copied.Reopen()
	w.start(bob)
	keys := fetch(t, bob, "ann's node")
	w.end(bob)
	bob.mem, bob.mark = copied.Reopen(), &memoryMark{raw: mark}
	w.start(bob)
	key := newKey(t)
	receiveAndWait(bob, key.AMID(), handKnockWith(t, w, key, bob, keys))
	next := fetch(t, bob, "cid's node")
	if next.x25519.ID == keys.x25519.ID || next.kem.ID == keys.kem.ID {
		t.Error("a used key is handed out")
	}
}
