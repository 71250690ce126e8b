package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// inquiry is a KeySource: it asks the agents on the switchboard.
type inquiry struct {
	s  *switchboard
	as string
}

func (q inquiry) OneTimeKeys(ctx context.Context, peer identity.AMID, _ *identity.AgentRecord) (x25519, kem []byte) {
	q.s.mu.Lock()
	of := q.s.agents[peer]
	q.s.mu.Unlock()
	if of == nil {
		return nil, nil
	}
	x25519, kem, _ = of.OneTimeKeys(ctx, q.as)
	return x25519, kem
}

// CP 8, D10: what is handed out verifies, its private part was on disk before, and no
// byte of that is in anything we publish.
func TestOneTimeKeysHandedOut(t *testing.T) {
	w := newWorld(t)
	w.limits.OneTime, w.limits.OneTimeKEM = DefaultLimits().OneTime, DefaultLimits().OneTimeKEM
	bob := w.person("bob", "accept")
	if x25519, kem := filled(t, bob); x25519 != 100 || kem != 20 {
		t.Fatalf("%d and %d keys, want 100 and 20", x25519, kem)
	}
	parts := privateParts(t, bob)
	if len(parts) != 120 {
		t.Fatalf("%d private parts, want 120", len(parts))
	}
	record, err := bob.Record(t.Context(), line{}.Places())
	if err != nil {
		t.Fatal(err)
	}
	public := [][]byte{record, bob.prekeys.current().bundle.Raw()}
	for i := range 5 {
		x25519, kem, err := bob.OneTimeKeys(t.Context(), fmt.Sprint("node ", i))
		if err != nil {
			t.Fatal(err)
		}
		public = append(public, x25519, kem)
		k := mustParse(t, bob, x25519, identity.KindOneTime)
		if p := ratchet.Secret(parts[knock.KeyName{Kind: k.Kind, ID: k.ID}]).Public(); !bytes.Equal(p[:], k.Public) {
			t.Error("the X25519 key's private part is another's")
		}
		k = mustParse(t, bob, kem, identity.KindOneTimeKEM)
		if p := ratchet.KEMSeed(parts[knock.KeyName{Kind: k.Kind, ID: k.ID}]).Public(); !bytes.Equal(p, k.Public) {
			t.Error("the KEM key's private part is another's")
		}
	}
	err = bob.mem.View(func(r store.Reader) error {
		return r.Scan(bob.Agent.key(rowReady), nil, func(_, v []byte) bool {
			public = append(public, bytes.Clone(v))
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	set := bob.prekeys.current()
	secrets := [][]byte{set.exchange[:], set.signed[:], set.kem[:32], set.kem[32:]}
	for _, s := range parts {
		for len(s) > 0 {
			secrets, s = append(secrets, s[:32]), s[32:]
		}
	}
	for _, p := range public {
		for _, s := range secrets {
			if bytes.Contains(p, s) {
				t.Fatal("a secret is in something public")
			}
		}
	}
}

// Nobody gets a key that somebody else got, whatever crashes; ids grow and are never
// given again (session.md §2.5). The first may be 0.
func TestNoOneTimeKeyTwice(t *testing.T) {
	for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
		w := newWorld(t)
		bob := w.person("bob", "accept")
		filled(t, bob)
		w.end(bob)
		bob.mem, bob.mark = store.NewMemory(), &memoryMark{}
		zero := bob.Agent.key(rowCounter, []byte{counterOneTime})
		if err := bob.mem.Update(t.Context(), func(tx store.Tx) error { return tx.Set(zero, be64(0)) }); err != nil {
			t.Fatal(err)
		}
		w.start(bob)
		last := map[identity.KeyKind]int64{identity.KindOneTime: -1, identity.KindOneTimeKEM: -1}
		for i := range 60 {
			filled(t, bob)
			if i%4 == 3 {
				bob.mem.CrashAt(bob.mem.Commits()+1, phase)
			}
			x25519, kem, err := bob.OneTimeKeys(t.Context(), fmt.Sprint("node ", i))
			if errors.Is(err, store.ErrCrashed) {
				restart(t, w, bob)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range []*identity.OneTimeKey{
				mustParse(t, bob, x25519, identity.KindOneTime), mustParse(t, bob, kem, identity.KindOneTimeKEM),
			} {
				if int64(k.ID) <= last[k.Kind] {
					t.Fatalf("kind %d: id %d after %d", k.Kind, k.ID, last[k.Kind])
				}
				if last[k.Kind] < 0 && k.Kind == identity.KindOneTimeKEM && k.ID != 0 {
					t.Errorf("the first id is %d, want 0", k.ID)
				}
				last[k.Kind] = int64(k.ID)
			}
		}
	}
}

// T18: strangers who fetch all they can get 5 pairs each and 60 together in an hour; the
// pool is refilled, and whoever comes too late does without.
func TestDrainOfOneTimeKeys(t *testing.T) {
	w := newWorld(t)
	w.keys = inquiry{w.sb, "an honest node"}
	var later atomic.Int64
	start := time.Now()
	w.clock = func() time.Time { return start.Add(time.Duration(later.Load())) }
	bob := w.person("bob", "accept")
	drain := func(times, nodes int) (pairs int) {
		for i := range times {
			filled(t, bob)
			keys := fetch(t, bob, fmt.Sprint("node ", i%nodes))
			if (keys.x25519 == nil) != (keys.kem == nil) {
				t.Fatal("half a pair from a pool that has both")
			}
			if keys.x25519 != nil {
				pairs++
			}
		}
		return pairs
	}
	for hour := range 2 {
		if n := drain(100, 1); n != 5 {
			t.Errorf("hour %d: one node got %d pairs, want 5", hour, n)
		}
		if n := drain(10_000, 1000); n != 55 {
			t.Errorf("hour %d: a thousand nodes got %d pairs more, want 55", hour, n)
		}
		before := len(privateParts(t, bob))
		for range 3 {
			if m := w.send(w.person("ann", "ask"), bob, "honest", api.StateDelivered); m.State != api.StateDelivered {
				t.Errorf("hour %d: an honest message is %s (%s)", hour, m.State, m.Reason)
			}
		}
		if n := len(privateParts(t, bob)); n != before {
			t.Errorf("hour %d: %d one-time keys were used after the drain", hour, before-n)
		}
		later.Add(int64(time.Hour))
	}
}

// T44: on a full disk nobody is given a key, none is lost, and the agent goes on.
func TestOneTimeKeysOnAFullDisk(t *testing.T) {
	w, stores := fragileWorld(t)
	bob := w.person("bob", "accept")
	all, _ := filled(t, bob)
	stores["bob"].full.Store(true)
	if _, _, err := bob.OneTimeKeys(t.Context(), "a node"); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("on a full disk: %v, want ErrNoSpace", err)
	}
	if n, _ := bob.OneTimeLeft(); n != all {
		t.Errorf("%d keys left, want %d", n, all)
	}
	stores["bob"].full.Store(false)
	for i := range w.limits.OneTimePerNode {
		if keys := fetch(t, bob, "a node"); keys.x25519 == nil {
			t.Errorf("answer %d with room on the disk has no key", i)
		}
	}
}
