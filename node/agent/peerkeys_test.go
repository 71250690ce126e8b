package agent

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// source is a KeySource that gives what it is told to, and counts.
type source struct {
	mu    sync.Mutex
	give  func(ctx context.Context) (x25519, kem []byte)
	asked int
}

func (s *source) OneTimeKeys(ctx context.Context, _ identity.AMID, _ *identity.AgentRecord) (x25519, kem []byte) {
	s.mu.Lock()
	s.asked++
	give := s.give
	s.mu.Unlock()
	return give(ctx)
}

// knocks are the knocks that passed the switchboard.
func (s *switchboard) knocks(t *testing.T) []*knock.Knock {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*knock.Knock
	seen := make(map[ratchet.ID]bool)
	for _, raw := range s.wire {
		if typ, _ := ratchet.ParsePrefix(raw); typ != ratchet.TypeKnock || seen[ratchet.EnvelopeID(raw)] {
			continue
		}
		k, err := knock.ParseKnock(raw)
		if err != nil {
			t.Fatal(err)
		}
		seen[ratchet.EnvelopeID(raw)] = true
		list = append(list, k)
	}
	return list
}

// A knock uses the keys that the peer's node gives; no remark tells the owner otherwise.
func TestKnockUsesOneTimeKeys(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	before := len(privateParts(t, bob))
	w.keys = inquiry{w.sb, "a node"}
	ann := w.person("ann", "ask")
	if m := w.send(ann, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	w.keys = nil
	cid := w.person("cid", "ask")
	if m := w.send(cid, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("without: %s (%s)", m.State, m.Reason)
	}
	knocks := w.sb.knocks(t)
	if len(knocks) != 2 {
		t.Fatalf("%d knocks", len(knocks))
	}
	if k := knocks[0]; k.NoOneTimeKey() || k.OneTime.Kind != identity.KindOneTime {
		t.Errorf("ann's knock names %v and %v", k.KEM, k.OneTime)
	}
	if k := knocks[1]; !k.NoOneTimeKey() || k.OneTime.Kind != identity.KindNone {
		t.Errorf("cid's knock names %v and %v", k.KEM, k.OneTime)
	}
	for i, want := range []int{0, 1} {
		d := bob.policy.Evaluate(knock.Facts{Peer: knocks[i].From, NoOneTimeKey: knocks[i].NoOneTimeKey()})
		if len(d.Remarks) != want {
			t.Errorf("knock %d: remarks %v", i, d.Remarks)
		}
	}
	if n := len(privateParts(t, bob)); n != before-2 {
		t.Errorf("%d private parts after two knocks, want %d", n, before-2)
	}
}

// Keys that are not good are as good as none: the knock goes without them.
func TestBadOneTimeKeysOfAPeer(t *testing.T) {
	w := newWorld(t)
	bob, eve := w.person("bob", "accept"), w.person("eve", "accept")
	filled(t, bob)
	filled(t, eve)
	now := time.Now().Truncate(time.Second)
	sign := func(by *person, like *identity.OneTimeKey, change func(*identity.OneTimeKey)) []byte {
		k := *like
		if change != nil {
			change(&k)
		}
		raw, err := identity.SignOneTimeKey(by.key, k)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	like := fetch(t, bob, "the test")
	x25519, kem := sign(bob, like.x25519, nil), sign(bob, like.kem, nil)
	both := func(by *person, change func(*identity.OneTimeKey)) func(context.Context) ([]byte, []byte) {
		x25519, kem := sign(by, like.x25519, change), sign(by, like.kem, change)
		return func(context.Context) ([]byte, []byte) { return x25519, kem }
	}
	for name, give := range map[string]func(context.Context) ([]byte, []byte){
		"none":                  func(context.Context) ([]byte, []byte) { return nil, nil },
		"noise":                 func(context.Context) ([]byte, []byte) { return noise(138), noise(1290) },
		"in each other's place": func(context.Context) ([]byte, []byte) { return kem, x25519 },
		"a broken signature": func(context.Context) ([]byte, []byte) {
			x, k := bytes.Clone(x25519), bytes.Clone(kem)
			x[len(x)-1] ^= 1
			k[len(k)-1] ^= 1
			return x, k
		},
		"another agent's":              both(eve, nil),
		"another epoch's":              both(bob, func(k *identity.OneTimeKey) { k.Epoch++ }),
		"their time over":              both(bob, func(k *identity.OneTimeKey) { k.Created, k.Expires = now.Add(-time.Hour), now.Add(-time.Minute) }),
		"their time to come":           both(bob, func(k *identity.OneTimeKey) { k.Created = now.Add(time.Hour) }),
		"an answer that does not come": func(ctx context.Context) ([]byte, []byte) { <-ctx.Done(); return nil, nil },
	} {
		src := &source{give: give}
		w.keys = src
		ann := w.person("ann", "ask")
		if m := w.send(ann, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
			t.Errorf("%s: %s (%s)", name, m.State, m.Reason)
		}
		knocks := w.sb.knocks(t)
		if k := knocks[len(knocks)-1]; k.From != ann.AMID() || !k.NoOneTimeKey() || k.OneTime.Kind != identity.KindNone {
			t.Errorf("%s: the knock names %v and %v", name, k.KEM, k.OneTime)
		}
		if src.asked != 1 {
			t.Errorf("%s: asked %d times", name, src.asked)
		}
	}
}

// A peer that serves one of our own keys gets a knock without it (session.md §2.1).
func TestOurOwnKeyAsOneTimeKey(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	filled(t, bob)
	src := &source{}
	w.keys = src
	ann := w.person("ann", "ask")
	k := *fetch(t, bob, "the test").x25519
	own := ann.prekeys.current().exchange.Public()
	k.Public = own[:]
	raw, err := identity.SignOneTimeKey(bob.key, k)
	if err != nil {
		t.Fatal(err)
	}
	src.give = func(context.Context) ([]byte, []byte) { return raw, nil }
	if m := w.send(ann, bob, "hello", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
}

// While the peer's node is asked, the clerk takes what arrives; and when the peer's own
// knock came first, ours is not made.
func TestAskingForKeysBlocksNobody(t *testing.T) {
	w := newWorld(t)
	w.limits.OneTimeTimeout = time.Hour
	bob := w.person("bob", "ask")
	filled(t, bob)
	asking, answer := make(chan struct{}), make(chan struct{})
	src := &source{give: func(context.Context) ([]byte, []byte) { close(asking); <-answer; return nil, nil }}
	w.keys = src
	ann := w.person("ann", "accept")
	m := w.send(ann, bob, "hello", api.StateAccepted)
	<-asking
	if m := w.send(bob, ann, "hello ann", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("bob's message: %s (%s)", m.State, m.Reason)
	}
	close(answer)
	m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second)
	if err != nil || m.State != api.StateDelivered {
		t.Fatalf("ann's message: %s (%s), %v", m.State, m.Reason, err)
	}
	onClerk(t, ann, bob.AMID(), func(c *clerk) error { return nil }) // behind what the answer brought
	if knocks := w.sb.knocks(t); len(knocks) != 1 || knocks[0].From != bob.AMID() {
		t.Errorf("%d knocks, want bob's only", len(knocks))
	}
}
