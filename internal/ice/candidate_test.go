package ice

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/ice/v3"
	"github.com/pion/stun/v2"

	"amesh/internal/reach"
)

func host(ip string) string { return "1 1 udp 2130706431 " + ip + " 47777 typ host" }

// T63: what a peer names leads to no service of our own machine or network, however it
// is spelt.
func TestCandidatesThatAreIgnored(t *testing.T) {
	home := reach.Rules{Interfaces: []netip.Prefix{netip.MustParsePrefix("192.168.1.20/24"), netip.MustParsePrefix("fd00:1::5/64")}}
	taken := []string{
		host("8.9.10.11"), host("2606:4700::1"), host("192.168.1.77"), host("fd00:1::77"),
		"842163049 1 udp 1694498815 8.9.10.11 1 typ srflx raddr 10.0.0.1 rport 5000",
		"a+/ 1 udp 0 203.0.113.9 65535 typ srflx",
	}
	refused := []string{
		// This machine.
		host("127.0.0.1"), host("127.0.0.53"), host("127.255.255.254"), host("::1"), host("0.0.0.0"), host("0.1.2.3"), host("::"),
		// Networks that we are not in.
		host("10.0.0.1"), host("10.255.255.255"), host("172.16.0.1"), host("172.31.255.1"), host("192.168.0.1"), host("192.168.2.77"),
		host("100.64.0.1"), host("100.127.255.1"), host("169.254.1.1"), host("192.0.0.8"), host("198.18.0.1"), host("198.19.255.1"),
		host("fc00::1"), host("fd00:2::1"), host("fe80::1"), host("febf::1"), host("fec0::1"),
		// Where clouds keep secrets.
		host("169.254.169.254"), host("169.254.170.2"), host("100.100.100.200"), host("fd00:ec2::254"),
		// Nobody's.
		host("224.0.0.1"), host("239.255.255.250"), host("240.0.0.1"), host("255.255.255.255"), host("ff02::1"), host("ff05::1:3"),
		// IPv4 in IPv6 clothes.
		host("::ffff:127.0.0.1"), host("::ffff:7f00:1"), host("::ffff:8.9.10.11"), host("::ffff:a9fe:a9fe"), host("::127.0.0.1"), host("::10.0.0.1"),
		host("64:ff9b::a00:1"), host("64:ff9b::10.0.0.1"), host("64:ff9b:1::1"), host("2002:a00:1::1"), host("2001::1"), host("::ffff:0:10.0.0.1"),
		// Other spellings of addresses.
		host("127.1"), host("2130706433"), host("0x7f000001"), host("0177.0.0.1"), host("127.000.000.001"), host("0127.0.0.1"),
		host("fe80::1%eth0"), host("8.9.10.11%eth0"), host("[::1]"), host("[2606:4700::1]"), host("2606:4700:0::1"), host("2606:4700::0001"), host("2606:4700::A"),
		host("8.9.10.11/32"), host("8.9.10.11."), host("８.9.10.11"), host(" 8.9.10.11"), host(""),
		// Names.
		host("localhost"), host("example.com"), host("4f1c7d1e-7c2a-4a55-8d0a-3f5f2f8a5c11.local"),
		// Other protocols and kinds.
		strings.Replace(host("8.9.10.11"), "udp", "tcp", 1) + " tcptype passive",
		strings.Replace(host("8.9.10.11"), "udp", "tcp", 1),
		strings.Replace(host("8.9.10.11"), "udp", "udp4", 1),
		strings.Replace(host("8.9.10.11"), "udp", "UDP", 1),
		strings.Replace(host("8.9.10.11"), "host", "relay", 1),
		strings.Replace(host("8.9.10.11"), "host", "prflx", 1),
		strings.Replace(host("8.9.10.11"), " 1 udp", " 2 udp", 1),
		// Ports.
		strings.Replace(host("8.9.10.11"), "47777", "0", 1),
		strings.Replace(host("8.9.10.11"), "47777", "65536", 1),
		strings.Replace(host("8.9.10.11"), "47777", "-1", 1),
		strings.Replace(host("8.9.10.11"), "47777", "+53", 1),
		strings.Replace(host("8.9.10.11"), "47777", "053", 1),
		strings.Replace(host("8.9.10.11"), "47777", "0x35", 1),
		strings.Replace(host("8.9.10.11"), "47777", "domain", 1),
		// Not the form.
		"", "candidate:" + host("8.9.10.11"), "1 1 udp 1 8.9.10.11 47777", "1 1 udp 1 8.9.10.11 47777 typ", host("8.9.10.11") + "\n",
		"1 1 udp x 8.9.10.11 47777 typ host", "1\t1\tudp\t1\t8.9.10.11\t47777\ttyp\thost", "1  1 udp 1 8.9.10.11 47777 typ host",
		host("8.9.10.11") + strings.Repeat(" x", 100),
	}
	if len(refused) < 60 {
		t.Fatalf("%d spellings", len(refused))
	}
	for _, text := range taken {
		if list, no := pick([]string{text}, home, 16); len(list) != 1 || len(no) != 0 {
			t.Errorf("%q is refused: %v", text, no)
		}
	}
	for _, text := range refused {
		t.Run(text, func(t *testing.T) {
			list, no := pick([]string{text}, home, 16)
			if len(list) != 0 || len(no) != 1 || no[0] == "" {
				t.Errorf("taken: %v, refused: %v", list, no)
			}
		})
	}
}

