package node

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"

	"amesh/dht"
	"amesh/internal/ice"
	"amesh/internal/proxy"
	"amesh/internal/reach"
	"amesh/node/api"
	"amesh/relay"
)

// Numbers of a look at the network.
const (
	// netcheckTime bounds one, relayTime what it asks of one relay.
	netcheckTime = 15 * time.Second
	relayTime    = 8 * time.Second
	// surveyRelays and surveySTUN are how many relays and STUN servers are asked.
	surveyRelays = 16
	surveySTUN   = 8
	// natFirst is when a node looks at its NAT for the first time, natAgain when it does
	// again after it learnt nothing, and natEvery after it did.
	natFirst = 3 * time.Second
	natAgain = time.Minute
	natEvery = 10 * time.Minute
	natTime  = 10 * time.Second
)

// survey is one look at the network.
type survey struct {
	relays []string
	stun   []string
	proxy  *proxy.Proxy
	lines  map[string]api.Relay // of a running node, by URL
	mapped netip.Addr           // an address that the router gave to this node
	detect func(ctx context.Context, servers []string) (ice.NAT, error)
	say    func(line string)
}

// Netcheck implements api.Diagnosis.
func (m *mesh) Netcheck(ctx context.Context, req api.NetcheckRequest) (api.Netcheck, error) {
	extra, err := ownRelays(req.Relays)
	if err != nil {
		return api.Netcheck{}, api.Problemf(http.StatusUnprocessableEntity, api.CodeInvalid, "%v", err).WithHint("write it like wss://relay.example/v1/connect")
	}
	for _, at := range req.STUN {
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" {
			return api.Netcheck{}, api.Problemf(http.StatusUnprocessableEntity, api.CodeInvalid, "STUN server %.60q: want HOST:PORT", at).
				WithHint("write it like stun.example:3478")
		}
	}
	s := survey{stun: append(m.stunServers(), req.STUN...), proxy: m.node.proxy, lines: make(map[string]api.Relay), mapped: m.mapped(), detect: ice.Detect, say: func(string) {}}
	if m.punching != nil && len(req.STUN) == 0 {
		s.detect = func(ctx context.Context, _ []string) (ice.NAT, error) { return m.punching.Detect(ctx) }
	}
	for _, r := range m.rooms {
		for _, line := range r.relays.status() {
			if _, twice := s.lines[line.URL]; !twice {
				s.relays = append(s.relays, line.URL)
			}
			s.lines[line.URL] = line
		}
	}
	for _, url := range extra {
		if !slices.Contains(s.relays, url) {
			s.relays = append(s.relays, url)
		}
	}
	n := s.run(ctx)
	n.Daemon = true
	if ctx.Err() != nil {
		return n, ctx.Err()
	}
	if len(n.STUN) > 0 {
		m.setNAT(n.NAT)
	}
	return n, nil
}

// Survey looks at the network from a machine on which no node runs. It says on the way
// what it is about to do.
func Survey(ctx context.Context, servers Servers, say func(line string)) api.Netcheck {
	s := survey{relays: servers.Relays, stun: servers.STUN, proxy: servers.Proxy, detect: ice.Detect, say: say}
	return s.run(ctx)
}

func (s *survey) run(ctx context.Context) api.Netcheck {
	ctx, cancel := context.WithTimeout(ctx, netcheckTime)
	defer cancel()
	s.relays = s.relays[:min(len(s.relays), surveyRelays)]
	n := api.Netcheck{At: time.Now(), STUN: []api.STUNResult{}, Relays: s.askRelays(ctx)}
	for _, r := range n.Relays {
		if r.STUN != "" && !slices.Contains(s.stun, r.STUN) {
			s.stun = append(s.stun, r.STUN)
		}
	}
	s.stun = s.stun[:min(len(s.stun), surveySTUN)]
	for _, at := range s.stun {
		s.say("asking " + at + " where we are seen")
	}
	found, err := s.detect(ctx, s.stun)
	n.NAT, n.IPv4, n.IPv6 = shownNAT(found, s.mapped), found.IPv4, found.IPv6.IsValid()
	for _, r := range found.Servers {
		n.STUN = append(n.STUN, shownSTUN(r))
	}
	if err != nil && len(n.STUN) == 0 {
		n.NAT.Type = api.NATUnknown
	}
	if s.mapped.IsValid() {
		n.PortMap = s.mapped.String()
	}
	n.UDPBlocked = n.NAT.Type == api.NATBlocked && slices.ContainsFunc(n.Relays, within)
	n.Proxy = s.way()
	n.Verdict, n.Text, n.Next = judgeNetwork(n)
	return n
}

