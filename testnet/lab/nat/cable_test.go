package nat_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"amesh/node/api"
	"amesh/testnet/natbox"
	"amesh/testnet/netns"
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
// middle of a thousand messages the cable is pulled, or dies without anybody noticing, and
// later works again: no message is lost or comes twice, they go on by another path within
// 5 s, and come back to the cable.
func TestWithRootCablePulledAtTheDesk(t *testing.T) {
	needsRoot(t)
	for name, harm := range map[string]func(*netns.Cable, context.Context) error{"pulled": (*netns.Cable).Pull, "broken": (*netns.Cable).Break} {
		t.Run(name, func(t *testing.T) {
			c := newCity(t)
			a, b := c.two(atRestricted, atSymmetric)
			desk, err := c.Cable(t.Context(), a.Host, b.Host)
			if err != nil {
				t.Fatal(err)
			}
			first := &pair{a: a, b: b}
			if err := first.converse(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.pathTo(t.Context(), a, b, desk.IP(b.Host)); err != nil {
				t.Fatal(err)
			}
			var at time.Time
			texts := c.talk(a, b, func(i int) error {
				if i != longTalk/2 {
					return nil
				}
				at = time.Now()
				return harm(desk, t.Context())
			})
			c.allHeard(a, b, append(first.there(), texts...))
			if gap := b.silence(t, a, at); gap > fallBack {
				t.Errorf("nothing came for %s after the cable was %s, want at most %s", gap, name, fallBack)
			} else {
				t.Logf("nothing came for %s after the cable was %s", gap, name)
			}
			if err := desk.Mend(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.pathTo(t.Context(), a, b, desk.IP(b.Host)); err != nil {
				t.Errorf("after the cable was mended: %v", err)
			}
		})
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

// A line that loses one packet in twenty and takes 50 ms longer each way is no reason not
// to punch: two boxes in a row at one end, and the loss at both.
func TestWithRootPunchesOverABadLine(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	a, b := c.two(atDouble, atRestricted)
	for _, r := range []*resident{a, b} {
		if err := r.Box().SetFaults(t.Context(), natbox.Faults{Loss: 5, Delay: 50 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	p := &pair{a: a, b: b, want: expect(atDouble, atRestricted)}
	if p.talk(t.Context()); p.err != nil {
		t.Fatalf("%v\n%s", p.err, told(p.whys[0]))
	}
	t.Logf("%s at try %d", p.whys[0].Path, p.try)
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
