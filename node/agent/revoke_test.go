package agent

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/ratchet"
)

func revoke(t *testing.T, p *person) {
	t.Helper()
	if _, err := p.Revoke(t.Context(), api.RevokeRequest{Reason: "retired"}); err != nil {
		t.Fatal(err)
	}
}

// learns waits until a person knows that the key of another has left.
func learns(t *testing.T, p, gone *person) {
	t.Helper()
	until(t, p, gone.name+"'s revocation", func() bool { return p.left.of(gone.AMID()) != nil })
}

func contactOf(t *testing.T, p *person, amid identity.AMID) (found api.Contact) {
	t.Helper()
	list, err := p.Contacts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.AMID == amid {
			return c
		}
	}
	return found
}

// statementOf is what the agent of a key says when it leaves.
func statementOf(t *testing.T, key identity.PrivateKey, issued time.Time) []byte {
	t.Helper()
	raw, err := identity.SignRevocation(key, identity.Revocation{Issued: issued, Reason: identity.Retired}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// T11: the peer of a revoked key refuses everything of it from then on and shows the
// successor; what its owner gave does not move to that one.
func TestRevokedKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	ann, bob, cid := w.person("ann", "ask"), w.person("bob", "accept"), w.person("cid", "ask")
	w.send(ann, bob, "hello", api.StateDelivered)
	quiet(t, bob, ann.AMID())
	issued := time.Now().Truncate(time.Second)
	consent, err := identity.SignSuccessor(cid.key, identity.Revocation{
		SigningKey: ann.key.Public(), Issued: issued, Reason: identity.Compromised,
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := ann.Revoke(t.Context(), api.RevokeRequest{
		Reason: "compromised", Issued: &issued, Successor: cid.key.Public().Text(), Consent: consent,
	})
	if err != nil || v.Reason != "compromised" || v.Successor == nil || *v.Successor != cid.AMID() {
		t.Fatalf("%+v, %v", v, err)
	}
	learns(t, bob, ann)

	c := contactOf(t, bob, ann.AMID())
	if c.Revoked == nil || c.Revoked.Reason != "compromised" || *c.Revoked.Successor != cid.AMID() || c.Granted {
		t.Errorf("bob's owner sees %+v", c)
	}
	if c := contactOf(t, bob, cid.AMID()); c.Granted {
		t.Error("the grant moved to the successor")
	}
	if peers, err := bob.Peers(); err != nil || len(peers) != 1 || peers[0].Revoked == nil || peers[0].Session != "none" {
		t.Errorf("bob's peers: %+v, %v", peers, err)
	}
	if _, err := bob.Send(t.Context(), api.SendRequest{To: ann.AMID().String(), Body: []byte("x")}, ""); problemCode(err) != api.CodeRevoked {
		t.Errorf("bob writes to ann: %v", err)
	}
	if _, err := bob.Verify(t.Context(), ann.AMID().String(), api.VerifyRequest{Matches: true}); problemCode(err) != api.CodeRevoked {
		t.Errorf("bob verifies ann: %v", err)
	}
	for range 2 { // before and after a restart
		before := count(t, bob, rowKnock)
		receiveAndWait(bob, ann.AMID(), handKnock(t, w, ann.key, bob))
		if n := count(t, bob, rowKnock); n != before {
			t.Errorf("%d knocks after one of the revoked key, %d before", n, before)
		}
		rec, err := w.book.Find(t.Context(), ann.AMID())
		if err != nil {
			t.Fatal(err)
		}
		onClerk(t, bob, ann.AMID(), func(c *clerk) error {
			if err := c.keepRecord(rec); !errors.Is(err, identity.ErrRevoked) {
				t.Errorf("record of the revoked key: %v", err)
			}
			return nil
		})
		w.end(bob)
		bob.mem = bob.mem.Reopen()
		w.start(bob)
	}
}

// T11, the other side: an agent whose key has left neither sends nor answers nor
// publishes, also after a restart.
func TestRevokedAgentIsSilent(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	w.send(ann, bob, "hello", api.StateDelivered)
	revoke(t, ann)
	learns(t, bob, ann)
	until(t, ann, "bob's receipt", func() bool {
		row, _, err := getJSONView[peerRow](ann, peerKey(ann, bob))
		return err == nil && row.Farewell.Done
	})
	for range 2 {
		quiet(t, ann, bob.AMID())
		stranger := newKey(t)
		filled(t, ann) // or the one-time keys would come in between
		before := ann.mem.Hash()
		if ann.left.of(ann.AMID()) == nil {
			t.Fatal("forgotten")
		}
		receiveAndWait(ann, stranger.AMID(), handKnock(t, w, stranger, ann))
		if ann.mem.Hash() != before {
			t.Error("a knock changed the store")
		}
		if _, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Body: []byte("x")}, ""); problemCode(err) != api.CodeRevoked {
			t.Errorf("send: %v", err)
		}
		if _, err := ann.RotateKeys(t.Context()); problemCode(err) != api.CodeRevoked {
			t.Errorf("rotate: %v", err)
		}
		if _, err := ann.Revoke(t.Context(), api.RevokeRequest{Reason: "retired"}); problemCode(err) != api.CodeConflict {
			t.Errorf("revoke again: %v", err)
		}
		if _, err := ann.Record(t.Context(), Places{}); !errors.Is(err, identity.ErrRevoked) {
			t.Errorf("record: %v", err)
		}
		if v := ann.Keys().Revoked; v == nil || v.Reason != "retired" || v.Successor != nil {
			t.Errorf("keys show %+v", v)
		}
		w.revive(ann)
	}
}

func peerKey(p, of *person) []byte {
	amid := of.AMID()
	return p.Agent.key(rowPeer, amid[:])
}

// What was under way when the key left ends on both sides; what had arrived gets its
// last word.
func TestRevocationEndsWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	arrived := w.send(ann, bob, "arrived", api.StateDelivered)
	w.send(bob, ann, "also", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	var off atomic.Bool
	off.Store(true)
	w.sb.cut(&off)
	fromAnn := w.send(ann, bob, "under way", api.StateAccepted)
	fromBob := w.send(bob, ann, "under way", api.StateAccepted)
	revoke(t, ann)
	m, err := ann.Message(t.Context(), fromAnn.ID, api.StateDelivered, 10*time.Second)
	if err != nil || m.State != api.StateDead || m.Reason != api.ReasonRevoked {
		t.Errorf("ann's message is %s (%s), %v", m.State, m.Reason, err)
	}
	off.Store(false)
	learns(t, bob, ann)
	m, err = bob.Message(t.Context(), fromBob.ID, api.StateDelivered, 10*time.Second)
	if err != nil || m.State != api.StateDead || m.Reason != api.ReasonRevoked {
		t.Errorf("bob's message is %s (%s), %v", m.State, m.Reason, err)
	}
	if _, err := bob.Ack(t.Context(), arrived.ID, api.AckRequest{}); err != nil {
		t.Fatal(err)
	}
	if m, err := ann.Message(t.Context(), arrived.ID, api.StateHandled, 10*time.Second); err != nil || m.State != api.StateHandled {
		t.Errorf("what had arrived is %s, %v", m.State, err)
	}
	if page, err := ann.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 1 {
		t.Errorf("ann's inbox has %d messages, %v", len(page.Items), err)
	}
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
}

// A knock that waits for an owner ends when either key leaves.
func TestRevocationEndsPendingKnocks(t *testing.T) {
	for _, who := range []string{"the one who asked", "the one who was asked"} {
		w := newWorld(t)
		bob, cid := w.person("bob", "ask"), w.person("cid", "accept")
		gone := bob
		if who == "the one who asked" {
			gone = cid
			w.send(bob, cid, "hello", api.StateDelivered)
			amid := cid.AMID()
			key := bob.Agent.key(rowReturn, amid[:]) // without it, cid is a stranger to bob
			if err := bob.mem.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(key) }); err != nil {
				t.Fatal(err)
			}
			receiveAndWait(bob, cid.AMID(), handKnock(t, w, cid.key, bob))
		} else {
			w.send(cid, bob, "hello", api.StateAccepted)
		}
		id := waitForKnock(t, bob)
		revoke(t, gone)
		until(t, bob, "the knock's end", func() bool {
			knocks, err := bob.Knocks()
			for _, k := range knocks {
				if k.ID == id {
					return k.State == knockExpired
				}
			}
			return err != nil
		})
		if _, err := bob.Decide(t.Context(), id, true, api.DecideRequest{}); problemCode(err) != api.CodeRevoked {
			t.Errorf("%s: the owner lets in: %v", who, err)
		}
	}
}

