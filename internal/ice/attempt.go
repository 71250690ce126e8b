package ice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	pion "github.com/pion/ice/v3"
)

// Attempt is one try at a path to one peer. It is a resource: Begin opens it, and Close
// must be called. Punch is called at most once.
//
// An attempt that succeeded goes on answering checks until it is closed. The side that
// dials knows first, and the other one may still need the answer to a check of its own;
// so it is closed when the connection stands, not before.
type Attempt struct {
	puncher  *Puncher
	ufrag    string
	password string
	own      []candidate
	budget   *budget
	ports    ports

	mu     sync.Mutex
	closed bool
	agent  *pion.Agent
	tried  []candidate
}

// Pair is what happened between one of our sockets and one address of the peer.
type Pair struct {
	Local    string // IP:PORT of the socket
	Remote   string // IP:PORT
	Kind     string // "host", "srflx", or "prflx" for one that only its checks revealed
	Sent     int    // checks that we sent
	Heard    bool   // checks of the peer came from there
	Answered bool   // a check of ours was answered
	RTT      time.Duration
	Chosen   bool
}

// Result is the path that an attempt found.
type Result struct {
	// Remote is where the peer can be dialled from the same socket now:
	// /ip4/ADDRESS/udp/PORT/quic-v1.
	Remote string
	Took   time.Duration // from the moment both sides were known
	Pairs  []Pair
}

// Begin finds out our own addresses for a new attempt. It returns ErrClosed or ErrBusy
// when there can be none, and takes up to Limits.Gather.
func (p *Puncher) Begin(ctx context.Context) (*Attempt, error) {
	if err := p.ready(ctx); err != nil {
		return nil, fmt.Errorf("ice: %w", err)
	}
	a := &Attempt{puncher: p, ufrag: rand.Text()[:ufragLength], password: rand.Text(), budget: newBudget(p.limits)}
	rules := p.rules()
	for _, s := range p.sockets {
		a.ports = append(a.ports, newPort(s, a.budget, rules))
	}
	if err := p.add(a); err != nil {
		return nil, fmt.Errorf("ice: %w", err)
	}
	a.own = p.gather(ctx)
	if err := a.open(ctx); err != nil {
		a.Close()
		return nil, fmt.Errorf("ice: %w", err)
	}
	return a, nil
}

