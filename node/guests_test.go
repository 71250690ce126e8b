package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/relay"
)

// circle is a company of a test: whom an agent knows.
type circle struct {
	mu      sync.Mutex
	known   []identity.AMID
	between func() // while all are looked at
}

func (c *circle) Correspondents() ([]identity.AMID, error) {
	c.mu.Lock()
	known, between := slices.Clone(c.known), c.between
	c.mu.Unlock()
	if between != nil {
		between()
	}
	return known, nil
}

func (c *circle) Corresponds(peer identity.AMID) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.known, peer), nil
}

func (c *circle) set(known ...identity.AMID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
}

// host is a tenant with guests.
func (s *street) host(c *circle, names ...string) (*tenant, *guests) {
	var v *tenant
	g := newGuests(c, func() []*relay.Client {
		if v == nil {
			return nil
		}
		return v.mailboxes()
	}, quiet)
	if err := g.review(); err != nil {
		s.t.Fatal(err)
	}
	v = s.tenantWith(relaysConfig{key: freshKey(s.t), limits: shortStay(2), guests: g.list}, nil, names...)
	return v, g
}

// refused reports whether a relay takes only knocks.
func refused(err error) bool {
	var no *relay.RefusedError
	return errors.As(err, &no) && no.Code == relay.RefusedNotAllowed
}

// T46 at the node: strangers leave knocks and nothing else. When our knock leaves, every
// relay of ours lets the peer answer.
func TestPeerMayAnswerWhenTheKnockLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10, "b": 20})
		v, g := s.host(&circle{}, "a", "b")
		time.Sleep(time.Minute)
		peer := freshKey(t)
		if err := s.leaveAs(peer, relay.KindMessage, "a", v.amid, "1"); !refused(err) {
			t.Errorf("a stranger's message: %v", err)
		}
		if err := s.leaveAs(peer, relay.KindKnock, "a", v.amid, "knock"); err != nil {
			t.Errorf("a stranger's knock: %v", err)
		}
		left := make(chan struct{})
		g.before(agent.Envelope{To: peer.AMID(), Knock: true}, func() { close(left) })
		<-left
		for _, name := range []string{"a", "b"} {
			if err := s.leaveAs(peer, relay.KindMessage, name, v.amid, "answer at "+name); err != nil {
				t.Errorf("the answer at %s: %v", name, err)
			}
		}
		v.end()
	})
}

// What waits for a relay's word leaves in order, and others do not wait for it. A relay
// that is away is not waited for; it hears of the peer before anything else.
func TestEnvelopesWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10, "b": 20})
		c := &circle{}
		v, g := s.host(c, "a", "b")
		time.Sleep(time.Minute)
		s.shut("b")
		synctest.Wait()
		peer := freshKey(t)
		var mu sync.Mutex
		var left []string
		send := func(to identity.AMID, knock bool, text string) {
			g.before(agent.Envelope{To: to, Knock: knock}, func() {
				mu.Lock()
				defer mu.Unlock()
				left = append(left, text)
			})
		}
		send(peer.AMID(), true, "1")
		send(peer.AMID(), false, "2")
		send(peer.AMID(), false, "3")
		send(alice, false, "to a stranger") // a refusal, say
		synctest.Wait()
		send(peer.AMID(), false, "4")
		if diff := cmp.Diff([]string{"to a stranger", "1", "2", "3", "4"}, left); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		s.open("b", 20)
		time.Sleep(10 * time.Second)
		if err := s.leaveAs(peer, relay.KindMessage, "b", v.amid, "answer"); err != nil {
			t.Errorf("the answer at the relay that was away: %v", err)
		}
		if err := s.leave("b", v.amid, "a stranger's"); !refused(err) {
			t.Errorf("a stranger there: %v", err)
		}
		v.end()
	})
}

// Whom the agent knows no longer is a stranger again; whoever is added while all are
// looked at stays.
func TestGuestsAreReviewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, map[string]int{"a": 10})
		friend, other := freshKey(t), freshKey(t)
		c := &circle{known: []identity.AMID{friend.AMID()}}
		v, g := s.host(c, "a")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.run(ctx) }()
		time.Sleep(time.Minute)
		if err := s.leaveAs(friend, relay.KindMessage, "a", v.amid, "1"); err != nil {
			t.Errorf("a friend: %v", err)
		}
		c.mu.Lock()
		c.known = nil
		c.between = func() {
			c.mu.Lock()
			c.between = nil
			c.mu.Unlock()
			g.before(agent.Envelope{To: other.AMID(), Knock: true}, func() {})
		}
		c.mu.Unlock()
		g.refresh()
		synctest.Wait()
		if err := s.leaveAs(friend, relay.KindMessage, "a", v.amid, "2"); !refused(err) {
			t.Errorf("a friend no more: %v", err)
		}
		if err := s.leaveAs(other, relay.KindMessage, "a", v.amid, "3"); err != nil {
			t.Errorf("whom we just knocked at: %v", err)
		}
		c.set(other.AMID())
		time.Sleep(guestsEvery + time.Minute)
		if err := s.leaveAs(other, relay.KindMessage, "a", v.amid, "4"); err != nil {
			t.Errorf("whom we know: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		v.end()
	})
}

// The whole node: two strangers meet through relays that keep strangers out, and a block
// shuts the mailbox at once.
func TestBlockedPeerIsAStrangerToTheRelay(t *testing.T) {
	s, a, b := pair(t, AnnounceNone)
	m := a.send(b, "hello", api.SendRequest{Via: string(api.PathRelayed)})
	if m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	id, err := identity.LoadIdentity(filepath.Join(a.cfg.Home, agentsDir, defaultAgent))
	if err != nil {
		t.Fatal(err)
	}
	a.end()
	n := 0
	leave := func() error {
		n++ // what lies there already is not refused
		return leaveAt(relay.ClientConfig{URL: s.url, Key: id.Key}, relay.KindMessage, b.amid, fmt.Sprint(n))
	}
	if err := leave(); err != nil {
		t.Errorf("a peer with a grant: %v", err)
	}
	b.set("block", a.amid.String())
	for err := leave(); !refused(err); err = leave() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := leaveAt(relay.ClientConfig{URL: s.url, Key: freshKey(t)}, relay.KindMessage, b.amid, "more"); !refused(err) {
		t.Errorf("a stranger: %v", err)
	}
}