// Our own knock ends with our key: its clerk has nothing to wait for any more, and the
// yes that comes after all opens nothing.
func TestOwnKnockEndsWithTheKey(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	m := w.send(ann, bob, "please", api.StateAccepted)
	id := waitForKnock(t, bob)
	revoke(t, ann)
	if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || m.State != api.StateDead {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
	quiet(t, ann, bob.AMID())
	onClerk(t, ann, bob.AMID(), func(c *clerk) error {
		if pause, due := c.pause(); c.asked() != nil || due && pause < time.Second {
			t.Errorf("knocking: %t; comes back in %s", c.asked() != nil, pause)
		}
		return nil
	})
	if _, err := bob.Decide(t.Context(), id, true, api.DecideRequest{}); err != nil {
		t.Fatal(err)
	}
	w.send(bob, ann, "welcome", api.StateAccepted)
	until(t, bob, "his accept handed over", func() bool { return count(t, bob, rowFlight) > 0 })
	if page, err := ann.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 0 {
		t.Errorf("%d messages in the inbox, %v", len(page.Items), err)
	}
	if c := contactOf(t, ann, bob.AMID()); c.Granted {
		t.Error("a grant for a key that has left")
	}
}

// What cannot be opened any more brings no clerk back, and a renew no new knock.
func TestPartedAsksForNothing(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "hello", api.StateDelivered)
	revoke(t, ann)
	learns(t, bob, ann)
	quiet(t, bob, ann.AMID())
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		if !c.trusted {
			t.Error("ann's grant is what makes lost envelopes count")
		}
		c.lose(ratchet.ID{1})
		if err := c.takeRenew(c.begin(), arrival{}); !errors.Is(err, identity.ErrRevoked) {
			t.Errorf("a renew: %v", err)
		}
		return nil
	})
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		if pause, due := c.pause(); due && pause < time.Second {
			t.Errorf("comes back in %s", pause)
		}
		return nil
	})
}

