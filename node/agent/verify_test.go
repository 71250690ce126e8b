package agent

import (
	"context"
	"crypto/rand"
	"slices"
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

func compared(t *testing.T, who *person, with *person) api.Comparison {
	t.Helper()
	c, err := who.Compare(t.Context(), with.AMID().String())
	if err != nil {
		t.Fatalf("%s: %v", who.name, err)
	}
	return c
}

// forget takes an agent out of the book.
func (b *book) forget(amid identity.AMID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.recs, amid)
}

// T01: what the owners compare is the same on both sides exactly when each has the
// other's key.
func TestBothSidesCompareAlike(t *testing.T) {
	w := newWorld(t)
	ann, bob, eve := w.person("ann", "ask"), w.person("bob", "accept"), w.person("eve", "ask")
	strangers := compared(t, ann, bob) // nothing passed between them yet: the record says the key
	w.send(ann, bob, "hello", api.StateDelivered)
	w.book.forget(ann.AMID())
	w.book.forget(bob.AMID())
	for _, c := range []api.Comparison{compared(t, ann, bob), compared(t, bob, ann)} {
		if !slices.Equal(c.Words, strangers.Words) || c.Value != strangers.Value || c.QR != "amesh:compare:"+c.Value {
			t.Errorf("got %v, want %v", c, strangers)
		}
	}
	if between := compared(t, ann, eve); slices.Equal(between.Words, strangers.Words) {
		t.Error("the same words with another agent")
	}
}

type oneRecord struct{ rec *identity.AgentRecord }

func (d oneRecord) Find(context.Context, identity.AMID) (*identity.AgentRecord, error) {
	return d.rec, nil
}

func TestCompareWithNobody(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		peer string
		want api.Code
	}{
		"no AMID":  {"no/AMID", api.CodeInvalid},
		"no name":  {"bob", api.CodeNotFound},
		"itself":   {ann.AMID().String(), api.CodeInvalid},
		"stranger": {key.AMID().String(), api.CodeNotFound},
	} {
		_, err := ann.Compare(t.Context(), c.peer)
		if p, _ := err.(*api.Problem); p == nil || p.Code != c.want || p.Hint == "" {
			t.Errorf("%s: compare says %v", name, err)
		}
		if _, err := ann.Verify(t.Context(), c.peer, api.VerifyRequest{Matches: true}); problemCode(err) != c.want {
			t.Errorf("%s: verify says %v", name, err)
		}
	}
	rec, err := w.book.Find(t.Context(), bob.AMID())
	if err != nil {
		t.Fatal(err)
	}
	ann.Directory = oneRecord{rec}
	if _, err := ann.Compare(t.Context(), key.AMID().String()); problemCode(err) != api.CodeNotFound {
		t.Errorf("with another agent's record: %v", err)
	}
}

// The owner's word is durable, is shown, and can be taken back.
func TestVerifiedContact(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "hello", api.StateDelivered)
	shown := func(want bool) {
		t.Helper()
		contacts, err := ann.Contacts()
		if err != nil || len(contacts) != 1 || contacts[0].AMID != bob.AMID() || !contacts[0].Granted {
			t.Fatalf("contacts %+v, %v", contacts, err)
		}
		peers, err := ann.Peers()
		if err != nil || len(peers) != 1 {
			t.Fatalf("peers %+v, %v", peers, err)
		}
		for what, at := range map[string]bool{
			"contacts": contacts[0].Verified != nil, "peers": peers[0].Verified != nil, "compare": compared(t, ann, bob).Verified != nil,
		} {
			if at != want {
				t.Errorf("%s: verified %t, want %t", what, at, want)
			}
		}
	}
	shown(false)
	c, err := ann.Verify(t.Context(), bob.AMID().String(), api.VerifyRequest{Matches: true})
	if err != nil || c.Verified == nil || c.AMID != bob.AMID() {
		t.Fatalf("%+v, %v", c, err)
	}
	shown(true)
	w.end(ann)
	ann.mem = ann.mem.Reopen()
	w.start(ann)
	shown(true)
	if c, err := ann.Verify(t.Context(), bob.AMID().String(), api.VerifyRequest{}); err != nil || c.Verified != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	shown(false)
	if contacts, err := bob.Contacts(); err != nil || len(contacts) != 1 || contacts[0].Verified != nil {
		t.Errorf("ann's word counts at bob's: %+v, %v", contacts, err)
	}
}
