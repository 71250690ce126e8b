package dht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
)

// CircuitConfig is what Circuits need to know.
type CircuitConfig struct {
	// Relays are the circuit relays that we use; those beyond CircuitLimits.Relays are
	// left out. They are configured by the owner, and trusted with knowing who talks.
	Relays []peer.AddrInfo
	// Accepted reports whether a node belongs to somebody whom we let in. Nobody else can
	// open a circuit to us, or learns an address. It must not block.
	Accepted func(peer.ID) bool
	// Addrs are the addresses under which we may be reached from outside, as multiaddrs.
	// They are told to accepted peers only.
	Addrs  func(context.Context) []string
	Limits CircuitLimits // zero: DefaultCircuitLimits
	Logger *slog.Logger  // nil: silent
}

// CircuitLimits are the numbers of Circuits.
type CircuitLimits struct {
	// Relays is at how many relays we can be found. Default 3.
	Relays int
	// Timeout bounds one Punch. Default 15 s.
	Timeout time.Duration
	// Gather bounds the question for our own addresses. Default 2 s.
	Gather time.Duration
	// Addresses is how many addresses are told, and tried of those that a peer tells: to
	// each of them go some 40 datagrams of 64 bytes in one try. Default 3.
	Addresses int
	// Again is how long a peer waits before it may have us punch once more. Default 20 s.
	Again time.Duration
	// Retry is the pause after a relay gave no place, and the longest time until a lost
	// place is noticed. Default 30 s.
	Retry time.Duration
	// Reserve bounds one request for a place. Default 10 s.
	Reserve time.Duration
}

// DefaultCircuitLimits returns the defaults written at the fields.
func DefaultCircuitLimits() CircuitLimits {
	return CircuitLimits{
		Relays: 3, Timeout: 15 * time.Second, Gather: 2 * time.Second, Addresses: 3,
		Again: 20 * time.Second, Retry: 30 * time.Second, Reserve: 10 * time.Second,
	}
}

func (l CircuitLimits) check() error {
	if min(l.Relays, l.Addresses) <= 0 || min(l.Timeout, l.Gather, l.Again, l.Retry, l.Reserve) <= 0 {
		return fmt.Errorf("circuit limits %+v: want all above 0", l)
	}
	if l.Again <= l.Timeout {
		return fmt.Errorf("circuit limits %+v: want Again above Timeout", l)
	}
	return nil
}

// ErrNoDirect reports that a circuit led to no direct connection.
var ErrNoDirect = errors.New("no direct connection through a circuit")

// Circuits are the second way through NATs. Two nodes meet over a circuit of a relay at
// which one of them has a place, tell each other their addresses, and dial at the same
// moment (DCUtR). A circuit carries nothing else. Circuits are given to NewHost, and are
// a service of that host then.
type Circuits struct {
	cfg    CircuitConfig
	limits CircuitLimits
	log    *slog.Logger
	relays map[peer.ID]bool

	mu       sync.Mutex
	host     host.Host
	wanted   map[peer.ID]int       // peers that Punch is after
	punched  map[peer.ID]time.Time // when an accepted peer was told our addresses
	reserved map[peer.ID]bool
	ended    bool
}

// NewCircuits returns Circuits. It opens nothing.
func NewCircuits(cfg CircuitConfig) (*Circuits, error) {
	if cfg.Accepted == nil || cfg.Addrs == nil {
		return nil, errors.New("circuits: nobody says who is accepted, or where we are")
	}
	if cfg.Limits == (CircuitLimits{}) {
		cfg.Limits = DefaultCircuitLimits()
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Relays = cfg.Relays[:min(len(cfg.Relays), cfg.Limits.Relays)]
	c := &Circuits{
		cfg: cfg, limits: cfg.Limits, log: cfg.Logger, relays: make(map[peer.ID]bool),
		wanted: make(map[peer.ID]int), punched: make(map[peer.ID]time.Time), reserved: make(map[peer.ID]bool),
	}
	for _, r := range cfg.Relays {
		c.relays[r.ID] = true
	}
	return c, nil
}

// of says which host the circuits belong to.
func (c *Circuits) of(h host.Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.host = h
}

func (c *Circuits) owner() host.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host
}

