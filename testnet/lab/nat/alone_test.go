package nat_test

import (
	"net/netip"
	"testing"

	"amesh/testnet/natbox"
	"amesh/testnet/netns"
)

// Relays, registry and DHT are gone for good. Two neighbours behind one box who have
// talked before go on, also after one of them was started anew.
func TestWithRootNeighboursWithoutServers(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	box, err := c.Box(t.Context(), netns.BoxConfig{Name: "box", Kind: natbox.PortRestricted})
	if err != nil {
		t.Fatal(err)
	}
	var ann, bob *resident
	for name, r := range map[string]**resident{"ann": &ann, "bob": &bob} {
		if *r, err = c.settle(t.Context(), name, box); err != nil {
			t.Fatal(err)
		}
		(*r).front = (*r).IP()
	}
	p := &pair{a: ann, b: bob, want: direct("they are on one link")}
	if p.talk(t.Context()); p.err != nil {
		t.Fatalf("%v\n%s", p.err, told(p.whys[0]))
	}
	for _, s := range append(c.relays, c.registry) {
		if err := s.Down(); err != nil {
			t.Fatal(err)
		}
	}
	again := func(when string) {
		t.Helper()
		if err := ann.tell(t.Context(), bob, "to bob "+when); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if err := bob.tell(t.Context(), ann, "to ann "+when); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if err := c.pathTo(t.Context(), ann, bob, bob.IP()); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	again("without servers")
	if err := bob.proc.Stop(patience); err != nil {
		t.Fatal(err)
	}
	if err := bob.up(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	again("after a start without servers")
}

// Both have IPv6, which nobody translates, behind boxes that would make IPv4 impossible:
// the path is direct, at the peer's own address.
func TestWithRootIPv6IsDirect(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	a, err := c.moveIn(t.Context(), "a", atSymmetric, true)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.moveIn(t.Context(), "b", atSymmetric, true)
	if err != nil {
		t.Fatal(err)
	}
	a.front, b.front = a.IP6(), b.IP6() // IPv4 would be a mistake
	p := &pair{a: a, b: b, want: direct("IPv6 at both ends, behind filters that what is sent first opens")}
	if p.talk(t.Context()); p.err != nil {
		t.Fatalf("%v\n%s\n%s", p.err, told(p.whys[0]), told(p.whys[1]))
	}
}

// Two homes whose routers give out the same addresses, so that each node's own address is
// the other's as well: the path leads to the other and not to oneself.
func TestWithRootTwoHomesWithOneAddress(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	home := func(name string) *resident {
		t.Helper()
		box, err := c.Box(t.Context(), netns.BoxConfig{Name: name + "-box", Kind: natbox.PortRestricted, Inside: netip.MustParsePrefix("192.168.1.0/24")})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.settle(t.Context(), name, box)
		if err != nil {
			t.Fatal(err)
		}
		r.front = box.Outside()
		return r
	}
	p := &pair{a: home("ann"), b: home("bob"), want: expect(atRestricted, atRestricted)}
	if p.a.IP() != p.b.IP() {
		t.Fatalf("%s and %s", p.a.IP(), p.b.IP())
	}
	if p.talk(t.Context()); p.err != nil {
		t.Fatalf("%v\n%s", p.err, told(p.whys[0]))
	}
}