// within reports whether a relay is within reach.
func within(r api.RelayCheck) bool { return r.State != "failed" }

// way is the first proxy that a relay is reached through.
func (s *survey) way() string {
	for _, url := range s.relays {
		if way := s.proxy.Way(url); way != "" {
			return way
		}
	}
	return ""
}

// askRelays asks all of them at once.
func (s *survey) askRelays(ctx context.Context) []api.RelayCheck {
	list := make([]api.RelayCheck, len(s.relays))
	var asking sync.WaitGroup
	for i, url := range s.relays {
		s.say("asking " + url)
		asking.Go(func() { list[i] = s.askRelay(ctx, url) })
	}
	asking.Wait()
	return list
}

func (s *survey) askRelay(ctx context.Context, url string) api.RelayCheck {
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	c := api.RelayCheck{URL: url, State: "failed", Proxy: s.proxy.Way(url)}
	dial := s.proxy.Dialer(url, nil)
	info, lookErr := relay.Look(ctx, url, dial)
	c.STUN = info.STUN
	took, err := relay.Measure(ctx, url, dial)
	switch {
	case err == nil:
		c.State, c.LatencyMS = "reached", milliseconds(took)
	case lookErr == nil: // it answers, and something in between lets no WebSocket through
		c.State, c.Error = "reached", err.Error()
	default:
		c.Error = err.Error()
	}
	if line, ours := s.lines[url]; ours && line.State == "connected" {
		c.State, c.Via = "connected", line.Via
	}
	return c
}

// shownNAT is what ICE found out, as the owner is shown it.
func shownNAT(n ice.NAT, mapped netip.Addr) api.NAT {
	v := api.NAT{Type: api.NATType(n.Kind), IPv6: n.IPv6.IsValid(), Mapped: mapped.IsValid()}
	if v.Type == "" {
		v.Type = api.NATUnknown
	}
	for _, at := range n.Public {
		v.Public = append(v.Public, at.String())
	}
	return v
}

func shownSTUN(r ice.ServerResult) api.STUNResult {
	v := api.STUNResult{Server: r.Server, RTTMS: milliseconds(r.RTT)}
	if r.Asked.IsValid() {
		v.Asked = r.Asked.String()
	}
	if r.Public.IsValid() {
		v.Public = r.Public.String()
	}
	if r.Err != nil {
		v.Error = r.Err.Error()
	}
	return v
}

