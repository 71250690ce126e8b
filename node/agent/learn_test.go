package agent

import (
	"errors"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

func parsedRevocation(t *testing.T, key identity.PrivateKey) *identity.Revocation {
	t.Helper()
	v, err := identity.ParseRevocation(statementOf(t, key, time.Now().Truncate(time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// T11: a revocation that was found at a registry does what one told by the peer does,
// also to an agent that was off when the peer said it.
func TestT11RevocationLearntElsewhere(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	w.send(ann, bob, "hello", api.StateDelivered)
	w.end(bob) // ann leaves, and bob hears nothing of it
	v := parsedRevocation(t, bob.key)
	for range 2 { // told twice is told once
		if err := ann.LearnRevocation(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if c := contactOf(t, ann, bob.AMID()); c.Revoked == nil || c.Granted {
		t.Errorf("ann's owner sees %+v", c)
	}
	if _, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Body: []byte("x")}, ""); problemCode(err) != api.CodeRevoked {
		t.Errorf("ann writes to bob: %v", err)
	}
	w.end(ann)
	ann.mem = ann.mem.Reopen()
	w.start(ann)
	if ann.left.of(bob.AMID()) == nil {
		t.Error("forgotten with a restart")
	}
	w.end(ann)
	if err := ann.LearnRevocation(t.Context(), parsedRevocation(t, newKey(t))); !errors.Is(err, ErrNotRunning) {
		t.Errorf("an agent that does not run: %v", err)
	}
}

// Somebody else revoked our key: the owner is told, and nothing is done by itself.
func TestOwnRevocationMadeElsewhere(t *testing.T) {
	w := newWorld(t)
	ann := w.person("ann", "ask")
	v := parsedRevocation(t, ann.key)
	if err := ann.LearnRevocation(t.Context(), v); !errors.Is(err, ErrOwnKey) || ann.OwnRevocation() != nil {
		t.Errorf("%v, %v", err, ann.OwnRevocation())
	}
	revoke(t, ann)
	if err := ann.LearnRevocation(t.Context(), v); err != nil {
		t.Errorf("after our own: %v", err)
	}
}

// T59: a record with an older bundle than one seen before is not used, whoever has it.
func TestT59RecordIsHeldAgainstTheNewest(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	old, err := w.book.Find(t.Context(), bob.AMID())
	if err != nil {
		t.Fatal(err)
	}
	if err := ann.CheckRecord(old); err != nil {
		t.Errorf("of a stranger: %v", err)
	}
	if _, err := bob.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.book.put(t, bob.Agent)
	w.send(ann, bob, "hello", api.StateDelivered)
	if err := ann.CheckRecord(old); !errors.Is(err, identity.ErrStaleBundle) {
		t.Errorf("the old one: %v", err)
	}
	rec, fetched, err := ann.RememberedRecord(bob.AMID())
	if err != nil || rec == nil || rec.Bundle.Sequence <= old.Bundle.Sequence || fetched.IsZero() {
		t.Errorf("remembered %+v of %s, %v", rec, fetched, err)
	}
	concerns := func(amid identity.AMID, want bool) {
		t.Helper()
		if yes, err := ann.Concerns(amid); err != nil || yes != want {
			t.Errorf("the end of %s concerns ann: %t, %v", amid.Short(), yes, err)
		}
	}
	concerns(ann.AMID(), true)
	concerns(bob.AMID(), true)
	concerns(newKey(t).AMID(), false)
	revoke(t, bob)
	learns(t, ann, bob)
	if err := ann.CheckRecord(rec); !errors.Is(err, identity.ErrRevoked) {
		t.Errorf("of a key that has left: %v", err)
	}
	concerns(bob.AMID(), false)
}
