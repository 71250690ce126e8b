package nat_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"amesh/node/api"
)

const (
	// longTalk is how many messages go over a path that breaks.
	longTalk = 1000
	// fallBack is how long a dead path may hold messages up, where there is another.
	fallBack = 5 * time.Second
	// pulled is how long a cable stays pulled where there is no other path.
	pulled = 3 * time.Second
)

// T65. Two machines on one desk, with a cable between them and an uplink each. In the
// middle of a thousand messages the cable is pulled, and later plugged in again: no
// message is lost or comes twice, they go on by another path within 5 s, and come back
// to the cable.
func TestWithRootCablePulledAtTheDesk(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	a, b := c.two(atRestricted, atSymmetric)
	desk, err := c.Cable(t.Context(), a.Host, b.Host)
	if err != nil {
		t.Fatal(err)
	}
	there := func() error { return c.pathTo(t.Context(), a, b, desk.IP(b.Host)) }
	if err := a.tell(t.Context(), b, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := b.tell(t.Context(), a, "hello back"); err != nil {
		t.Fatal(err)
	}
	if err := there(); err != nil {
		t.Fatal(err)
	}
	var at time.Time
	texts := append([]string{"hello"}, c.talk(a, b, func(i int) error {
		if i != longTalk/2 {
			return nil
		}
		at = time.Now()
		return desk.Pull(t.Context())
	})...)
	c.allHeard(a, b, texts)
	if gap := b.silence(t, a, at); gap > fallBack {
		t.Errorf("nothing came for %s after the cable was pulled, want at most %s", gap, fallBack)
	} else {
		t.Logf("nothing came for %s after the cable was pulled", gap)
	}
	if err := desk.Plug(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := there(); err != nil {
		t.Errorf("after the cable was plugged in: %v", err)
	}
}

// T65. The only cable of a machine behind a NAT is pulled in the middle of a thousand
// messages: they wait, and when it is plugged in again go on, by the relay first and then
// through the NATs as before.
func TestWithRootCablePulledAtHome(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	a, b := c.two(atRestricted, atRestricted)
	p := &pair{a: a, b: b, want: expect(atRestricted, atRestricted)}
	if p.talk(t.Context()); p.err != nil {
		t.Fatalf("%v\n%s", p.err, told(p.whys[0]))
	}
	texts := c.talk(a, b, func(i int) error {
		if i != longTalk/2 {
			return nil
		}
		if err := a.Unplug(t.Context()); err != nil {
			return err
		}
		<-time.After(pulled)
		return a.Plug(t.Context())
	})
	c.allHeard(a, b, append(p.there(), texts...))
	if err := c.pathTo(t.Context(), a, b, b.front); err != nil {
		t.Errorf("after the cable was plugged in: %v", err)
	}
}

// two have nodes move in at two places.
func (c *city) two(at, with place) (a, b *resident) {
	c.t.Helper()
	var err error
	if a, err = c.moveIn(c.t.Context(), "a", at, false); err != nil {
		c.t.Fatal(err)
	}
	if b, err = c.moveIn(c.t.Context(), "b", with, false); err != nil {
		c.t.Fatal(err)
	}
	return a, b
}

// talk has a send longTalk messages to b as fast as they are accepted, and calls
// before with the number of each. It returns the texts.
func (c *city) talk(a, b *resident, before func(i int) error) (texts []string) {
	c.t.Helper()
	for i := range longTalk {
		if err := before(i); err != nil {
			c.t.Fatal(err)
		}
		text := fmt.Sprintf("message %d", i)
		if _, err := a.api.Send(c.t.Context(), "", api.SendRequest{To: b.amid, Body: []byte(text), Intent: "lab"}, ""); err != nil {
			c.t.Fatalf("message %d: %v", i, err)
		}
		texts = append(texts, text)
	}
	return texts
}

// allHeard waits until b has as many messages of a, and checks that it is these.
func (c *city) allHeard(a, b *resident, texts []string) {
	c.t.Helper()
	err := await(c.t.Context(), "all messages", func() (bool, error) {
		got, err := b.inbox(c.t.Context(), a)
		return len(got) >= len(texts), err
	})
	if err == nil {
		err = b.heard(c.t.Context(), a, texts)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// silence is the longest time without a message of a peer, from some moment on.
func (r *resident) silence(t *testing.T, from *resident, since time.Time) time.Duration {
	t.Helper()
	items, err := r.inbox(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	var longest time.Duration
	last := since
	for _, item := range items {
		if item.ReceivedAt.After(since) {
			longest, last = max(longest, item.ReceivedAt.Sub(last)), item.ReceivedAt
		}
	}
	return longest
}

// pathTo waits until a has a direct path that ends at an address of b's.
func (c *city) pathTo(ctx context.Context, a, b *resident, ip netip.Addr) error {
	var w api.Why
	err := await(ctx, "the path to "+ip.String(), func() (ok bool, err error) {
		if w, err = a.api.Why(ctx, "", b.amid); err != nil || !isDirect(w) || w.Limited {
			return false, err
		}
		at, err := ipOf(w.Remote)
		return at == ip, err
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, told(w))
	}
	return nil
}
