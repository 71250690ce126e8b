package ice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/internal/reach"
)

// NATKind is how a node's UDP packets are seen from outside.
type NATKind string

// The kinds, the easiest first.
const (
	// NATNone: the address seen from outside is our own. A firewall may still be there.
	NATNone NATKind = "none"
	// NATEndpoint: one outside address for all destinations; punching works.
	NATEndpoint NATKind = "endpoint"
	// NATSymmetric: another outside address for each destination. What a server saw is of
	// no use to a peer, unless that one's NAT is easier.
	NATSymmetric NATKind = "symmetric"
	// NATBlocked: servers were asked, and none answered.
	NATBlocked NATKind = "blocked"
	// NATUnknown: there were not two answers to compare.
	NATUnknown NATKind = "unknown"
)

// NAT is what is between a node and the world.
type NAT struct {
	Kind    NATKind          // for IPv4, unless only IPv6 was answered
	Public  []netip.AddrPort // our addresses as seen from outside, each once
	IPv4    bool             // there is an IPv4 address that is not loopback
	IPv6    netip.Addr       // a public IPv6 address of ours; invalid: none
	Servers []ServerResult
}

// ServerResult is what one STUN server said over one address family. A server that has a
// second port is there twice.
type ServerResult struct {
	Server string         // as configured
	Asked  netip.AddrPort // invalid: it has no address
	Public netip.AddrPort // where it saw us
	RTT    time.Duration
	Err    error
}

// Detect finds out what is between this machine and the world, from sockets of its own.
// The kind takes two answers from different addresses or ports, seen from one socket: of
// two servers, or of one that has two ports, as our relays have. It takes up to 3 s. An
// error says that nothing could be asked at all.
func Detect(ctx context.Context, servers []string) (NAT, error) {
	p, err := New(Config{Sockets: anySockets, Servers: func() []string { return servers }})
	if err != nil {
		return NAT{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	nat, err := p.Detect(ctx)
	stop()
	return nat, errors.Join(err, <-done)
}

// anySockets opens a socket for each family that this machine has.
func anySockets() ([]net.PacketConn, error) {
	v4, err4 := net.ListenPacket("udp4", "0.0.0.0:0")
	v6, err6 := net.ListenPacket("udp6", "[::]:0")
	var list []net.PacketConn
	for _, c := range []net.PacketConn{v4, v6} {
		if c != nil {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil, errors.Join(err4, err6)
	}
	return list, nil
}

// Detect is like the function of this name, from the sockets that the Puncher has: these
// are the ones that matter, and a port that the router forwards shows.
func (p *Puncher) Detect(ctx context.Context) (NAT, error) {
	if err := p.ready(ctx); err != nil {
		return NAT{}, fmt.Errorf("ice: %w", err)
	}
	own := ownAddresses()
	nat := NAT{Kind: NATUnknown, IPv4: slices.ContainsFunc(own, netip.Addr.Is4)}
	if i := slices.IndexFunc(own, func(ip netip.Addr) bool { return ip.Is6() && reach.Public(ip) }); i >= 0 {
		nat.IPv6 = own[i]
	}
	servers := p.cfg.Servers()
	servers = servers[:min(len(servers), p.limits.Servers)]
	if len(servers) == 0 {
		return nat, nil
	}
	kinds := make(map[bool]NATKind) // by family
	for _, s := range p.sockets {
		results := p.survey(ctx, s, servers)
		nat.Servers = append(nat.Servers, results...)
		if kind := judge(results, s.local.Port(), own); kinds[s.is4()] == "" || kind != NATUnknown {
			kinds[s.is4()] = kind
		}
	}
	if err := ctx.Err(); err != nil {
		return nat, fmt.Errorf("ice: %w", err)
	}
	// That a server has no address in one family is worth a word only if it has none.
	nat.Servers = slices.DeleteFunc(nat.Servers, func(r ServerResult) bool {
		return !r.Asked.IsValid() && slices.ContainsFunc(nat.Servers, func(o ServerResult) bool { return o.Server == r.Server && o.Asked.IsValid() })
	})
	nat.Kind = verdictOf(kinds, nat.Servers)
	for _, r := range nat.Servers {
		if r.Public.IsValid() && !slices.Contains(nat.Public, r.Public) {
			nat.Public = append(nat.Public, r.Public)
		}
	}
	slices.SortFunc(nat.Servers, func(x, y ServerResult) int {
		return strings.Compare(x.Server+x.Asked.String(), y.Server+y.Asked.String())
	})
	return nat, nil
}

// survey asks all servers of a socket's family at once, their second ports after that.
func (p *Puncher) survey(ctx context.Context, s *socket, servers []string) []ServerResult {
	var mu sync.Mutex
	var list []ServerResult
	add := func(server string, at netip.AddrPort) reply {
		r, err := s.ask(ctx, at)
		mu.Lock()
		defer mu.Unlock()
		list = append(list, ServerResult{Server: server, Asked: at, Public: r.mapped, RTT: r.took, Err: err})
		return r
	}
	rules := p.rules()
	var asking sync.WaitGroup
	for _, server := range servers {
		asking.Go(func() {
			at, err := p.resolve(ctx, server, s.is4())
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				list = append(list, ServerResult{Server: server, Err: err})
				return
			}
			// Where else a server listens is its word alone, and judged like a peer's.
			r := add(server, at)
			if o := r.other; o.IsValid() && o != at && o.Addr().Is4() == s.is4() && (o.Addr() == at.Addr() || rules.Allow(o.Addr())) {
				add(server, o)
			}
		})
	}
	asking.Wait()
	return list
}

// judge compares where servers saw one socket.
func judge(results []ServerResult, port uint16, own []netip.Addr) NATKind {
	asked, seen, outside := make(map[netip.AddrPort]bool), make(map[netip.AddrPort]bool), 0
	straight := false
	for _, r := range results {
		switch {
		case !r.Public.IsValid():
		case r.Public.Port() == port && (r.Public.Addr().IsLoopback() || slices.Contains(own, r.Public.Addr())):
			straight = true // this server is on our side of the NAT, if there is one
		default:
			asked[r.Asked], seen[r.Public] = true, true
			outside++
		}
	}
	switch {
	case outside == 0 && straight:
		return NATNone
	case len(seen) > 1:
		return NATSymmetric
	case len(asked) > 1:
		return NATEndpoint
	}
	return NATUnknown
}

// verdictOf joins the families. Over IPv6 there is hardly ever a NAT, so IPv4 counts where
// anybody answered over it.
func verdictOf(kinds map[bool]NATKind, results []ServerResult) NATKind {
	answered := make(map[bool]bool)
	asked := false
	for _, r := range results {
		asked = asked || r.Asked.IsValid()
		if r.Public.IsValid() {
			answered[r.Public.Addr().Is4()] = true
		}
	}
	switch {
	case answered[true]:
		return kinds[true]
	case answered[false]:
		return kinds[false]
	case asked:
		return NATBlocked
	}
	return NATUnknown
}