// Run keeps our places at the relays and answers accepted peers until ctx ends; then it
// returns nil. It is called once, and returns before the host is closed.
func (c *Circuits) Run(ctx context.Context) error {
	h := c.owner()
	if h == nil {
		return errors.New("circuits: no host was made with them")
	}
	ids, ok := h.(interface{ IDService() identify.IDService })
	if !ok {
		return errors.New("circuits: the host does not identify itself")
	}
	punching, err := holepunch.NewService(h, ids.IDService(), anyAddress,
		holepunch.WithAddrFilter(filter{ctx, c}), holepunch.DirectDialTimeout(c.limits.Timeout/3)) // it tries three times
	if err != nil {
		return fmt.Errorf("circuits: %w", err)
	}
	var wg sync.WaitGroup
	for _, r := range c.cfg.Relays {
		if r.ID != h.ID() {
			wg.Go(func() { c.keepPlace(ctx, h, r) })
		}
	}
	<-ctx.Done()
	wg.Wait()
	c.end(h)
	if err := punching.Close(); err != nil {
		return fmt.Errorf("circuits: %w", err)
	}
	return nil
}

// end lets in nobody any more, and closes the circuits that there are: libp2p may wait in
// them for an answer.
func (c *Circuits) end(h host.Host) {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	for _, conn := range h.Network().Conns() {
		if circuitAddr(conn.RemoteMultiaddr()) {
			_ = conn.Close()
		}
	}
}

// admits is the gater's question about somebody who came over a circuit.
func (c *Circuits) admits(p peer.ID) bool {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	return !ended && c.cfg.Accepted(p)
}

// keepPlace asks a relay for a place and renews it. A place is lost with the connection
// to the relay.
func (c *Circuits) keepPlace(ctx context.Context, h host.Host, relay peer.AddrInfo) {
	h.ConnManager().Protect(relay.ID, circuitTag)
	defer h.ConnManager().Unprotect(relay.ID, circuitTag)
	for ctx.Err() == nil {
		life := c.reserve(ctx, h, relay)
		c.placed(relay.ID, life > 0)
		c.holdPlace(ctx, h, relay.ID, life)
	}
	c.placed(relay.ID, false)
}

// circuitTag protects connections to our circuit relays from being trimmed.
const circuitTag = "amesh-circuit"

// reserve returns how long a place holds; 0 is none.
func (c *Circuits) reserve(ctx context.Context, h host.Host, relay peer.AddrInfo) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, c.limits.Reserve)
	defer cancel()
	if err := h.Connect(ctx, relay); err != nil {
		c.log.Debug("circuit relay not reached", "peer", relay.ID.String(), "err", err)
		return 0
	}
	r, err := client.Reserve(ctx, impatient{h}, peer.AddrInfo{ID: relay.ID})
	if err != nil {
		c.log.Debug("circuit relay gave no place", "peer", relay.ID.String(), "err", err)
		return 0
	}
	return time.Until(r.Expiration)
}

// impatient is a host whose streams end with the context with which they were opened. The
// library waits a minute for the answer of a relay, whatever its context says.
type impatient struct{ host.Host }

// NewStream implements host.Host.
func (h impatient) NewStream(ctx context.Context, p peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, protocols...)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = s.Reset() })
	}
	return s, err
}

// holdPlace waits until the place must be asked for again: it is lost, or half of its
// life is over.
func (c *Circuits) holdPlace(ctx context.Context, h host.Host, relay peer.ID, life time.Duration) {
	conns := connIDs(h, relay)
	renew := time.Now().Add(life / 2)
	tick := time.NewTicker(c.limits.Retry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Now().After(renew) || !kept(conns, connIDs(h, relay)) {
			return
		}
	}
}

func (c *Circuits) placed(relay peer.ID, there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved[relay] = there
}

// Places are the relays at which we can be found now.
func (c *Circuits) Places() []peer.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []peer.ID
	for _, r := range c.cfg.Relays {
		if c.reserved[r.ID] {
			list = append(list, r.ID)
		}
	}
	return list
}

// Punch makes a direct connection to a node, by way of circuits through our relays. The
// node must be accepted here and accept us, and have a place at one of the relays.
// ErrNoDirect is in what it returns when there is no connection in the end.
func (c *Circuits) Punch(ctx context.Context, p peer.ID) (network.Conn, error) {
	h := c.owner()
	if h == nil || !c.cfg.Accepted(p) {
		return nil, fmt.Errorf("%w: not to a stranger", ErrNoDirect)
	}
	ctx, cancel := context.WithTimeout(ctx, c.limits.Timeout)
	defer cancel()
	came, err := h.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDirect, err)
	}
	defer came.Close()
	c.cfg.Addrs(ctx) // so that the answer is at hand when libp2p measures how far the peer is
	defer c.want(p)()
	defer closeCircuits(h, p)
	if err := c.meet(ctx, h, p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDirect, err)
	}
	for {
		if conn := directTo(h, p); conn != nil {
			return conn, nil
		}
		select {
		case <-came.Out():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the other side did not come: %w", ErrNoDirect, ctx.Err())
		}
	}
}

