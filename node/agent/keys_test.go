package agent

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// wallClock is a clock that a test sets.
type wallClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *wallClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *wallClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// CP 8: keys are on disk before anybody can see their bundle. A crash on either side of
// the commit leaves a whole set, and no number is signed twice.
func TestCrashWhileRotating(t *testing.T) {
	for phase, rotated := range map[store.Phase]bool{store.BeforeCommit: false, store.AfterCommit: true} {
		w := newWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		filled(t, bob) // or the crash would meet the commit of one-time keys
		before := bob.Keys()
		bob.mem.CrashAt(bob.mem.Commits()+1, phase)
		if _, err := bob.RotateKeys(t.Context()); err == nil {
			t.Fatal("rotated although the store crashed")
		}
		if got := bob.Keys(); got.BundleID != before.BundleID {
			t.Errorf("phase %v: bundle %d is shown before it is known to be on disk", phase, got.Sequence)
		}
		w.revive(bob)
		w.book.put(t, bob.Agent)
		after := bob.Keys()
		if (after.Sequence == before.Sequence+1) != rotated || (after.BundleID == before.BundleID) == rotated {
			t.Errorf("phase %v: bundle %d after %d", phase, after.Sequence, before.Sequence)
		}
		if m := w.send(ann, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
			t.Errorf("phase %v: %s (%s)", phase, m.State, m.Reason)
		}
		next, err := bob.RotateKeys(t.Context())
		if err != nil || next.Sequence != after.Sequence+1 || next.ExchangeFingerprint == after.ExchangeFingerprint {
			t.Errorf("phase %v: bundle %d after %d, %v", phase, next.Sequence, after.Sequence, err)
		}
	}
}

// CP 8: a knock that names an older bundle opens as long as that bundle's private parts
// live, expires + 8 d; then they are erased and it does not.
func TestOldKnockOpensInTheGrace(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t)
	start := time.Now().Truncate(time.Second)
	clock := &wallClock{now: start}
	w.clock = clock.read
	bob := w.person("bob", "accept")
	old := bob.prekeys.current().bundle

	clock.set(start.Add(13 * day))
	knocks := make([][]byte, 2)
	keys := make([]identity.PrivateKey, 2)
	for i := range knocks {
		keys[i] = newKey(t)
		knocks[i] = knockWith(t, keys[i], old, clock.read())
	}
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bob.prekeys.current().bundle.Sequence != old.Sequence+1 || bob.Keys().Sets != 2 {
		t.Fatalf("bundle %d and %d sets after 13 days", bob.Keys().Sequence, bob.Keys().Sets)
	}

	clock.set(start.Add(20*day - time.Minute)) // the old bundle expired six days ago
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.revive(bob)
	receiveAndWait(bob, keys[0].AMID(), knocks[0])
	if list, err := bob.Knocks(); err != nil || len(list) != 1 || list[0].State != knockAccepted {
		t.Fatalf("in the grace: %+v, %v", list, err)
	}

	clock.set(old.Expires.Add(8*day + time.Second))
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bob.prekeys.named(old.ID()) != nil {
		t.Error("the private parts outlive their time")
	}
	key := bob.Agent.key(rowPrekeys, be64(old.Sequence))
	if err := bob.mem.View(func(r store.Reader) error { _, err := r.Get(key); return err }); err != store.ErrNotFound {
		t.Errorf("the row of the private parts: %v", err)
	}
	clock.set(start.Add(20*day - time.Minute)) // so that the knock itself is not what is too old
	receiveAndWait(bob, keys[1].AMID(), knocks[1])
	if list, err := bob.Knocks(); err != nil || len(list) != 1 {
		t.Errorf("after the grace: %d knocks, %v", len(list), err)
	}
}

// knockWith is a knock at a bundle by somebody who has no node.
func knockWith(t *testing.T, key identity.PrivateKey, bundle *identity.Bundle, now time.Time) []byte {
	t.Helper()
	exchange, err := ratchet.GenerateSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := identity.SignKeyCertificate(key, identity.KeyCertificate{
		Epoch: 1, Exchange: exchange.Public(), Created: now, Expires: now.Add(30 * 24 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	asked, err := knock.NewKnock(rand.Reader, knock.Asking{
		Key: key, Certificate: cert, Exchange: exchange, Peer: bundle,
		Request: content.Request{Intent: "message", SessionType: content.Conversation, Mode: content.Private, FirstSeq: 1},
		Issued:  now, Expires: now.Add(knock.MaxLife),
	})
	if err != nil {
		t.Fatal(err)
	}
	return asked.Bytes
}

// Two rotations at once sign two bundles under two numbers: under one, every peer would
// take the key for stolen.
func TestRotationsAtOnce(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "ask")
	const n = 8
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := bob.RotateKeys(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := make(map[uint64]bool)
	for _, s := range bob.prekeys.sets {
		seen[s.bundle.Sequence] = true
	}
	if len(seen) != n+1 || len(bob.prekeys.sets) != n+1 || count(t, bob, rowPrekeys) != n+1 {
		t.Errorf("%d numbers, %d sets, %d rows after %d rotations", len(seen), len(bob.prekeys.sets), count(t, bob, rowPrekeys), n)
	}
}

func TestKeysAreShown(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "ask")
	b := bob.prekeys.current().bundle
	id := b.ID()
	k := bob.Keys()
	if k.AMID != bob.AMID() || k.SigningKey != bob.key.Public().Text() || k.BundleID != hex.EncodeToString(id[:]) ||
		k.Epoch != b.Epoch || k.Sequence != 1 || !k.Expires.Equal(b.Expires) || k.Sets != 1 || k.Revoked != nil {
		t.Errorf("%+v", k)
	}
	edition := bob.Edition()
	next, err := bob.RotateKeys(t.Context())
	if err != nil || next.Fingerprint != k.Fingerprint || next.ExchangeFingerprint == k.ExchangeFingerprint || next.Sets != 2 {
		t.Errorf("after a rotation: %+v, %v", next, err)
	}
	if bob.Edition() == edition {
		t.Error("a rotation does not call for a new record")
	}
	edition = bob.Edition()
	revoke(t, bob)
	if bob.Edition() == edition {
		t.Error("a revocation does not call for a new record")
	}
}
