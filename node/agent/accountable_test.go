package agent

import (
	"bytes"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/knock"
	"amesh/node/api"
)

// shows is what a third party does with a message and its proof, who believes nobody: it
// reports who said it to whom.
func shows(t *testing.T, m api.InboxMessage) (by, to identity.AMID) {
	t.Helper()
	p := m.Proof
	if p == nil {
		t.Fatal("no proof")
	}
	d := content.Description{
		ID: uuid.MustParse(m.ID), Created: m.SentAt, Deadline: p.Deadline, Intent: m.Intent, Thread: m.Thread,
		ContentType: m.ContentType, FileName: m.FileName,
	}
	hash := content.Hash(d, m.Body)
	if !bytes.Equal(hash[:], p.ContentHash) {
		t.Fatal("the content hash is of another message")
	}
	binding := sha256.Sum256(append(bytes.Clone(p.Transcript), p.Knock...))
	if !bytes.Equal(binding[:], p.Binding) {
		t.Fatal("the binding is of another session")
	}
	key, err := identity.ParsePublicKey(p.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Verify(identity.TagMessage, content.Statement(binding, m.Sequence, hash), p.Signature); err != nil {
		t.Fatal(err)
	}
	k, err := knock.ParseKnock(p.Knock)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.VerifySignature(); err != nil {
		t.Fatal(err)
	}
	if key.AMID() == k.From {
		return k.From, k.To
	}
	if key.AMID() != k.To {
		t.Fatal("signed by somebody who has no part in the session")
	}
	return k.To, k.From
}

// In accountable mode what each side said can be shown to a third party: short or in
// parts, behind a knock or after it, also after a restart. The mode is seen everywhere.
func TestAccountable(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	ann.rule(t, "mode", "accountable")
	long := string(make([]byte, 100_000))
	sent := w.send(ann, bob, "I pay 100", api.StateDelivered)
	w.send(ann, bob, long, api.StateDelivered)
	w.send(bob, ann, "I deliver on Friday", api.StateDelivered)
	part(t, ann, bob)
	w.send(ann, bob, "behind the knock", api.StateDelivered)
	if sent.Mode != "accountable" {
		t.Errorf("ann sees her own message as %q", sent.Mode)
	}
	w.end(bob)
	bob.mem = bob.mem.Reopen()
	w.start(bob)
	for _, m := range w.take(bob, 3) {
		if by, to := shows(t, m); by != ann.AMID() || to != bob.AMID() || m.Mode != "accountable" {
			t.Errorf("%d bytes in mode %s, said by %s to %s", m.Size, m.Mode, by, to)
		}
	}
	if by, to := shows(t, w.take(ann, 1)[0]); by != bob.AMID() || to != ann.AMID() {
		t.Errorf("bob's word was said by %s to %s", by, to)
	}
	for _, p := range [][2]*person{{ann, bob}, {bob, ann}} {
		view, err := p[0].peerView(p[1].AMID())
		if err != nil || view.Mode != "accountable" {
			t.Errorf("%s sees the peer in mode %q, %v", p[0].name, view.Mode, err)
		}
		knocks, err := p[0].Knocks()
		if err != nil || len(knocks) != 2 || knocks[0].Mode != "accountable" {
			t.Errorf("%s sees the knocks %+v, %v", p[0].name, knocks, err)
		}
	}
}

// In private mode nothing is signed and no proof is kept, whatever the policy says later.
func TestPrivateStaysPrivate(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "between us", api.StateDelivered)
	ann.rule(t, "mode", "accountable")
	bob.rule(t, "accept_modes", "accountable")
	w.send(ann, bob, "still between us", api.StateDelivered)
	for _, m := range w.take(bob, 2) {
		if m.Mode != "private" || m.Proof != nil {
			t.Errorf("mode %s, proof %+v", m.Mode, m.Proof)
		}
		if _, err := bob.Ack(t.Context(), m.ID, api.AckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, bob, rowProof); n != 0 {
		t.Errorf("%d proofs", n)
	}
	quiet(t, ann, bob.AMID())
	kill(t, ann, bob)
	w.send(ann, bob, "for the record", api.StateDelivered)
	if m := w.take(bob, 1)[0]; m.Mode != "accountable" {
		t.Errorf("the next session is %s", m.Mode)
	}
}

// A mode that the policy does not accept is rejected, like anything else about a stranger.
func TestModeThatIsNotAccepted(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	bob.rule(t, "accept_modes", "private")
	ann.rule(t, "mode", "accountable")
	if m := w.send(ann, bob, "sign here", api.StateDelivered); m.State != api.StateRefused || m.Reason != api.ReasonRejected {
		t.Errorf("%s (%s)", m.State, m.Reason)
	}
	if knocks, err := bob.Knocks(); err != nil || len(knocks) != 1 || knocks[0].Rule != "accept_modes" {
		t.Errorf("bob sees %+v, %v", knocks, err)
	}
}

// A message that is not signed as its session wants it is refused: without a signature, with
// that of somebody else or of another message, and with one that nobody asked for.
func TestWrongSignature(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	ann.rule(t, "mode", "accountable")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	now := time.Now()
	d := content.Description{ID: uuid.New(), Sequence: 2, Created: now, Deadline: now.Add(time.Hour), Intent: "message"}
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		s := c.sess[0].clone()
		hash := content.HashOf(d, [32]byte{1})
		right := func(change func(statement []byte)) []byte {
			st := content.Statement(s.r.Binding(), d.Sequence, hash)
			change(st)
			return ann.key.Sign(identity.TagMessage, st)
		}
		for name, sig := range map[string][]byte{
			"none":                nil,
			"of the receiver":     bob.key.Sign(identity.TagMessage, content.Statement(s.r.Binding(), d.Sequence, hash)),
			"of another session":  right(func(b []byte) { b[0] ^= 1 }),
			"of another sequence": right(func(b []byte) { b[39] ^= 1 }),
			"of another message":  right(func(b []byte) { b[71] ^= 1 }),
			"for another purpose": ann.key.Sign(identity.TagKnock, content.Statement(s.r.Binding(), d.Sequence, hash)),
		} {
			bad := d
			bad.Signature = sig
			if got := c.breach(s, &bad, hash, 1); got != content.ReasonSignature {
				t.Errorf("a signature %s: reason %d", name, got)
			}
			if got := c.breachOf(s, &content.Part{Description: bad, Index: 1, Body: [32]byte{1}}); got != content.ReasonSignature {
				t.Errorf("a part with a signature %s: reason %d", name, got)
			}
		}
		good := d
		good.Signature = right(func([]byte) {})
		if got := c.breach(s, &good, hash, 1); got != 0 {
			t.Errorf("the right signature: reason %d", got)
		}
		s.Mode = uint8(content.Private)
		if got := c.breach(s, &good, hash, 1); got != content.ReasonSignature {
			t.Errorf("a signature in private: reason %d", got)
		}
		return nil
	})

	for _, size := range []int{5, 100_000} {
		onClerk(t, ann, bob.AMID(), func(c *clerk) error {
			b := c.begin()
			b.session(c.sender()).Mode = uint8(content.Private) // ann does not sign any more
			return c.commit(b)
		})
		m := w.send(ann, bob, string(make([]byte, size)), api.StateDelivered)
		if m.State != api.StateRefused || m.Reason != "signature" {
			t.Errorf("%d bytes without a signature: %s (%s)", size, m.State, m.Reason)
		}
	}
	if page, err := bob.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 1 {
		t.Errorf("%d messages, %v", len(page.Items), err)
	}
}

// A proof goes with its message.
func TestProofGoesWithItsMessage(t *testing.T) {
	w := newWorld(t)
	var later atomic.Int64
	w.clock = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	ann.rule(t, "mode", "accountable")
	w.send(ann, bob, "1", api.StateDelivered)
	if _, err := bob.Ack(t.Context(), w.take(bob, 1)[0].ID, api.AckRequest{}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, bob, rowProof); n != 1 {
		t.Fatalf("%d proofs", n)
	}
	later.Store(int64(11 * 24 * time.Hour))
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, bob, rowProof) + count(t, bob, rowIn); n != 0 {
		t.Errorf("%d rows are left of a message that is gone", n)
	}
}