// meet opens a circuit through the first relay that has one.
func (c *Circuits) meet(ctx context.Context, h host.Host, p peer.ID) error {
	if directTo(h, p) != nil {
		return nil
	}
	var through []ma.Multiaddr
	for _, r := range c.cfg.Relays {
		if conn := directTo(h, r.ID); conn != nil {
			part, err := ma.NewMultiaddr("/p2p/" + r.ID.String() + "/p2p-circuit")
			if err != nil {
				return err
			}
			through = append(through, conn.RemoteMultiaddr().Encapsulate(part))
		}
	}
	if len(through) == 0 {
		return errors.New("no relay is connected")
	}
	ClearDialBackoff(h, p)
	return h.Connect(network.WithAllowLimitedConn(ctx, "punching"), peer.AddrInfo{ID: p, Addrs: through})
}

// want has circuits to p allowed until the function it returns is called.
func (c *Circuits) want(p peer.ID) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted[p]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.wanted[p]--; c.wanted[p] == 0 {
			delete(c.wanted, p)
		}
	}
}

// closeCircuits ends the circuits to p, which have done what they were for, and forgets
// the way: only Punch may go it.
func closeCircuits(h host.Host, p peer.ID) {
	for _, conn := range h.Network().ConnsToPeer(p) {
		if circuitAddr(conn.RemoteMultiaddr()) {
			_ = conn.Close()
		}
	}
	for _, a := range h.Peerstore().Addrs(p) {
		if circuitAddr(a) {
			h.Peerstore().SetAddr(p, a, 0)
		}
	}
}

func directTo(h host.Host, p peer.ID) network.Conn {
	for _, conn := range h.Network().ConnsToPeer(p) {
		if !circuitAddr(conn.RemoteMultiaddr()) && !conn.IsClosed() {
			return conn
		}
	}
	return nil
}

func circuitAddr(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// mayDial is the gater's question about a circuit.
func (c *Circuits) mayDial(p peer.ID, a ma.Multiaddr) bool {
	relay, _ := ma.SplitFunc(a, func(part ma.Component) bool { return part.Protocol().Code == ma.P_CIRCUIT })
	id, err := relay.ValueForProtocol(ma.P_P2P)
	if err != nil {
		return false
	}
	at, err := peer.Decode(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	return err == nil && !c.ended && c.relays[at] && c.wanted[p] > 0
}

// anyAddress stands for our addresses where it is not known yet to whom they are told;
// without one libp2p would not punch at all. It is told to nobody: filter gives others.
func anyAddress() []ma.Multiaddr { return []ma.Multiaddr{unspecified} }

var unspecified = ma.StringCast("/ip4/0.0.0.0/udp/1/quic-v1")

// filter is asked by libp2p which addresses are told to a peer, and which of its
// addresses are tried.
type filter struct {
	ctx      context.Context
	circuits *Circuits
}

// FilterLocal implements holepunch.AddrFilter.
func (f filter) FilterLocal(p peer.ID, _ []ma.Multiaddr) []ma.Multiaddr {
	c := f.circuits
	if !c.cfg.Accepted(p) || !c.turn(p, time.Now()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(f.ctx, c.limits.Gather)
	defer cancel()
	var list []ma.Multiaddr
	for _, text := range c.cfg.Addrs(ctx) {
		if a, err := ma.NewMultiaddr(text); err == nil && len(list) < c.limits.Addresses {
			list = append(list, a)
		}
	}
	return list
}

// turn reports whether a peer may have us punch now. Libp2p tries three times in a row,
// and asks each time.
func (c *Circuits) turn(p peer.ID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, at := range c.punched {
		if now.Sub(at) >= c.limits.Again {
			delete(c.punched, other)
		}
	}
	if at, ok := c.punched[p]; ok && now.Sub(at) > c.limits.Timeout {
		return false
	} else if !ok {
		c.punched[p] = now
	}
	return true
}

// Met reports whether a peer was told our addresses over a circuit, so recently that a
// connection with it may come from there.
func (c *Circuits) Met(p peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.punched[p]
	return ok && time.Since(at) < c.limits.Again
}

// FilterRemote implements holepunch.AddrFilter.
func (f filter) FilterRemote(p peer.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	c := f.circuits
	if !c.cfg.Accepted(p) {
		return nil
	}
	rules := LocalRules(c.owner())
	var list []ma.Multiaddr
	for _, a := range addrs {
		if rules.Allow(a) && len(list) < c.limits.Addresses {
			list = append(list, a)
		}
	}
	return list
}
