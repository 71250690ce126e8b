package agent

import (
	"context"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

// deposit has a person make keys for a registry, and sorts them by kind.
func deposit(t *testing.T, p *person, place string, x25519, kem int) (curve, lattice [][]byte) {
	t.Helper()
	keys, err := p.OneTimeDeposit(t.Context(), place, x25519, kem)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range keys {
		k, err := identity.ParseOneTimeKey(raw, p.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if k.Kind == identity.KindOneTime {
			curve = append(curve, raw)
		} else {
			lattice = append(lattice, raw)
		}
	}
	return curve, lattice
}

// T17: a registry that serves one one-time key twice costs the second knock a renew, both
// agents still talk, and the node that left the key there hears whose fault it is.
func TestT17RegistryServesAOneTimeKeyTwice(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	type report struct {
		place string
		peer  identity.AMID
	}
	var mu sync.Mutex
	var heard []report
	bob.ServedTwice = func(place string, peer identity.AMID) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, report{place, peer})
	}
	const liar = "https://liar.example"
	curve, lattice := deposit(t, bob, liar, 2, 1)
	if len(curve) != 2 || len(lattice) != 1 {
		t.Fatalf("%d and %d keys", len(curve), len(lattice))
	}
	w.keys = &source{give: func(context.Context) ([]byte, []byte) { return curve[0], lattice[0] }}
	ann, cid := w.person("ann", "ask"), w.person("cid", "ask")
	for _, p := range []*person{ann, cid} {
		if m := w.send(p, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
			t.Fatalf("%s: %s (%s)", p.name, m.State, m.Reason)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) == 0 || heard[0] != (report{liar, cid.AMID()}) {
		t.Errorf("heard %v, want %s and cid", heard, liar)
	}
}

// Keys that lie at a registry are nobody else's, leave the pool alone, and go with
// their time.
func TestDepositedKeysAreApart(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	x25519, kem := filled(t, bob)
	before := len(privateParts(t, bob))
	curve, lattice := deposit(t, bob, "https://one.example", 1000, 3)
	if len(curve) != OneTimeDepositMost-3 || len(lattice) != 3 {
		t.Errorf("%d and %d keys of 1000 and 3 asked for", len(curve), len(lattice))
	}
	if x, k := bob.OneTimeLeft(); x != x25519 || k != kem {
		t.Errorf("%d and %d in the pool, had %d and %d", x, k, x25519, kem)
	}
	if n := len(privateParts(t, bob)); n != before+OneTimeDepositMost || count(t, bob, rowDeposit) != OneTimeDepositMost {
		t.Errorf("%d private parts and %d rows", n-before, count(t, bob, rowDeposit))
	}
	ids := make(map[uint32]bool)
	for _, raw := range curve {
		ids[mustParse(t, bob, raw, identity.KindOneTime).ID] = true
	}
	for range 3 {
		if k := fetch(t, bob, "a node"); ids[k.x25519.ID] {
			t.Errorf("key %d was given to a node as well", k.x25519.ID)
		}
	}
	doomed, err := bob.doomed(time.Now().Add(bob.Limits.OneTimeLife + bob.Limits.PrekeyGrace + time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, k := range doomed {
		if k[identity.AMIDSize] == rowDeposit {
			rows++
		}
	}
	if rows != OneTimeDepositMost {
		t.Errorf("%d rows go with their time, want %d", rows, OneTimeDepositMost)
	}
	revoke(t, bob)
	if keys, err := bob.OneTimeDeposit(t.Context(), "x", 1, 1); err != nil || len(keys) > 0 {
		t.Errorf("%d keys of a key that has left, %v", len(keys), err)
	}
}
