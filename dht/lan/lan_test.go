package lan

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"amesh/dht"
	"amesh/identity"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/ipfs/go-log/v2/writer.(*MirrorWriter).logRoutine")); err != nil {
			os.Stderr.WriteString(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	k, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := dht.NewHost(dht.HostConfig{Key: newKey(t), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func info(h host.Host) peer.AddrInfo {
	return peer.AddrInfo{ID: h.ID(), Addrs: h.Network().ListenAddresses()}
}

func exchangeKey(t *testing.T) [32]byte {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(k.PublicKey().Bytes())
}

// record is what an agent would publish, from a time on.
func record(t *testing.T, key identity.PrivateKey, sequence uint64, from time.Time) []byte {
	t.Helper()
	kem, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	from, until := from.Truncate(time.Second), from.Truncate(time.Second).Add(time.Hour)
	bundle, err := identity.SignBundle(key, identity.Bundle{
		Epoch: 1, Sequence: 1, Created: from, Expires: until,
		Certificate:    identity.KeyCertificate{Exchange: exchangeKey(t), Created: from, Expires: until},
		SignedPrekeyID: 1, SignedPrekey: exchangeKey(t), KEMKeyID: 1, KEMKey: kem.EncapsulationKey().Bytes(),
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := identity.SignRecord(key, identity.AgentRecord{Sequence: sequence, Created: from, Expires: until}, bundle)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func presence(t *testing.T, key identity.PrivateKey, at peer.ID, from time.Time) []byte {
	t.Helper()
	raw, err := identity.SignPresence(key, identity.Presence{PeerID: []byte(at), Issued: from.Truncate(time.Second), Expires: from.Truncate(time.Second).Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func card(t *testing.T, key identity.PrivateKey, from time.Time) []byte {
	t.Helper()
	raw, err := identity.SignCard(key, identity.Card{
		Sequence: 1, Issued: from.Truncate(time.Second), Expires: from.Truncate(time.Second).Add(identity.CardLife),
		Name: "Bot", Capabilities: []identity.Capability{{ID: "travel/flights", Category: "travel"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// start runs a Service for one agent, in networks where multicast is not tried.
func start(t *testing.T, h host.Host, key identity.PrivateKey) (*Service, chan []identity.AMID) {
	t.Helper()
	appeared := make(chan []identity.AMID, 16)
	own := []Own{{record(t, key, 1, time.Now()), presence(t, key, h.ID(), time.Now()), card(t, key, time.Now())}}
	s, err := New(h, Config{
		Own: func() []Own { return own }, Appeared: func(list []identity.AMID) { appeared <- list },
		networks: func() []localNet { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for !slices.Contains(h.Mux().Protocols(), Protocol) {
		time.Sleep(time.Millisecond)
	}
	return s, appeared
}

func wait(t *testing.T, appeared chan []identity.AMID, want identity.AMID) {
	t.Helper()
	select {
	case list := <-appeared:
		if !slices.Contains(list, want) {
			t.Fatalf("%s appeared, want %s", list, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody appeared within 20 s")
	}
}

func TestNeighboursTellEachOtherOfTheirAgents(t *testing.T) {
	t.Parallel()
	ann, bob := newKey(t), newKey(t)
	ha, hb := newHost(t), newHost(t)
	a, atAnn := start(t, ha, ann)
	b, atBob := start(t, hb, bob)
	a.heard(info(hb))
	wait(t, atAnn, bob.AMID())
	wait(t, atBob, ann.AMID())
	n, ok := a.Find(bob.AMID())
	if !ok || n.PeerID != hb.ID().String() || len(n.Addresses) != 2 || n.Record.AMID != bob.AMID() ||
		n.Card == nil || n.Card.Agent != bob.AMID() {
		t.Errorf("Ann knows %+v", n)
	}
	if n, ok := b.Find(ann.AMID()); !ok || n.PeerID != ha.ID().String() || len(n.Addresses) == 0 {
		t.Errorf("Bob knows %+v", n)
	}
	a.mu.Lock()
	clear(a.tried) // as if it was ten seconds later
	a.mu.Unlock()
	later := []Own{{record(t, ann, 2, time.Now()), presence(t, ann, ha.ID(), time.Now()), nil}}
	a.cfg.Own = func() []Own { return later }
	a.Changed()
	wait(t, atBob, ann.AMID())
	if n, _ := b.Find(ann.AMID()); n.Record.Sequence != 2 || n.Card != nil {
		t.Errorf("Bob knows %+v after what changed", n)
	}
	if _, ok := a.Find(newKey(t).AMID()); ok {
		t.Error("somebody who is not here was found")
	}
}

// Whoever says that it has an agent, has that agent's word for it or is not believed.
func TestStrangersWordIsNotBelieved(t *testing.T) {
	key, mallory, now := newKey(t), newKey(t), time.Now()
	here, there := newHost(t).ID(), newHost(t).ID()
	good := record(t, key, 1, now)
	old := now.Add(-2 * time.Hour)
	flip := func(raw []byte) []byte {
		raw = bytes.Clone(raw)
		raw[len(raw)-1] ^= 1
		return raw
	}
	for name, c := range map[string]struct {
		own  Own
		want int
	}{
		"its own agent":         {Own{good, presence(t, key, here, now), nil}, 1},
		"a word for elsewhere":  {Own{good, presence(t, key, there, now), nil}, 0},
		"somebody else's word":  {Own{good, presence(t, mallory, here, now), nil}, 0},
		"an old word":           {Own{good, presence(t, key, here, old), nil}, 0},
		"a forged word":         {Own{good, flip(presence(t, key, here, now)), nil}, 0},
		"no word":               {Own{Record: good}, 0},
		"a forged record":       {Own{flip(good), presence(t, key, here, now), nil}, 0},
		"an expired record":     {Own{record(t, key, 1, old), presence(t, key, here, now), nil}, 0},
		"a record of tomorrow":  {Own{record(t, key, 1, now.Add(24*time.Hour)), presence(t, key, here, now), nil}, 0},
		"nothing that is known": {Own{[]byte{1}, []byte{2}, []byte{3}}, 0},
	} {
		agents, err := parseGreeting(encodeGreeting([]Own{c.own}))
		if err != nil {
			t.Fatal(err)
		}
		if got := believe(agents, here, now); len(got) != c.want {
			t.Errorf("%s: %d believed, want %d", name, len(got), c.want)
		}
	}
}

// A card counts when its agent signed it, and it holds; the agent is here either way.
func TestCardsOfNeighboursAreTheirOwn(t *testing.T) {
	key, mallory, now := newKey(t), newKey(t), time.Now()
	here := newHost(t).ID()
	forged := card(t, key, now)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		card []byte
		want bool
	}{
		"its own":         {card(t, key, now), true},
		"somebody else's": {card(t, mallory, now), false},
		"forged":          {forged, false},
		"of last month":   {card(t, key, now.AddDate(0, -1, 0)), false},
		"none":            {nil, false},
		"garbage":         {[]byte{1, 2, 3}, false},
	} {
		got := believe([]Own{{record(t, key, 1, now), presence(t, key, here, now), c.card}}, here, now)
		if len(got) != 1 || (got[0].card != nil) != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestMeetingIsBounded(t *testing.T) {
	t.Parallel()
	h, stranger := newHost(t), newHost(t)
	s, _ := start(t, h, newKey(t))
	if err := stranger.Connect(context.Background(), info(h)); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"endless greeting": {0xFF, 0xFF, 0xFF, 0xFF, 1},
		"empty greeting":   {0, 0, 0, 0},
		"seventeen agents": {0, 0, 0, 1, 17},
		"cut":              {0, 0, 0, 9, 1, 0},
	} {
		st, err := stranger.NewStream(context.Background(), h.ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = st.Write(raw)
		_ = st.CloseWrite()
		if answer, err := readFrame(st); err == nil {
			t.Errorf("%s: answered with %d bytes", name, len(answer))
		}
		_ = st.Reset()
	}
	if len(s.Neighbours()) != 0 {
		t.Error("a neighbour out of nothing")
	}
}

// A node elsewhere learns nothing, and is not dialled.
func TestOnlyTheLocalNetworkIsTold(t *testing.T) {
	h := newHost(t)
	s, err := New(h, Config{Own: func() []Own { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"/ip4/8.8.8.8/tcp/1": 0, "/ip4/127.0.0.1/tcp/1": 1, "/ip4/203.0.113.9/udp/1/quic-v1": 0, "/dns4/printer.local/tcp/1": 0, "/ip4/192.0.0.9/tcp/1": 0,
	} {
		p, err := peer.AddrInfoFromString(text + "/p2p/" + h.ID().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.near(p.Addrs); len(got) != want {
			t.Errorf("%s: %d addresses, want %d", text, len(got), want)
		}
	}
}

func TestTableForgetsAndIsBounded(t *testing.T) {
	limits := DefaultLimits()
	limits.Neighbours = 2
	tab, key, now := newTable(limits), newKey(t), time.Now()
	rec := func(sequence uint64) *identity.AgentRecord {
		r, err := identity.ParseAgentRecord(record(t, key, sequence, now))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := rec(1), rec(2)
	put := func(id string, at time.Time, r *identity.AgentRecord, addrs ...string) int {
		return len(tab.put(peer.ID(id), &met{at: at, agents: []told{{record: r}}, addresses: addrs}))
	}
	if put("a", now, first, "x") != 1 || put("a", now, first, "x") != 0 {
		t.Error("only the first meeting is news")
	}
	if put("a", now, second, "x") != 1 || put("a", now, second, "y") != 1 {
		t.Error("a new record or a new address is news")
	}
	if tab.due("a", now) || !tab.due("a", now.Add(limits.Renew)) || !tab.due("b", now) {
		t.Error("due at the wrong time")
	}
	tab.put("b", &met{at: now})
	if tab.due("b", now) || !tab.due("b", now.Add(limits.Retry)) {
		t.Error("a node that had no agents yet is met again at the wrong time")
	}
	put("b", now.Add(time.Second), first)
	if put("c", now, first) != 0 || tab.due("c", now) || len(tab.all(now, now)) != 2 {
		t.Error("a third neighbour where two have room")
	}
	if got := tab.all(now.Add(time.Second), now); got[0].PeerID != peer.ID("b").String() {
		t.Errorf("first is %s, want who was met last", got[0].PeerID)
	}
	if got := tab.all(now.Add(limits.Keep+1), now); len(got) != 1 {
		t.Errorf("%d neighbours after their time, want 1", len(got))
	}
	if got := tab.all(now.Add(limits.Keep), now.Add(2*time.Hour)); len(got) != 0 {
		t.Error("an expired record is shown")
	}
}

func TestPrivateNetworksOnly(t *testing.T) {
	for name, c := range map[string]struct {
		addrs []string
		want  int
	}{
		"home":                     {[]string{"192.168.1.5/24", "2001:db8::1/64", "fe80::1/64"}, 1},
		"home with a ULA":          {[]string{"10.0.0.5/8", "fd00::5/64"}, 2},
		"a server on the internet": {[]string{"8.8.8.8/24"}, 0},
		"both":                     {[]string{"10.0.0.5/8", "8.8.8.8/24"}, 0},
		"IPv6 only":                {[]string{"2001:db8::1/64", "fd00::5/64"}, 0},
		"a cable between two":      {[]string{"169.254.3.4/16"}, 1},
		"nothing":                  {nil, 0},
	} {
		var addrs []net.Addr
		for _, a := range c.addrs {
			ip, n, err := net.ParseCIDR(a)
			if err != nil {
				t.Fatal(err)
			}
			addrs = append(addrs, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		if got := privateOnly(addrs); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

// speakerOf is a speaker without a socket.
func speakerOf(t *testing.T, addrs ...string) *speaker {
	t.Helper()
	s, err := New(newHost(t), Config{Own: func() []Own { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	n := localNet{}
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParsePrefix(a))
	}
	return &speaker{s: s, net: n, instance: "x." + serviceName}
}

func TestMulticastTellsPeerIDAndAddressesOfThatNetwork(t *testing.T) {
	sp := speakerOf(t, "127.0.0.1/8")
	raw, err := sp.answer().Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		t.Fatal(err)
	}
	nodes := nodesIn(m)
	if len(nodes) != 1 || nodes[0].ID != sp.s.host.ID() || len(nodes[0].Addrs) != 2 {
		t.Errorf("read %v", nodes)
	}
	if other := speakerOf(t, "192.168.7.7/24"); other.answer() != nil {
		t.Error("addresses of another network are told")
	}
	if !sp.net.holds(netip.MustParseAddr("::ffff:127.3.4.5")) || sp.net.holds(netip.MustParseAddr("8.8.8.8")) {
		t.Error("neighbours are told from strangers wrongly")
	}
	if !sp.mayAnswer() || sp.mayAnswer() {
		t.Error("two answers in one second")
	}
}

func TestHostileMulticastIsLeftAlone(t *testing.T) {
	id := newHost(t).ID().String()
	txt := func(name string, lines ...string) *dns.Msg {
		m := new(dns.Msg)
		m.Response = true
		m.Extra = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: lines}}
		return m
	}
	many := slices.Repeat([]string{"dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/" + id}, 100)
	for name, c := range map[string]struct {
		m    *dns.Msg
		want int
	}{
		"another service": {txt("x._p2p._udp.local.", many[0]), 0},
		"no address":      {txt("x."+serviceName, "hello"), 0},
		"no peer id":      {txt("x."+serviceName, "dnsaddr=/ip4/10.0.0.1/tcp/1"), 0},
		"noise":           {txt("x."+serviceName, "dnsaddr=\x00\xff"), 0},
		"a hundred":       {txt("x."+serviceName, many...), 1},
	} {
		got := nodesIn(c.m)
		if len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
		for _, p := range got {
			if len(p.Addrs) > maxAddresses {
				t.Errorf("%s: %d addresses", name, len(p.Addrs))
			}
		}
	}
	speakerOf(t, "127.0.0.1/8").take([]byte{1, 2, 3})
}

func FuzzGreeting(f *testing.F) {
	f.Add(encodeGreeting([]Own{{[]byte{1}, []byte{2, 3}, []byte{4}}, {}}))
	f.Add([]byte{17})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if agents, err := parseGreeting(raw); err == nil && !bytes.Equal(encodeGreeting(agents), raw) {
			t.Errorf("%x is written differently", raw)
		}
	})
}

func FuzzMulticast(f *testing.F) {
	m := new(dns.Msg)
	m.Question = []dns.Question{{Name: serviceName, Qtype: dns.TypePTR, Qclass: dns.ClassINET}}
	raw, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(binary.BigEndian.AppendUint64(nil, 1<<40))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(dns.Msg)
		if m.Unpack(raw) == nil {
			nodesIn(m)
		}
	})
}
