package reach

import (
	"net/netip"
	"testing"
)

// T63: dht and internal/ice hold the long tables; this is what both rest on.
func TestRules(t *testing.T) {
	home := Rules{Interfaces: []netip.Prefix{netip.MustParsePrefix("192.168.1.20/24"), netip.MustParsePrefix("169.254.3.4/16")}}
	for text, want := range map[string]bool{
		"8.9.10.11": true, "2606:4700::1": true, "::ffff:8.9.10.11": true,
		"192.168.1.7": true, "192.168.2.7": false, "::ffff:192.168.2.7": false,
		"169.254.9.9": true, "169.254.169.254": false,
		"127.0.0.1": false, "::1": false, "fe80::1%eth0": false,
	} {
		if got := home.Allow(netip.MustParseAddr(text)); got != want {
			t.Errorf("Allow(%s) = %v", text, got)
		}
	}
	if !(Rules{Loopback: true}).Allow(netip.MustParseAddr("127.0.0.1")) {
		t.Error("loopback while we are there too")
	}
	if (Rules{Loopback: true}).Allow(netip.Addr{}) {
		t.Error("no address at all")
	}
	if !Private(netip.MustParseAddr("::ffff:10.0.0.1")) || Private(netip.MustParseAddr("8.8.8.8")) || !Public(netip.MustParseAddr("8.8.8.8")) {
		t.Error("private and public")
	}
	for _, p := range Interfaces() {
		if p.Addr().IsLoopback() {
			t.Errorf("%s among the interfaces", p)
		}
	}
}
