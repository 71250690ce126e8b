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
	// One datagram to everybody in a network is answered by all of them.
	office := Rules{Interfaces: []netip.Prefix{netip.MustParsePrefix("203.0.113.9/28"), netip.MustParsePrefix("10.1.0.1/31"), netip.MustParsePrefix("0.0.0.0/0")}}
	for text, want := range map[string]bool{
		"192.168.1.255": false, "192.168.1.0": false, "::ffff:192.168.1.255": false, "169.254.255.255": false, "192.168.1.254": true,
	} {
		if got := home.Allow(netip.MustParseAddr(text)); got != want {
			t.Errorf("Allow(%s) = %v", text, got)
		}
	}
	for text, want := range map[string]bool{
		"203.0.113.15": false, "203.0.113.0": false, "203.0.113.14": true, "203.0.113.16": true, "10.1.0.0": true, "10.1.0.1": true,
	} {
		if got := office.Allow(netip.MustParseAddr(text)); got != want {
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