// A peer that was away learns of it when it comes back, however late; so does one
// whose agent was stopped before it could be told.
func TestRevocationWaitsForThePeer(t *testing.T) {
	w := newWorld(t)
	var c clock
	w.clock = c.now
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	w.send(ann, bob, "hello", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	var off atomic.Bool
	off.Store(true)
	w.sb.cut(&off)
	revoke(t, ann)
	w.revive(ann)
	until(t, ann, "the farewell", func() bool { return farewells(t, ann, bob) == 1 })

	c.move(73 * time.Hour)
	ann.Kick()
	until(t, ann, "its end without a receipt", func() bool { return farewells(t, ann, bob) == 0 })
	if bob.left.of(ann.AMID()) != nil {
		t.Fatal("bob knows already")
	}
	off.Store(false)
	m := w.send(bob, ann, "are you there?", api.StateAccepted)
	learns(t, bob, ann)
	m, err := bob.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second)
	if err != nil || m.State != api.StateDead || m.Reason != api.ReasonRevoked {
		t.Errorf("bob's message is %s (%s), %v", m.State, m.Reason, err)
	}
	until(t, ann, "the receipt", func() bool { return farewells(t, ann, bob) == 0 })
}

// farewells counts the envelopes under way that are no receipts.
func farewells(t *testing.T, p, to *person) (n int) {
	t.Helper()
	onClerk(t, p, to.AMID(), func(c *clerk) error {
		n = 0
		for _, f := range c.flights {
			if f.Class == flightControl {
				n++
			}
		}
		return c.ready()
	})
	return n
}

