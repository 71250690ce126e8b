package agent

import (
	"testing"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// staleBook has the peers find a record of a person from before its state was lost.
func staleBook(w *world, p *person, raw []byte) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.book.recs[p.AMID()] = raw
}

// A knock at keys that are gone is answered with newer ones, made again, and the
// message arrives; all that although the directory still names the old ones (§8.5).
func TestRenewAfterLostKeys(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	old := w.book.recs[bob.AMID()]
	w.end(bob)
	erase(t, bob, rowPrekeys, rowCounter)
	w.start(bob)
	if bob.Epoch() != 2 {
		t.Fatalf("epoch %d after the state was lost", bob.Epoch())
	}
	staleBook(w, bob, old)
	if m := w.send(ann, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	knocks, err := ann.Knocks()
	if err != nil || len(knocks) != 2 || knocks[1].State != knockExpired || knocks[0].State != knockAccepted {
		t.Fatalf("knocks %+v, %v", knocks, err)
	}
}

// A renew counts only for a knock of ours that nobody answered, from the one whom we
// asked, with a bundle that is not older than what we know.
func TestRenewIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	ann, bob, eve := w.person("ann", "ask"), w.person("bob", "ask"), w.person("eve", "ask")
	w.send(ann, bob, "hello", api.StateAccepted)
	waitForKnock(t, bob)
	var hash [32]byte
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		hash = c.sess[0].KnockHash
		c.sess[0].Ask = 1 // knocked: the pending never came
		return nil
	})
	prefix := ratchet.Prefix(ratchet.TypeRenew)
	renew := func(by *person, hash [32]byte, b *identity.Bundle) []byte {
		raw, err := identity.SignRenew(by.key, prefix[:], identity.Renew{To: ann.AMID(), Knock: hash, Code: identity.RenewErased, Bundle: b})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	bobs := bob.prekeys.current().bundle
	conflict := *bobs
	conflict.Expires = conflict.Expires.Add(-time.Second)
	raw, err := identity.SignBundle(bob.key, conflict)
	if err != nil {
		t.Fatal(err)
	}
	other, err := identity.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	forged := renew(bob, hash, bobs)
	forged[len(forged)-1] ^= 1
	quiet(t, ann, bob.AMID())
	filled(t, ann) // or the one-time keys would come in between
	before := ann.mem.Hash()
	for name, raw := range map[string][]byte{
		"of another knock":          renew(bob, [32]byte{1}, bobs),
		"by a stranger":             renew(eve, hash, eve.prekeys.current().bundle),
		"forged":                    forged,
		"with a conflicting bundle": renew(bob, hash, other),
		"cut":                       renew(bob, hash, bobs)[:60],
	} {
		acked := make(chan struct{})
		ann.Receive(Incoming{From: bob.AMID(), Data: raw, Path: api.PathRelayed, Ack: func() { close(acked) }})
		<-acked
		if ann.mem.Hash() != before {
			t.Errorf("%s: the store changed", name)
		}
	}
}

// Renews are bounded: a peer that knocks at unknown keys gets 10 an hour.
func TestRenewsAreBounded(t *testing.T) {
	var g knockGuard
	g.init(knock.DefaultLimits(), 10, 100)
	now := time.Now()
	count := func(peer identity.AMID) (n int) {
		for range 200 {
			if g.allowRenew(peer, now) {
				n++
			}
		}
		return n
	}
	if n := count(identity.AMID{1}); n != 10 {
		t.Errorf("%d renews for one peer in an hour", n)
	}
	all := 10
	for i := range 50 {
		all += count(identity.AMID{2, byte(i)})
	}
	if all != 100 {
		t.Errorf("%d renews in an hour", all)
	}
	if now = now.Add(time.Hour); count(identity.AMID{1}) != 10 {
		t.Error("none after the hour was over")
	}
}