// open makes pion's agent, with one local candidate for each socket.
func (a *Attempt) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(a.own) == 0 {
		return errors.New("no address of ours to offer")
	}
	interval, never, most, none := checkInterval, time.Duration(0), uint16(0xffff), time.Duration(0)
	agent, err := pion.NewAgent(&pion.AgentConfig{
		LocalUfrag: a.ufrag, LocalPwd: a.password,
		UDPMux: a.ports, CandidateTypes: []pion.CandidateType{pion.CandidateTypeHost},
		NetworkTypes:     []pion.NetworkType{pion.NetworkTypeUDP4, pion.NetworkTypeUDP6},
		MulticastDNSMode: pion.MulticastDNSModeDisabled,
		CheckInterval:    &interval, KeepaliveInterval: &never, MaxBindingRequests: &most,
		// What answers is taken at once: there is no better path to wait for that
		// would not answer first.
		SrflxAcceptanceMinWait: &none, PrflxAcceptanceMinWait: &none,
		LoggerFactory: logs{a.puncher.log},
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	closed := a.closed
	a.agent = agent
	a.mu.Unlock()
	if closed { // by the end of Run, which did not see the agent
		_ = agent.GracefulClose()
		return ErrClosed
	}
	gathered := make(chan struct{})
	if err := agent.OnCandidate(func(c pion.Candidate) {
		if c == nil {
			close(gathered)
		}
	}); err != nil {
		return err
	}
	if err := agent.GatherCandidates(); err != nil {
		return err
	}
	select {
	case <-gathered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Local is what the peer must be told. The password is a secret between the two.
func (a *Attempt) Local() Description {
	d := Description{Ufrag: a.ufrag, Password: a.password}
	for _, c := range a.own {
		if text, err := c.text(); err == nil {
			d.Candidates = append(d.Candidates, text)
		}
	}
	return d
}

// Punch tries the peer's addresses until a pair answers, for up to Limits.Time. Exactly
// one of the two sides is controlling; when Punch returned there, it dials
// Result.Remote, and the other side waits for the connection. An error that says
// ErrNoPath comes with the pairs that were tried.
func (a *Attempt) Punch(ctx context.Context, remote Description, controlling bool) (Result, error) {
	if err := remote.check(); err != nil {
		return Result{}, fmt.Errorf("punch: %w", err)
	}
	start := time.Now()
	list, refused := pick(remote.Candidates, a.ports[0].rules, a.puncher.limits.Candidates)
	a.mu.Lock()
	a.tried = list
	a.mu.Unlock()
	for _, reason := range refused {
		a.puncher.log.Debug("candidate of a peer is not tried", "reason", reason)
	}
	a.budget.begin(a.count(list), start)
	for _, c := range list {
		p, err := c.pion()
		if err == nil {
			err = a.agent.AddRemoteCandidate(p)
		}
		if err != nil {
			return Result{}, fmt.Errorf("punch %s: %w", c.at, err)
		}
	}
	ctx, stop := context.WithTimeout(ctx, a.puncher.limits.Time)
	defer stop()
	connect := a.agent.Accept
	if controlling {
		connect = a.agent.Dial
	}
	_, err := connect(ctx, remote.Ufrag, remote.Password)
	took := time.Since(start)
	switch {
	case errors.Is(err, pion.ErrClosed):
		return Result{Took: took, Pairs: a.Pairs()}, fmt.Errorf("punch: %w", ErrClosed)
	case err != nil:
		return Result{Took: took, Pairs: a.Pairs()}, fmt.Errorf("punch: %w", ErrNoPath)
	}
	at, err := a.chosen()
	if err != nil {
		return Result{Took: took, Pairs: a.Pairs()}, fmt.Errorf("punch: %w", err)
	}
	return Result{Remote: multiaddr(at), Took: took, Pairs: a.Pairs()}, nil
}

// count is how many pairs the addresses make with our sockets.
func (a *Attempt) count(list []candidate) int {
	n := 0
	for _, c := range list {
		for _, p := range a.ports {
			if p.socket.is4() == c.at.Addr().Is4() {
				n++
			}
		}
	}
	return n
}

// chosen is the peer's address in the pair that both sides agreed on.
func (a *Attempt) chosen() (netip.AddrPort, error) {
	pair, err := a.agent.GetSelectedCandidatePair()
	if err != nil {
		return netip.AddrPort{}, err
	}
	if pair == nil {
		return netip.AddrPort{}, ErrNoPath
	}
	ip, err := netip.ParseAddr(pair.Remote.Address())
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(pair.Remote.Port())), nil
}

func multiaddr(at netip.AddrPort) string {
	family := "ip6"
	if at.Addr().Is4() {
		family = "ip4"
	}
	return fmt.Sprintf("/%s/%s/udp/%d/quic-v1", family, at.Addr(), at.Port())
}

// Pairs are what happened so far, in the order of their addresses.
func (a *Attempt) Pairs() []Pair {
	chosen, _ := a.chosen()
	kinds := make(map[netip.AddrPort]string)
	a.mu.Lock()
	for _, c := range a.tried {
		kinds[c.at] = c.kind.String()
	}
	a.mu.Unlock()
	var list []Pair
	for p, t := range a.budget.report() {
		kind := kinds[p.remote]
		if kind == "" {
			kind = pion.CandidateTypePeerReflexive.String()
		}
		list = append(list, Pair{
			Local: a.ports[p.socket].socket.local.String(), Remote: p.remote.String(), Kind: kind,
			Sent: t.sent, Heard: t.heard, Answered: t.answered, RTT: t.rtt, Chosen: t.answered && p.remote == chosen,
		})
	}
	slices.SortFunc(list, func(x, y Pair) int { return strings.Compare(x.Remote+x.Local, y.Remote+y.Local) })
	return list
}

// Close ends the attempt and a Punch that is under way. It may be called again.
func (a *Attempt) Close() {
	a.mu.Lock()
	closed, agent := a.closed, a.agent
	a.closed = true
	a.mu.Unlock()
	if closed {
		return
	}
	a.puncher.remove(a)
	if agent != nil {
		_ = agent.GracefulClose()
	}
	_ = a.ports.Close()
}