// A peer's word counts for its own key only, and the earlier of two words.
func TestWhoseRevocationCounts(t *testing.T) {
	w := newWorld(t)
	ann, bob, cid := w.person("ann", "ask"), w.person("bob", "accept"), w.person("cid", "accept")
	w.send(ann, bob, "hello", api.StateDelivered)
	w.send(cid, bob, "hello", api.StateDelivered)
	noon := time.Now().Truncate(time.Second)
	broken := statementOf(t, ann.key, noon)
	broken[70] ^= 1
	take := func(raw []byte) {
		onClerk(t, bob, ann.AMID(), func(c *clerk) error {
			b := c.begin()
			if err := c.takeRevocation(b, &content.Revocation{Statement: raw}); err != nil {
				return err
			}
			return c.commit(b)
		})
	}
	take(statementOf(t, cid.key, noon))
	take(broken)
	if bob.left.of(cid.AMID()) != nil || bob.left.of(ann.AMID()) != nil || count(t, bob, rowRevoked) != 0 {
		t.Fatal("ann's word about cid, or a broken one, was taken")
	}
	for _, c := range []struct{ issued, want time.Time }{
		{noon, noon},
		{noon.Add(time.Minute), noon},
		{noon.Add(-time.Minute), noon.Add(-time.Minute)},
		{noon, noon.Add(-time.Minute)},
	} {
		take(statementOf(t, ann.key, c.issued))
		if got := bob.left.of(ann.AMID()); got == nil || !got.Issued.Equal(c.want) {
			t.Errorf("after one of %s: %+v, want %s", c.issued, got, c.want)
		}
	}
	if m := w.send(cid, bob, "still here", api.StateDelivered); m.State != api.StateDelivered {
		t.Errorf("cid's message is %s", m.State)
	}
}

func TestRevokeRequests(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	now := time.Now().Truncate(time.Second)
	early, late := now.Add(-time.Hour), now.Add(time.Hour)
	consent, err := identity.SignSuccessor(bob.key, identity.Revocation{SigningKey: ann.key.Public(), Issued: now, Reason: identity.Retired})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]api.RevokeRequest{
		"no reason":                 {},
		"a fourth reason":           {Reason: "bored"},
		"an hour ago":               {Reason: "retired", Issued: &early},
		"in an hour":                {Reason: "retired", Issued: &late},
		"no key":                    {Reason: "retired", Successor: "bob", Consent: consent},
		"no consent":                {Reason: "retired", Issued: &now, Successor: bob.key.Public().Text()},
		"consent to another reason": {Reason: "superseded", Issued: &now, Successor: bob.key.Public().Text(), Consent: consent},
		"no successor":              {Reason: "retired", Issued: &now, Consent: consent},
		"itself":                    {Reason: "retired", Issued: &now, Successor: ann.key.Public().Text(), Consent: consent},
	} {
		if _, err := ann.Revoke(t.Context(), r); problemCode(err) != api.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ann.Revoked() != nil || count(t, ann, rowRevoked) != 0 {
		t.Error("revoked all the same")
	}
}

// T11, CP 1 to 8: a crash at every commit of a revocation on either side; in the end
// the peer knows, and there is one statement.
func TestCrashWhileRevoking(t *testing.T) {
	for _, who := range []string{"ann", "bob"} {
		for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
			for n := 1; n <= 4; n++ {
				t.Run(fmt.Sprintf("%s at commit %d phase %v", who, n, phase), func(t *testing.T) {
					w := newWorld(t)
					ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
					m := w.send(ann, bob, "hello", api.StateDelivered)
					if _, err := bob.Ack(t.Context(), m.ID, api.AckRequest{}); err != nil {
						t.Fatal(err)
					}
					if _, err := ann.Message(t.Context(), m.ID, api.StateHandled, 10*time.Second); err != nil {
						t.Fatal(err)
					}
					quiet(t, ann, bob.AMID()) // from here on nothing but the revocation brings a clerk back
					quiet(t, bob, ann.AMID())
					victim := ann
					if who == "bob" {
						victim = bob
					}
					victim.mem.CrashAt(victim.mem.Commits()+n, phase)
					for ann.Revoked() == nil {
						if _, err := ann.Revoke(t.Context(), api.RevokeRequest{Reason: "retired"}); err != nil {
							w.revive(ann)
						}
					}
					late := time.After(20 * time.Second)
					for bob.left.of(ann.AMID()) == nil {
						changed := bob.changed.wait()
						select {
						case err := <-victim.done:
							victim.done <- err
							w.revive(victim)
						case <-changed:
						case <-time.After(5 * time.Millisecond):
						case <-late:
							t.Fatal("bob never learned of it")
						}
					}
					if a, b := ann.left.of(ann.AMID()).Raw(), bob.left.of(ann.AMID()).Raw(); string(a) != string(b) {
						t.Error("two statements")
					}
				})
			}
		}
	}
}

// revive brings a crashed person back on what was on its disk, revoked or not.
func (w *world) revive(p *person) {
	w.t.Helper()
	p.mem.Crash()
	w.end(p)
	p.mem = p.mem.Reopen()
	w.begin(p)
	w.sb.plug(p.Agent)
}
