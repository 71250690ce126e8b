package node

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"amesh/internal/ice"
	"amesh/node/api"
)

func TestVerdictOnANetwork(t *testing.T) {
	relay := func(states ...string) (list []api.RelayCheck) {
		for _, s := range states {
			list = append(list, api.RelayCheck{State: s})
		}
		return list
	}
	stun := func(public string) []api.STUNResult { return []api.STUNResult{{Public: public}} }
	for name, c := range map[string]struct {
		n    api.Netcheck
		want api.Verdict
		text string
	}{
		"nobody to ask":    {api.Netcheck{}, api.VerdictDegraded, "nobody to ask"},
		"offline":          {api.Netcheck{Relays: relay("failed"), STUN: stun("")}, api.VerdictNone, "nobody answers"},
		"offline, one way": {api.Netcheck{Relays: relay("failed", "failed")}, api.VerdictNone, "nobody answers"},
		"proxy says no":    {api.Netcheck{Relays: relay("failed"), Proxy: "http://proxy:3128"}, api.VerdictNone, "through the proxy"},
		"relays are off":   {api.Netcheck{Relays: relay("failed"), STUN: stun("192.0.2.1:1")}, api.VerdictDegraded, "no relay answers"},
		"no UDP":           {api.Netcheck{Relays: relay("reached"), STUN: stun(""), UDPBlocked: true, NAT: api.NAT{Type: api.NATBlocked}}, api.VerdictDegraded, "no UDP"},
		"one relay is off": {api.Netcheck{Relays: relay("connected", "failed"), STUN: stun("x"), NAT: api.NAT{Type: api.NATEndpoint}}, api.VerdictDegraded, "not every relay"},
		"a forwarded port": {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATSymmetric, Mapped: true}}, api.VerdictGood, "forwards a port"},
		"symmetric":        {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATSymmetric}}, api.VerdictDegraded, "only to peers with an open address"},
		"symmetric, IPv6":  {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATSymmetric}, IPv6: true}, api.VerdictDegraded, "over IPv6"},
		"punchable":        {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATEndpoint}}, api.VerdictGood, "punched"},
		"open":             {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATNone}}, api.VerdictGood, "no NAT"},
		"loopback only":    {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATNone, Public: []string{"127.0.0.1:1"}}}, api.VerdictGood, "on this machine"},
		"IPv6 only":        {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATUnknown}, IPv6: true}, api.VerdictGood, "IPv6"},
		"not found out":    {api.Netcheck{Relays: relay("connected"), NAT: api.NAT{Type: api.NATUnknown}}, api.VerdictDegraded, "could not be found out"},
	} {
		verdict, text, next := judgeNetwork(c.n)
		if verdict != c.want || !strings.Contains(text, c.text) || (next == "") != (verdict == api.VerdictGood) {
			t.Errorf("%s: %s, %q, next %q", name, verdict, text, next)
		}
	}
	for want, answers := range map[string][]api.STUNResult{"name a STUN server": nil, "name a second STUN server": stun("192.0.2.1:1")} {
		if _, _, next := judgeNetwork(api.Netcheck{Relays: relay("connected"), STUN: answers, NAT: api.NAT{Type: api.NATUnknown}}); !strings.HasPrefix(next, want) {
			t.Errorf("%d servers answered: %s", len(answers), next)
		}
	}
}

// stunOn runs a STUN server on loopback.
func stunOn(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ice.NewSTUN(conn, ice.STUNLimits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; conn.Close() })
	return conn.LocalAddr().String()
}

func TestNetcheckWithANodeAndWithout(t *testing.T) {
	s := newStation(t)
	at := stunOn(t)
	a := startNode(t, Config{Relays: []string{s.url}, STUN: []string{at}})
	eventually(t, "the relay", func() bool {
		st, err := a.api.Status(t.Context(), "")
		return err == nil && len(st.Relays) == 1 && st.Relays[0].State == "connected"
	})
	n, err := a.api.Netcheck(t.Context(), api.NetcheckRequest{})
	if err != nil || !n.Daemon || len(n.Relays) != 1 || n.Relays[0].State != "connected" || n.Relays[0].LatencyMS <= 0 {
		t.Fatalf("%+v, %v", n, err)
	}
	if len(n.STUN) != 1 || !strings.HasPrefix(n.STUN[0].Public, "127.0.0.1:") || n.NAT.Type != api.NATNone || n.Verdict != api.VerdictGood || n.UDPBlocked {
		t.Errorf("%+v", n)
	}
	// What was found out stands in why from then on.
	if w, err := a.api.Why(t.Context(), "", bob.String()); err != nil || w.Own == nil || w.Own.Type != api.NATNone {
		t.Errorf("%+v, %v", w.Own, err)
	}
	if _, err := a.api.Netcheck(t.Context(), api.NetcheckRequest{STUN: []string{"nowhere"}}); problemCode(err) != api.CodeInvalid {
		t.Errorf("a STUN server that is none: %v", err)
	}

	var said []string
	n = Survey(t.Context(), Servers{Relays: []string{s.url}, STUN: []string{at}}, func(line string) { said = append(said, line) })
	if n.Daemon || n.Relays[0].State != "reached" || n.NAT.Type != api.NATNone || n.Verdict != api.VerdictGood {
		t.Errorf("without a node: %+v", n)
	}
	if len(said) != 2 || said[0] != "asking "+s.url || !strings.Contains(said[1], at) {
		t.Errorf("said %q", said)
	}
	s.end()
	n = Survey(t.Context(), Servers{Relays: []string{s.url}}, func(string) {})
	if n.Verdict != api.VerdictNone || n.Relays[0].Error == "" {
		t.Errorf("with the relay gone: %+v", n)
	}
}

func TestShownNAT(t *testing.T) {
	v := shownNAT(ice.NAT{Public: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5")}, IPv6: netip.MustParseAddr("2001:db8::1")}, netip.MustParseAddr("192.0.2.1"))
	if v.Type != api.NATUnknown || !v.IPv6 || !v.Mapped || len(v.Public) != 1 || v.Public[0] != "192.0.2.1:5" {
		t.Errorf("%+v", v)
	}
}

// T63: a relay's word on where its STUN server is counts for its own machine.
func TestOnlyTheOwnerNamesSTUNServersAnywhere(t *testing.T) {
	m := &mesh{node: &Node{cfg: Config{STUN: []string{"10.0.0.9:3478"}, Relays: []string{"wss://relay.example/v1/connect", "ws://[fd00::1]:8765/v1/connect"}}}}
	for server, want := range map[string]bool{
		"10.0.0.9:3478": true, "10.0.0.9:53": false, "Relay.example:53": true, "[fd00::1]:3478": true, "relay.example.evil:3478": false, "10.0.0.1:3478": false,
	} {
		if got := m.sureSTUN(server); got != want {
			t.Errorf("%s: %v", server, got)
		}
	}
}
