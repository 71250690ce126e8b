package prefix

import (
	"net/netip"
	"testing"
)

func TestForwardedFor(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"none", nil, "10.0.0.1"},
		{"one", []string{"192.0.2.1"}, "192.0.2.1"},
		{"what the client made up", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		{"in two headers", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		{"through two proxies", []string{"192.0.2.1, 10.9.9.9"}, "192.0.2.1"},
		{"proxies only", []string{"10.3.3.3, 10.9.9.9"}, "10.3.3.3"},
		{"with a port", []string{"192.0.2.1:1234"}, "192.0.2.1"},
		{"IPv6", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", []string{"[2001:db8::1]:1234"}, "2001:db8::1"},
		{"IPv4 in IPv6", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"no address", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{"no address before a proxy", []string{"192.0.2.1, unknown, 10.9.9.9"}, "10.9.9.9"},
		{"empty", []string{""}, "10.0.0.1"},
	} {
		got := ForwardedFor(netip.MustParseAddr("10.0.0.1"), c.headers, trusted)
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.2")
	f.Add("[2001:db8::1]:80,,x")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, header string) {
		got := ForwardedFor(netip.MustParseAddr("10.0.0.1"), []string{header}, trusted)
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q: %s", header, got)
		}
	})
}
