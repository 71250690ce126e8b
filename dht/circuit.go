package dht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
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
	// Sighting is how long a relay's word holds on where it sees us. Default 20 s.
	Sighting time.Duration
}

// DefaultCircuitLimits returns the defaults written at the fields.
func DefaultCircuitLimits() CircuitLimits {
	return CircuitLimits{
		Relays: 3, Timeout: 15 * time.Second, Gather: 2 * time.Second, Addresses: 3,
		Again: 20 * time.Second, Retry: 30 * time.Second, Reserve: 10 * time.Second, Sighting: 20 * time.Second,
	}
}

func (l CircuitLimits) check() error {
	if min(l.Relays, l.Addresses) <= 0 || min(l.Timeout, l.Gather, l.Again, l.Retry, l.Reserve, l.Sighting) <= 0 {
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
	observed map[peer.ID]sighting // what relays said
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
		wanted: make(map[peer.ID]int), punched: make(map[peer.ID]time.Time), reserved: make(map[peer.ID]bool), observed: make(map[peer.ID]sighting),
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
