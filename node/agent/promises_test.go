package agent

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/uuid"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// CP 18: an envelope is acknowledged after its commit, never before.
func TestAcknowledgedAfterCommit(t *testing.T) {
	w, stores := fragileWorld(t)
	w.limits.StorePause = time.Millisecond
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	caught := make(chan Envelope, 1)
	w.sb.mu.Lock()
	w.sb.meddle = func(e Envelope) int {
		if e.To == bob.AMID() {
			select {
			case caught <- e:
			default:
			}
			return 0
		}
		return 1
	}
	w.sb.mu.Unlock()
	w.send(ann, bob, "2", api.StateAccepted)
	e := <-caught
	stores["bob"].full.Store(true)
	acked := make(chan struct{})
	before := stores["bob"].updates.Load()
	bob.Receive(Incoming{From: e.From, Data: e.Data, Path: api.PathRelayed, Ack: func() { close(acked) }})
	until(t, bob, "some tries", func() bool { return stores["bob"].updates.Load() >= before+3 })
	select {
	case <-acked:
		t.Fatal("acknowledged what is not on disk")
	default:
	}
	stores["bob"].full.Store(false)
	<-acked
	if page, err := bob.Inbox(api.InboxQuery{}); err != nil || len(page.Items) != 2 {
		t.Fatalf("%d messages after the acknowledgement, %v", len(page.Items), err)
	}
}

// The policy of the moment is asked for every message, not only for the knock.
func TestPolicyChangesUnderASession(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	bob.rule(t, "rejected_intents", "commerce/*")
	send := func(intent string) api.Message {
		m, err := ann.Send(t.Context(), api.SendRequest{
			To: bob.AMID().String(), Intent: intent, Body: []byte("x"), Wait: api.StateDelivered, TimeoutMS: 10_000,
		}, "")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := send("commerce/offer"); m.State != api.StateRefused || m.Reason != "policy" {
		t.Errorf("a rejected intent: %s (%s)", m.State, m.Reason)
	}
	if m := send("travel/flights"); m.State != api.StateDelivered {
		t.Errorf("another intent: %s (%s)", m.State, m.Reason)
	}
	if page, err := bob.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 2 {
		t.Errorf("%d messages in the inbox, %v", len(page.Items), err)
	}
}

// A peer's receipts count for messages addressed to that peer and for no others.
func TestReceiptOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	ann, bob, cid := w.person("ann", "ask"), w.person("bob", "accept"), w.person("cid", "accept")
	w.send(ann, cid, "for cid", api.StateDelivered)
	m := w.send(ann, bob, "for bob", api.StateDelivered)
	id := uuid.MustParse(m.ID)
	onClerk(t, ann, cid.AMID(), func(c *clerk) error {
		b := c.begin()
		if err := c.takeReceipts(b, &content.Receipts{Messages: []content.Receipt{{ID: id, State: content.Handled, At: b.now}}}); err != nil {
			return err
		}
		return c.commit(b)
	})
	if got, err := ann.readOut(id); err != nil || got.State != api.StateDelivered {
		t.Errorf("after cid's word bob's message is %s, %v", got.State, err)
	}
	ann.mu.Lock()
	c := ann.clerks[cid.AMID()]
	ann.mu.Unlock()
	row, found, err := getJSONView[outRow](ann, c.a.key(rowOut, c.peer[:], be64(m.Sequence)))
	if err != nil || (found && row.ID == id) {
		t.Errorf("bob's message stands among cid's: %v", err)
	}
}

func getJSONView[T any](p *person, key []byte) (row T, found bool, err error) {
	err = p.mem.View(func(r store.Reader) error {
		row, found, err = getJSON[T](r, key)
		return err
	})
	return row, found, err
}

// T33, T19: a knock is taken once, also in another envelope and after a restart; a
// repeat changes nothing in the store.
func TestKnockReplayed(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	key := newKey(t)
	first := handKnock(t, w, key, bob)
	receiveAndWait(bob, key.AMID(), first)
	again := append(append([]byte(nil), first...), noise(82+40+256)...) // its tail is not signed
	settled := func() [32]byte {
		until(t, bob, "the answer handed over", func() bool {
			waiting := 1
			onClerk(t, bob, key.AMID(), func(c *clerk) error {
				waiting = 0
				for _, f := range c.flights {
					if f.carried {
						waiting++
					}
				}
				return nil
			})
			return waiting == 0
		})
		var raw []byte
		err := bob.mem.View(func(r store.Reader) error {
			return r.Scan(bob.Agent.key(rowSession), nil, func(k, v []byte) bool {
				raw = append(append(raw, k...), v...)
				return true
			})
		})
		if err != nil || raw == nil {
			t.Fatalf("session: %d bytes, %v", len(raw), err)
		}
		return sha256.Sum256(raw)
	}
	before := settled()
	receiveAndWait(bob, key.AMID(), first)
	receiveAndWait(bob, key.AMID(), again)
	if settled() != before {
		t.Error("a repeated knock changed the session")
	}
	w.end(bob)
	bob.mem = bob.mem.Reopen()
	w.start(bob)
	receiveAndWait(bob, key.AMID(), first)
	receiveAndWait(bob, key.AMID(), again)
	if settled() != before {
		t.Error("a knock repeated after a restart changed the session")
	}
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 {
		t.Errorf("%d knocks, %v", len(knocks), err)
	}
}
