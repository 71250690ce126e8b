package ice

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"
)

// serveTwo runs a server with two ports of 127.0.0.1 and returns its first.
func serveTwo(t *testing.T) (*STUN, string, string) {
	t.Helper()
	var conns []*net.UDPConn
	for range 2 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	s, err := NewSTUN(conns[0], STUNLimits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Also(conns[1])
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return s, conns[0].LocalAddr().String(), conns[1].LocalAddr().String()
}

// One server with two ports is enough to compare.
func TestOneServerIsAskedAtBothPorts(t *testing.T) {
	s, first, second := serveTwo(t)
	p := run(t, Config{Servers: func() []string { return []string{first} }})
	nat, err := p.Detect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if nat.Kind != NATNone || len(nat.Servers) != 2 || s.Counts().Answered != 2 || len(nat.Public) != 1 {
		t.Errorf("%+v, answered %d", nat, s.Counts().Answered)
	}
	for _, r := range nat.Servers {
		if at := r.Asked.String(); r.Err != nil || r.RTT <= 0 || r.Server != first || (at != first && at != second) {
			t.Errorf("%+v", r)
		}
	}
}

// A server that answers with whatever a NAT would have made of the asker's address.
func nat(t *testing.T, mapped func(from netip.AddrPort) netip.AddrPort) string {
	t.Helper()
	c := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			m := stun.Message{Raw: buf[:n]}
			if m.Decode() != nil {
				continue
			}
			ap, _ := addrPort(from)
			to := mapped(ap)
			out := stun.MustBuild(&m, stun.BindingSuccess, &stun.XORMappedAddress{IP: to.Addr().AsSlice(), Port: int(to.Port())})
			_, _ = c.WriteTo(out.Raw, from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c.LocalAddr().String()
}

func TestKindsOfNAT(t *testing.T) {
	at := func(s string) func(netip.AddrPort) netip.AddrPort {
		return func(netip.AddrPort) netip.AddrPort { return netip.MustParseAddrPort(s) }
	}
	same := func(ap netip.AddrPort) netip.AddrPort { return ap }
	type mappings []func(netip.AddrPort) netip.AddrPort
	for name, c := range map[string]struct {
		servers mappings
		want    NATKind
	}{
		"the same for all":                 {mappings{at("8.9.10.11:5000"), at("8.9.10.11:5000")}, NATEndpoint},
		"another port":                     {mappings{at("8.9.10.11:5000"), at("8.9.10.11:5001")}, NATSymmetric},
		"another address":                  {mappings{at("8.9.10.11:5000"), at("8.9.10.12:5000")}, NATSymmetric},
		"no NAT":                           {mappings{same, same}, NATNone},
		"one server says nothing":          {mappings{at("8.9.10.11:5000")}, NATUnknown},
		"one relay at home, one outside":   {mappings{same, at("8.9.10.11:5000")}, NATUnknown},
		"one relay at home, two outside":   {mappings{same, at("8.9.10.11:5000"), at("8.9.10.11:5000")}, NATEndpoint},
		"one at home, symmetric otherwise": {mappings{same, at("8.9.10.11:1"), at("8.9.10.11:2")}, NATSymmetric},
	} {
		t.Run(name, func(t *testing.T) {
			var servers []string
			for _, m := range c.servers {
				servers = append(servers, nat(t, m))
			}
			got, err := run(t, Config{Servers: func() []string { return servers }}).Detect(t.Context())
			if err != nil || got.Kind != c.want {
				t.Errorf("%s, %v; want %s; %+v", got.Kind, err, c.want, got.Servers)
			}
		})
	}
}

func TestBlockedIsNotUnknown(t *testing.T) {
	silent := listen(t)
	got, err := Detect(t.Context(), []string{silent.LocalAddr().String()})
	if err != nil || got.Kind != NATBlocked || len(got.Public) != 0 || len(got.Servers) != 1 || got.Servers[0].Err == nil {
		t.Errorf("%+v, %v", got, err)
	}
	for _, servers := range [][]string{nil, {"127.0.0.1"}, {"stun.invalid:x"}} {
		if got, err := Detect(t.Context(), servers); err != nil || got.Kind != NATUnknown {
			t.Errorf("%v: %+v, %v", servers, got, err)
		}
	}
}

func TestDetectFromSocketsOfItsOwn(t *testing.T) {
	_, first, _ := serveTwo(t)
	got, err := Detect(t.Context(), []string{first})
	if err != nil || got.Kind != NATNone || len(got.Servers) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// T64: the second port is told only where the answer is no longer than the question.
func TestSecondPortMakesNoAnswerLonger(t *testing.T) {
	a := answerer{other: 3479}
	for _, from := range []string{"192.0.2.1:1", "[2001:db8::1]:1"} {
		_, long := bindingRequest()
		if out, _ := a.answer(long, netip.MustParseAddrPort(from)); len(out) > len(long) || !hasOther(t, out) {
			t.Errorf("%s: %d bytes to %d, other %v", from, len(out), len(long), hasOther(t, out))
		}
		short := unhex(t, "000100002112a442"+transaction)
		if out, _ := a.answer(short, netip.MustParseAddrPort(from)); hasOther(t, out) {
			t.Errorf("%s: the short question is answered at length", from)
		}
	}
}

func hasOther(t *testing.T, raw []byte) bool {
	t.Helper()
	m := stun.Message{Raw: raw}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	return m.Contains(stun.AttrOtherAddress)
}
