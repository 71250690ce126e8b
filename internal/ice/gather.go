package ice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	pion "github.com/pion/ice/v3"

	"amesh/internal/reach"
)

var (
	errSilent = errors.New("no answer")
	errInside = errors.New("an address that only the owner may name")
)

// gather returns our own addresses: as STUN servers see us first, since these lead
// furthest, then those of the interfaces.
func (p *Puncher) gather(ctx context.Context) []candidate {
	var list []candidate
	add := func(kind pion.CandidateType, at netip.AddrPort) {
		if at.IsValid() && len(list) < p.limits.Candidates && !slices.ContainsFunc(list, func(c candidate) bool { return c.at == at }) {
			list = append(list, candidate{at: at, kind: kind})
		}
	}
	hosts := p.hosts()
	for _, at := range p.reflexive(ctx) {
		if !slices.Contains(hosts, at) {
			add(pion.CandidateTypeServerReflexive, at)
		}
	}
	for _, at := range hosts {
		add(pion.CandidateTypeHost, at)
	}
	return list
}

// Addresses are where a peer may reach our sockets, as multiaddrs like Result.Remote:
// as STUN servers see us first. It takes up to Limits.Gather, and is nil when Run does
// not run.
func (p *Puncher) Addresses(ctx context.Context) []string {
	if p.ready(ctx) != nil {
		return nil
	}
	var list []string
	for _, c := range p.gather(ctx) {
		list = append(list, multiaddr(c.at))
	}
	return list
}

// hosts are the addresses of our sockets, wildcards resolved, public ones first.
func (p *Puncher) hosts() []netip.AddrPort {
	var list []netip.AddrPort
	own := ownAddresses()
	for _, s := range p.sockets {
		if ip := s.local.Addr(); !ip.IsUnspecified() {
			if !ip.IsLoopback() || p.loopback {
				list = append(list, s.local)
			}
			continue
		}
		for _, ip := range own {
			if ip.Is4() == s.is4() {
				list = append(list, netip.AddrPortFrom(ip, s.local.Port()))
			}
		}
	}
	slices.SortStableFunc(list, func(x, y netip.AddrPort) int {
		return cmp.Compare(rank(x.Addr()), rank(y.Addr()))
	})
	return list
}

func rank(ip netip.Addr) int {
	if reach.Public(ip) {
		return 0
	}
	return 1
}

// ownAddresses are those of the interfaces that are up, without loopback and link-local
// ones. The bridges that container engines make are left out unless there is nothing
// else: their addresses are the same on every machine, and lead to containers there.
func ownAddresses() []netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var list, bridges []netip.Addr
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, a := range addrs {
			n, err := netip.ParsePrefix(a.String())
			if ip := n.Addr().Unmap(); err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
				continue
			} else if containers(i.Name) {
				bridges = append(bridges, ip)
			} else {
				list = append(list, ip)
			}
		}
	}
	if len(list) == 0 {
		return bridges
	}
	return list
}

// containers reports whether an interface has the name of a container engine's bridge.
func containers(name string) bool {
	return slices.ContainsFunc([]string{"docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxcbr", "lxdbr", "cali"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// reflexive asks the STUN servers where they see each socket. It comes back when all
// have answered, when each socket was answered and the others had a little longer, or
// when the time for it is over.
func (p *Puncher) reflexive(ctx context.Context) []netip.AddrPort {
	servers := p.cfg.Servers()
	servers = servers[:min(len(servers), p.limits.Servers)]
	ctx, stop := context.WithTimeout(ctx, p.limits.Gather)
	defer stop()
	type found struct {
		socket int
		at     netip.AddrPort
	}
	results := make(chan found)
	waiting := make(map[int]int) // servers that may still answer, by socket without an answer
	for _, server := range servers {
		for _, s := range p.sockets {
			waiting[s.index]++
			go func() {
				at, err := p.ask(ctx, s, server)
				if err != nil {
					p.log.Debug("stun server gave no address", "server", server, "err", err)
				}
				results <- found{s.index, at}
			}()
		}
	}
	var list []netip.AddrPort
	for range len(servers) * len(p.sockets) {
		f := <-results
		if waiting[f.socket]--; f.at.IsValid() {
			list = append(list, f.at)
			delete(waiting, f.socket)
		} else if waiting[f.socket] <= 0 {
			delete(waiting, f.socket)
		}
		if len(waiting) == 0 && len(list) > 0 {
			more := time.AfterFunc(p.limits.GatherMore, stop)
			defer more.Stop()
		}
	}
	return list
}

// ask returns where a server sees a socket, from memory if it was asked a moment ago.
func (p *Puncher) ask(ctx context.Context, s *socket, server string) (netip.AddrPort, error) {
	key := fmt.Sprint(s.index, " ", server)
	p.mu.Lock()
	m, known := p.mapped[key]
	p.mu.Unlock()
	if known && time.Since(m.from) < p.limits.Mapping {
		return m.at, nil
	}
	at, err := p.resolve(ctx, server, s.is4())
	if err != nil {
		return netip.AddrPort{}, err
	}
	r, err := s.ask(ctx, at)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p.mu.Lock()
	p.mapped[key] = mapping{at: r.mapped, from: time.Now()}
	p.mu.Unlock()
	return r.mapped, nil
}

// resolve finds the address of a server, HOST:PORT, in one family, that may be asked.
func (p *Puncher) resolve(ctx context.Context, server string, v4 bool) (netip.AddrPort, error) {
	at, err := resolve(ctx, server, v4)
	if err == nil && !p.cfg.Sure(server) && !p.rules().Allow(at.Addr()) {
		return netip.AddrPort{}, fmt.Errorf("stun server %q: %w", server, errInside)
	}
	return at, err
}

// resolve finds the address of a server, HOST:PORT, in one family.
func resolve(ctx context.Context, server string, v4 bool) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("stun server %q: want HOST:PORT", server)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil || n == 0 {
		return netip.AddrPort{}, fmt.Errorf("stun server %q: want HOST:PORT", server)
	}
	network := "ip6"
	if v4 {
		network = "ip4"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("stun server %q: %w", server, err)
	}
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() == v4 {
			return netip.AddrPortFrom(ip, uint16(n)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("stun server %q: no address of this family", server)
}