// judgeNetwork says what all of it comes to, and the one thing to do next.
func judgeNetwork(n api.Netcheck) (verdict api.Verdict, text, next string) {
	reached := 0
	for _, r := range n.Relays {
		if within(r) {
			reached++
		}
	}
	answered := slices.ContainsFunc(n.STUN, func(r api.STUNResult) bool { return r.Public != "" })
	const mend = "at the router, turn on UPnP or NAT-PMP, or forward UDP port 47777 to this machine"
	switch {
	case len(n.Relays)+len(n.STUN) == 0:
		return api.VerdictDegraded, "there is nobody to ask: no relay and no STUN server is known", "name a relay: amesh netcheck --relay URL"
	case reached == 0 && !answered && n.Proxy != "":
		return api.VerdictNone, "nobody answers: no relay was reached through the proxy", "see at the relays what the proxy said; amesh up --proxy none uses no proxy"
	case reached == 0 && !answered:
		return api.VerdictNone, "nobody answers: this machine is offline, or a firewall lets nothing out",
			"see that the machine is online; behind a proxy, name it: HTTPS_PROXY, or amesh up --proxy URL"
	case reached == 0:
		return api.VerdictDegraded, "no relay answers: mail reaches nobody who is away", "name another relay with --relay, or ask the operator of this one"
	case n.UDPBlocked:
		return api.VerdictDegraded, "no UDP leaves this network: everything goes by relay", "let UDP out, at least to port 3478 and from port 47777"
	case reached < len(n.Relays):
		return api.VerdictDegraded, "not every relay answers", "leave out those that do not, or ask their operators"
	case n.NAT.Mapped:
		return api.VerdictGood, "the router forwards a port to this node: others can connect directly", ""
	case n.NAT.Type == api.NATSymmetric && n.IPv6:
		return api.VerdictDegraded, "the NAT gives every destination another port: direct paths over IPv6, else by relay", mend
	case n.NAT.Type == api.NATSymmetric:
		return api.VerdictDegraded, "the NAT gives every destination another port: direct paths only to peers with an open address", mend
	case n.NAT.Type == api.NATEndpoint:
		return api.VerdictGood, "the NAT lets direct paths be punched", ""
	case n.NAT.Type == api.NATNone && onThisMachine(n.NAT.Public):
		return api.VerdictGood, "agents on this machine connect directly; what is in front of it only a STUN server outside can tell (--stun HOST:PORT)", ""
	case n.NAT.Type == api.NATNone:
		return api.VerdictGood, "there is no NAT: others can connect directly unless a firewall is in the way", ""
	case n.IPv6:
		return api.VerdictGood, "there is a public IPv6 address", ""
	}
	another := "a"
	if answered {
		another = "a second"
	}
	return api.VerdictDegraded, "relays answer, but what kind of NAT there is could not be found out", "name " + another + " STUN server: amesh netcheck --stun HOST:PORT"
}

// onThisMachine reports whether nobody outside has seen any of the addresses.
func onThisMachine(public []string) bool {
	return len(public) > 0 && !slices.ContainsFunc(public, func(text string) bool {
		at, err := netip.ParseAddrPort(text)
		return err != nil || !at.Addr().IsLoopback()
	})
}

// mapped is an address at which a router forwards to this node: one that the host has and
// no interface of the machine.
func (m *mesh) mapped() netip.Addr {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range dht.OwnAddrs(m.host) {
		at, err := manet.ToIP(a)
		if err != nil {
			continue
		}
		ip, _ := netip.AddrFromSlice(at)
		if ip = ip.Unmap(); !ip.Is4() || !reach.Public(ip) {
			continue
		}
		if !slices.ContainsFunc(own, func(o net.Addr) bool { p, err := netip.ParsePrefix(o.String()); return err == nil && p.Addr() == ip }) {
			return ip
		}
	}
	return netip.Addr{}
}

// natView is what was found out last of the NAT in front of a node.
type natView struct {
	mu  sync.Mutex
	nat *api.NAT
}

func (m *mesh) setNAT(n api.NAT) {
	m.nat.mu.Lock()
	defer m.nat.mu.Unlock()
	m.nat.nat = &n
}

// ownNAT is what was found out last, nil before.
func (m *mesh) ownNAT() *api.NAT {
	m.nat.mu.Lock()
	defer m.nat.mu.Unlock()
	return m.nat.nat
}

// watchNAT finds out now and again what is in front of the node, so that it can say why
// a path is as it is.
func (m *mesh) watchNAT(ctx context.Context) error {
	timer := time.NewTimer(natFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next := natAgain
		if len(m.stunServers()) > 0 {
			looking, cancel := context.WithTimeout(ctx, natTime)
			found, err := m.punching.Detect(looking)
			cancel()
			if err == nil && len(found.Servers) > 0 {
				m.setNAT(shownNAT(found, m.mapped()))
				next = natEvery
			}
		}
		timer.Reset(next)
	}
}
