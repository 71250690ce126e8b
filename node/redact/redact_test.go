package redact

import (
	"strings"
	"testing"

	"amesh/identity"
)

var alice, bob = identity.AMID{1, 2, 3, 19: 9}, identity.AMID{4, 5, 6, 19: 8}

func TestWhatGoesAndWhatStays(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a secret that was told":    {`key="hunter2hunter2"`, `key="(secret)"`},
		"password in a URL":         {"proxy http://ann:pw@proxy.example:3128/x", "proxy http://(secret)@proxy.example:3128/x"},
		"one with odd characters":   {"http://ann:p@ss'w@proxy.example:3128/x", "http://(secret)@proxy.example:3128/x"},
		"a query":                   {"GET https://r.example/a?code=12&x=1 failed", "GET https://r.example/a?(secret) failed"},
		"a bearer token":            {"Authorization: Bearer abc.DEF", "Authorization: (secret) (secret)"},
		"a label":                   {`{"token":"abc","tokens":12,"one_time_keys":{"x":3}}`, `{"token":"(secret)","tokens":12,"one_time_keys":{"x":3}}`},
		"a passphrase":              {"passphrase=open-sesame now", "passphrase=(secret) now"},
		"an invite":                 {"amesh1qx9g3c7awsylr90a2tdj6096t4ev5ecfhuwegysm7d6gsqd5pah4c", "(invite)"},
		"an age key":                {"AGE-SECRET-KEY-1QQQQQ", "(secret)"},
		"an agent":                  {"to " + alice.String() + ", " + alice.DID(), "to peer-1, did:agentmesh:peer-1"},
		"its short form":            {alice.String() + " is " + alice.Short(), "peer-1 is peer-1"},
		"the short form first":      {bob.Short() + " is " + bob.String() + " not " + alice.Short(), "peer-1 is peer-1 not peer-2"},
		"a node":                    {"/p2p/12D3KooWJTfsoF3DUbraZFbiEkgcgAUS9TLFocJG3tt3WUuqQwUh", "/p2p/node-1"},
		"addresses":                 {"/ip4/192.168.1.7/udp/1 and 192.168.1.7:2, 203.0.113.9", "/ip4/ip-1/udp/1 and ip-1:2, ip-2"},
		"IPv6":                      {"[2001:db8::7]:443 fe80::1 ::1", "[ip-1]:443 ip-2 ip-3"},
		"the end of a sentence":     {"It is fe80::1. Or ::1: or 192.0.2.1.", "It is ip-1. Or ip-2: or ip-3."},
		"IPv4 in IPv6":              {"::ffff:192.0.2.1", "ip-1"},
		"a time is no address":      {"2026-11-21T15:04:05Z 10:20:30", "2026-11-21T15:04:05Z 10:20:30"},
		"the unspecified address":   {"0.0.0.0:1 [::]:1", "0.0.0.0:1 [::]:1"},
		"a key nobody told of":      {"x jA0ECQMCq1Lr9v4Zt5b2z8YtT0Gk1mQeXn3hP7uWcR4= y", "x (key) y"},
		"a hash":                    {strings.Repeat("0f", 32), "(hex)"},
		"an id of a message":        {"01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44", "01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44"},
		"a name":                    {"agent=annbot annbots robot/annbot", "agent=name-1 annbots robot/name-1"},
		"a path in code":            {"github.com/libp2p/go-libp2p/p2p/transport/quicreuse/connmgr.go:12", "github.com/libp2p/go-libp2p/p2p/transport/quicreuse/connmgr.go:12"},
		"a sentence":                {"nothing is wrong", "nothing is wrong"},
		"a word of code, long":      {"TestThatNobodyLosesAnythingWhenEverythingFails", "TestThatNobodyLosesAnythingWhenEverythingFails"},
		"a version is no address":   {"go1.26.0 v0.49.1", "go1.26.0 v0.49.1"},
		"what is written into both": {"http://10.0.0.1/?x=" + alice.String(), "http://ip-1/?(secret)"},
	} {
		var m Mask
		m.Secret("hunter2hunter2")
		m.Secret("a") // too short to be looked for
		m.Word("annbot", "name")
		if got := m.Text(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPseudonymsAreStable(t *testing.T) {
	var m Mask
	m.Agent(alice, "own")
	one := m.Text(alice.String() + " 192.0.2.1 " + bob.String())
	two := m.Text(bob.Short() + " " + alice.Short() + " 192.0.2.1 192.0.2.2")
	if one != "own-1 ip-1 peer-1" || two != "peer-1 own-1 ip-1 ip-2" {
		t.Errorf("%q, %q", one, two)
	}
	if m.Replaced() != 4 || m.Legend()[0] != "own-1" || m.Legend()[3] != "ip-2: IPv4" {
		t.Errorf("%q", m.Legend())
	}
}

func TestNamesMayStayAndSecretsNever(t *testing.T) {
	m := Mask{Names: true}
	m.Secret("hunter2hunter2")
	in := alice.String() + " 192.0.2.1 "
	if got := m.Text(in + "hunter2hunter2 http://u:p@h"); got != in+"(secret) http://(secret)@h" {
		t.Errorf("%q", got)
	}
}

func FuzzNothingToldComesThrough(f *testing.F) {
	f.Add("before ", " after")
	f.Add("http://x:", "@y")
	f.Add("token=", "")
	f.Fuzz(func(t *testing.T, before, after string) {
		var m Mask
		const secret = "Zz9-secret-Zz9"
		m.Secret(secret)
		m.Agent(alice, "own")
		if got := m.Text(before + secret + after); strings.Contains(got, secret) && !strings.Contains(before+Hidden+after, secret) {
			t.Errorf("%q", got)
		}
		if got := m.Text(before + " " + alice.String() + " " + after); strings.Contains(got, alice.String()) && !strings.Contains(before+after, alice.String()) {
			t.Errorf("%q", got)
		}
	})
}