// T63: what goes beyond the limit is not looked at, and an address named twice counts once.
func TestCandidatesAreCounted(t *testing.T) {
	var texts []string
	for i := range 40 {
		texts = append(texts, host(fmt.Sprintf("8.9.10.%d", i/2)))
	}
	list, refused := pick(texts, reach.Rules{}, 16)
	if len(list) != 8 || len(refused) != 1 || !strings.HasPrefix(refused[0], "24 more") {
		t.Errorf("%d taken, refused %v", len(list), refused)
	}
}

// T63: a peer that names one victim under many ports, and checks that seem to come from
// it, make us send it no more than the named number of packets.
func TestNobodyIsFlooded(t *testing.T) {
	l := DefaultLimits()
	l.Time = time.Second
	p := run(t, Config{Limits: l})
	a := begin(t, p)
	victim := listen(t)
	at, err := addrPort(victim.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	d := Description{Ufrag: "abcd", Password: strings.Repeat("x", 22)}
	for i := range 16 {
		text, err := candidate{at: at, kind: pion.CandidateTypeHost}.text()
		if err != nil {
			t.Fatal(err)
		}
		d.Candidates = append(d.Candidates, text)
		port, err := candidate{at: netip.AddrPortFrom(at.Addr(), uint16(1+i)), kind: pion.CandidateTypeHost}.text()
		if err != nil {
			t.Fatal(err)
		}
		d.Candidates = append(d.Candidates, port)
	}
	// The victim's address with a check that names the attempt, again and again.
	request := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(a.ufrag+":abcd"),
		pion.AttrControlled(1), pion.PriorityAttr(1), stun.NewShortTermIntegrity(a.password), stun.Fingerprint)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 200 {
			_, _ = victim.WriteTo(request.Raw, net.UDPAddrFromAddrPort(p.sockets[0].local))
		}
	}()
	_, _ = a.Punch(t.Context(), d, true)
	<-sent
	a.Close()
	checks, answers := 0, 0
	a.budget.mu.Lock()
	for _, s := range a.budget.perIP {
		checks, answers = checks+s.checks, answers+s.answers
	}
	a.budget.mu.Unlock()
	if checks == 0 || checks > l.ChecksPerAddress || answers == 0 || answers > l.ChecksPerAddress {
		t.Errorf("%d checks and %d answers, want 1 to %d of each", checks, answers, l.ChecksPerAddress)
	}
}

// A peer whose checks come from ever new ports makes pion keep no more of them than there
// may be checks.
func TestChecksFromEverywhereAreNotKept(t *testing.T) {
	p := run(t, Config{})
	a := begin(t, p)
	done := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		_, _ = a.Punch(ctx, Description{Ufrag: "abcd", Password: strings.Repeat("x", 22)}, true)
	}()
	in := a.ports[0].in
	for port := range uint16(500) {
		request := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(a.ufrag+":abcd"),
			pion.AttrControlled(1), pion.PriorityAttr(1), stun.NewShortTermIntegrity(a.password), stun.Fingerprint)
		for len(in) == cap(in) {
			runtime.Gosched()
		}
		a.ports[0].hear(datagram{data: request.Raw, from: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 20000+port)})
	}
	for len(in) > 0 {
		runtime.Gosched()
	}
	kept, err := a.agent.GetRemoteCandidates()
	if most := p.limits.Checks; err != nil || len(kept) == 0 || len(kept) > most {
		t.Errorf("%d addresses are kept (%v), want up to %d", len(kept), err, most)
	}
	stop()
	<-done
}

func TestBudgetOfAnAttempt(t *testing.T) {
	l := DefaultLimits()
	for pairs, want := range map[int]int{0: 7, 1: 7, 6: 7, 8: 5, 16: 2, 32: 2} {
		due := schedule(pairs, l)
		if len(due) != want || due[0] != 0 || due[len(due)-1] >= l.Time {
			t.Errorf("%d pairs: %v, want %d checks within %v", pairs, due, want, l.Time)
		}
	}
	// Every address the peer named, forever: the total holds.
	b := newBudget(l)
	now := time.Unix(1000, 0)
	b.begin(16, now)
	sent := 0
	for range 1000 {
		for i := range 40 {
			p := pair{remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, byte(i)}), 1)}
			b.heard(p)
			if b.check(p, now) {
				sent++
			}
		}
		now = now.Add(10 * time.Millisecond)
	}
	if sent != l.Checks {
		t.Errorf("%d checks, want %d", sent, l.Checks)
	}
}

func FuzzCandidate(f *testing.F) {
	f.Add(host("8.9.10.11"))
	f.Add(host("::ffff:127.0.0.1"))
	f.Add("842163049 1 udp 1694498815 8.9.10.11 1 typ srflx raddr 10.0.0.1 rport 5000")
	f.Add(host("2606:4700::1"))
	f.Fuzz(func(t *testing.T, text string) {
		list, refused := pick([]string{text}, reach.Rules{}, 16)
		if len(list)+len(refused) != 1 {
			t.Fatalf("%v %v", list, refused)
		}
		for _, c := range list {
			if !reach.Public(c.at.Addr()) || c.at.Port() == 0 || c.at.Addr().Is4In6() {
				t.Fatalf("%q is taken as %v", text, c.at)
			}
			again, err := c.text()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := parseCandidate(again); err != nil || back != c {
				t.Fatalf("%q reads back as %v (%v), was %v", again, back, err, c)
			}
		}
	})
}
