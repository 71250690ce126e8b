package netns

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPlanGivesEveryPlaceOnce(t *testing.T) {
	for _, c := range []struct{ v4, v6, gateway, first, block, link6, box6 string }{
		{"8.9.10.0/24", "2a0b:89a::/32", "8.9.10.1/25", "8.9.10.2/25", "8.9.10.128/29", "2a0b:89a::2/64", "2a0b:89a:0:1::/64"},
		{"44.55.0.0/16", "2600:1:2::/48", "44.55.0.1/17", "44.55.0.2/17", "44.55.128.0/29", "2600:1:2::2/64", "2600:1:2:1::/64"},
		{"9.8.7.6/23", "2a00::/40", "9.8.6.1/24", "9.8.6.2/24", "9.8.7.0/29", "2a00::2/64", "2a00:0:0:1::/64"},
	} {
		p, err := newPlan(netip.MustParsePrefix(c.v4), netip.MustParsePrefix(c.v6))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.gateway.String(); got != c.gateway {
			t.Errorf("%s: gateway %s, want %s", c.v4, got, c.gateway)
		}
		first, err := p.public()
		if err != nil || first.address.String() != c.first || first.address6.String() != c.link6 {
			t.Errorf("%s: first place %v, %v; want %s and %s", c.v4, first, err, c.first, c.link6)
		}
		if _, v4, v6, err := p.inside(true); err != nil || v4.String() != c.block || v6.String() != c.box6 {
			t.Errorf("%s: behind an open box %s and %s, %v; want %s and %s", c.v4, v4, v6, err, c.block, c.box6)
		}
	}
}

func TestPlanEnds(t *testing.T) {
	p, err := newPlan(DefaultPrefix, DefaultPrefix6)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[netip.Prefix]bool)
	give := func(v4 netip.Prefix, err error) bool {
		if err == nil && seen[v4] {
			t.Fatalf("%s was given twice", v4)
		}
		seen[v4] = true
		return err == nil
	}
	places, blocks, nets := 0, 0, 0
	for ; give(func() (netip.Prefix, error) { c, err := p.public(); return c.address, err }()); places++ {
	}
	inside := func(open bool) bool {
		return give(func() (netip.Prefix, error) { _, v4, _, err := p.inside(open); return v4, err }())
	}
	for ; inside(true); blocks++ {
	}
	for ; inside(false); nets++ {
	}
	if places != 125 || blocks != 16 || nets+blocks != mostBoxes {
		t.Errorf("%d places, %d blocks, %d networks", places, blocks, nets)
	}
}

func TestPlanRefusesPrefixes(t *testing.T) {
	for name, c := range map[string]struct{ v4, v6, want string }{
		"too narrow": {"8.9.10.0/25", "2a0b::/32", "8.9.10.0/25"},
		"too wide":   {"8.0.0.0/8", "2a0b::/32", "8.0.0.0/8"},
		"IPv6 for 4": {"2a0b::/20", "2a0b::/32", "an IPv4 one"},
		"IPv4 for 6": {"8.9.10.0/24", "8.9.10.0/24", "an IPv6 one"},
		"a /64":      {"8.9.10.0/24", "2a0b::/64", "/32 to /48"},
	} {
		_, err := newPlan(netip.MustParsePrefix(c.v4), netip.MustParsePrefix(c.v6))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestNamesSayWhoseTheyAre(t *testing.T) {
	for name, want := range map[string]int{"amesh-12-ab-core": 12, "amesh-1-": 1, "amesh-12": 0, "amesh--1-x": 0, "amesh-x-y": 0, "other-12-x": 0, "": 0} {
		pid, ok := maker(name)
		if ok != (want != 0) || ok && pid != want {
			t.Errorf("%q: %d, %v; want %d", name, pid, ok, want)
		}
	}
}
