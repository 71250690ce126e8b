package lan

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/miekg/dns"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/net/ipv4"
)

const (
	// serviceName is what is asked for by multicast DNS (lan.md §2).
	serviceName = "_amesh-discovery._udp.local."
	addrPrefix  = "dnsaddr="
	// answerTTL is how long an answer is said to hold, in seconds. We keep by our own
	// limits; it is for others who listen.
	answerTTL = 120
	// maxPacket is the longest packet that is read, in bytes.
	maxPacket = 9000
	// netsEvery is how often the interfaces are looked at.
	netsEvery = 5 * time.Second
)

var group = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

// multicast keeps a speaker on every network that is ours, until ctx ends.
func (s *Service) multicast(ctx context.Context) {
	type speaking struct {
		net  localNet
		stop context.CancelFunc
	}
	running := make(map[int]speaking)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(netsEvery)
	defer tick.Stop()
	instance := strings.ToLower(rand.Text()) + "." + serviceName
	for {
		nets := slices.DeleteFunc(s.cfg.networks(), func(n localNet) bool { return len(s.listening(n)) == 0 })
		for index, r := range running {
			same := func(n localNet) bool { return n.iface.Index == index && slices.Equal(n.addrs, r.net.addrs) }
			if !slices.ContainsFunc(nets, same) {
				r.stop()
				delete(running, index)
			}
		}
		for _, n := range nets {
			if _, ok := running[n.iface.Index]; ok {
				continue
			}
			inner, stop := context.WithCancel(ctx)
			running[n.iface.Index] = speaking{n, stop}
			wg.Go(func() {
				defer stop()
				s.keepSpeaking(inner, n, instance)
			})
		}
		select {
		case <-ctx.Done():
			for _, r := range running {
				r.stop()
			}
			return
		case <-tick.C:
		}
	}
}

// speaker is our part in the multicast DNS of one network.
type speaker struct {
	s        *Service
	net      localNet
	conn     *net.UDPConn
	instance string

	mu       sync.Mutex
	answered time.Time
}

// keepSpeaking speaks in one network until ctx ends.
func (s *Service) keepSpeaking(ctx context.Context, n localNet, instance string) {
	for ctx.Err() == nil {
		if err := s.speak(ctx, n, instance); err != nil {
			s.log.Debug("lan: no multicast", "interface", n.iface.Name, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Limits.Announce):
		}
	}
}

func (s *Service) speak(ctx context.Context, n localNet, instance string) error {
	conn, err := net.ListenMulticastUDP("udp4", &n.iface, group)
	if err != nil {
		return err
	}
	defer conn.Close()
	// For the other nodes of this machine.
	if err := ipv4.NewPacketConn(conn).SetMulticastLoopback(true); err != nil {
		s.log.Debug("lan: multicast loopback", "err", err)
	}
	sp := &speaker{s: s, net: n, conn: conn, instance: instance}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { sp.repeat(ctx) })
	return sp.read(ctx)
}

// repeat asks who is there, and says that we are: at once, after a second and three,
// then at the period.
func (sp *speaker) repeat(ctx context.Context) {
	wait := time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		q := new(dns.Msg)
		q.Question = []dns.Question{{Name: serviceName, Qtype: dns.TypePTR, Qclass: dns.ClassINET}}
		sp.send(q)
		sp.send(sp.answer())
		timer.Reset(wait)
		wait = min(2*wait, sp.s.cfg.Limits.Announce)
	}
}

func (sp *speaker) send(m *dns.Msg) {
	if m == nil {
		return
	}
	raw, err := m.Pack()
	if err == nil {
		_, err = sp.conn.WriteToUDP(raw, group)
	}
	if err != nil {
		sp.s.log.Debug("lan: multicast", "interface", sp.net.iface.Name, "err", err)
	}
}

// answer says that we are here, nil where we have no address in this network.
func (sp *speaker) answer() *dns.Msg {
	var texts []string
	for _, a := range sp.s.listening(sp.net) {
		texts = append(texts, addrPrefix+a.String()+"/p2p/"+sp.s.host.ID().String())
	}
	if len(texts) == 0 {
		return nil
	}
	head := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: answerTTL}
	}
	m := new(dns.Msg)
	m.Response, m.Authoritative = true, true
	m.Answer = []dns.RR{&dns.PTR{Hdr: head(serviceName, dns.TypePTR), Ptr: sp.instance}}
	m.Extra = []dns.RR{&dns.TXT{Hdr: head(sp.instance, dns.TypeTXT), Txt: texts}}
	return m
}

// listening are the addresses under which we listen in a network, none of another. Where
// there are none, we have nothing to say and nothing to ask.
func (s *Service) listening(n localNet) []ma.Multiaddr {
	addrs, err := s.host.Network().InterfaceListenAddresses()
	if err != nil {
		return nil
	}
	var list []ma.Multiaddr
	for _, a := range addrs {
		if ip, ok := ipOf(a); ok && len(list) < maxAddresses && slices.ContainsFunc(n.addrs, func(p netip.Prefix) bool { return p.Addr() == ip }) {
			list = append(list, a)
		}
	}
	return list
}

func (sp *speaker) read(ctx context.Context) error {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := sp.conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		// Only neighbours: a packet from elsewhere may want to make us answer to it.
		if sp.net.holds(from.Addr()) {
			sp.take(buf[:n])
		}
	}
}

// take answers a question and hears an answer. What is not for us is left alone.
func (sp *speaker) take(raw []byte) {
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		return
	}
	if !m.Response {
		ours := func(q dns.Question) bool {
			return strings.EqualFold(q.Name, serviceName) && (q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY)
		}
		if slices.ContainsFunc(m.Question, ours) && sp.mayAnswer() {
			sp.send(sp.answer())
		}
		return
	}
	for _, p := range nodesIn(m) {
		sp.s.heard(p)
	}
}

// mayAnswer keeps answers apart: many may ask at once, and all hear one answer.
func (sp *speaker) mayAnswer() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if time.Since(sp.answered) < sp.s.cfg.Limits.Answer {
		return false
	}
	sp.answered = time.Now()
	return true
}

// nodesIn are the nodes that an answer tells of, with addresses of theirs.
func nodesIn(m *dns.Msg) []peer.AddrInfo {
	var addrs []ma.Multiaddr
	for _, rr := range slices.Concat(m.Answer, m.Extra) {
		txt, ok := rr.(*dns.TXT)
		if !ok || !strings.HasSuffix(strings.ToLower(txt.Hdr.Name), "."+serviceName) {
			continue
		}
		for _, line := range txt.Txt {
			text, ok := strings.CutPrefix(line, addrPrefix)
			if !ok || len(addrs) >= maxAddresses {
				continue
			}
			if a, err := ma.NewMultiaddr(text); err == nil {
				addrs = append(addrs, a)
			}
		}
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil
	}
	return infos
}
