package lan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/dht"
	"amesh/identity"
)

// Config is what a Service needs to know.
type Config struct {
	// Own lists our agents for a greeting; those beyond Limits.Agents are left out.
	Own func() []Own
	// Appeared is told of agents that are here from now on, or whose record or
	// addresses changed; it must not block. Nil: nobody.
	Appeared func([]identity.AMID)
	Logger   *slog.Logger     // nil: silent
	Clock    func() time.Time // nil: time.Now; for the times in records only
	Limits   Limits           // zero: DefaultLimits

	networks func() []localNet // nil: localNets; for tests
}

// Service finds neighbours and is found by them while Run runs. Its methods may be
// called at any time.
type Service struct {
	host  host.Host
	cfg   Config
	log   *slog.Logger
	table *table
	busy  chan struct{} // one place for each meeting

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before and after
	wg    sync.WaitGroup  // meetings
	tried map[peer.ID]time.Time
}

// New returns a Service on h. It starts nothing.
func New(h host.Host, cfg Config) (*Service, error) {
	if h == nil || cfg.Own == nil {
		return nil, errors.New("lan: no host, or nobody to tell of")
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, err
	}
	if cfg.Appeared == nil {
		cfg.Appeared = func([]identity.AMID) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.networks == nil {
		cfg.networks = localNets
	}
	return &Service{
		host: h, cfg: cfg, log: cfg.Logger, table: newTable(cfg.Limits),
		busy: make(chan struct{}, cfg.Limits.Meetings), tried: make(map[peer.ID]time.Time),
	}, nil
}

// Run announces the node and meets others until ctx ends. It returns nil then: where
// multicast does not work, others may still find us, and that is no error.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	s.host.SetStreamHandler(Protocol, s.serve)
	s.multicast(ctx)
	s.host.RemoveStreamHandler(Protocol)
	s.mu.Lock()
	s.ctx = nil // no meeting begins from here on
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Changed says that Own has something else to say: the neighbours are met again, now or
// when they are heard next.
func (s *Service) Changed() {
	for _, p := range s.table.outdate() {
		s.heard(p)
	}
}

// Neighbours lists the agents that are here now, by AMID.
func (s *Service) Neighbours() []Neighbour { return s.table.all(time.Now(), s.cfg.Clock()) }

// Find returns the neighbour that is an agent, the one that was met last where several
// nodes proved to have it.
func (s *Service) Find(amid identity.AMID) (Neighbour, bool) {
	for _, n := range s.Neighbours() {
		if n.Record.AMID == amid {
			return n, true
		}
	}
	return Neighbour{}, false
}

// heard takes what multicast said of a node. Only addresses that may be dialled from
// here and are of a network that we share are taken.
func (s *Service) heard(p peer.AddrInfo) {
	if p.ID == s.host.ID() || !s.table.due(p.ID, time.Now()) {
		return
	}
	if p.Addrs = s.near(p.Addrs); len(p.Addrs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil || time.Since(s.tried[p.ID]) < s.cfg.Limits.Retry {
		return
	}
	select {
	case s.busy <- struct{}{}:
	default:
		return // it is heard again
	}
	for id, at := range s.tried {
		if time.Since(at) >= s.cfg.Limits.Retry {
			delete(s.tried, id)
		}
	}
	s.tried[p.ID] = time.Now()
	ctx := s.ctx
	s.wg.Go(func() {
		defer func() { <-s.busy }()
		if err := s.meet(ctx, p); err != nil {
			s.log.Debug("lan: neighbour not met", "peer", p.ID.String(), "err", err)
		}
	})
}

// near are the addresses of a node that are private and may be dialled from here.
func (s *Service) near(addrs []ma.Multiaddr) []ma.Multiaddr {
	rules := dht.LocalRules(s.host)
	var list []ma.Multiaddr
	for _, a := range addrs {
		if len(list) < maxAddresses && rules.Allow(a) && dht.Private(a) && !slices.ContainsFunc(list, a.Equal) {
			list = append(list, a)
		}
	}
	return list
}

// meet dials a node and exchanges greetings.
func (s *Service) meet(ctx context.Context, p peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Meeting)
	defer cancel()
	dht.ClearDialBackoff(s.host, p.ID)
	if err := s.host.Connect(ctx, p); err != nil {
		return err
	}
	st, err := s.host.NewStream(ctx, p.ID, Protocol)
	if err != nil {
		return err
	}
	defer st.Close()
	defer context.AfterFunc(ctx, func() { _ = st.Reset() })()
	err = writeFrame(st, s.greeting())
	if err == nil {
		err = s.listen(st, p.Addrs)
	}
	if err != nil {
		_ = st.Reset()
	}
	return err
}

// serve is the other side of meet.
func (s *Service) serve(st network.Stream) {
	defer st.Close()
	s.mu.Lock()
	ctx := s.ctx
	if ctx == nil || ctx.Err() != nil || s.full() {
		s.mu.Unlock()
		_ = st.Reset()
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer func() { <-s.busy }()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Meeting)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = st.Reset() })()
	// Whoever comes from elsewhere is told nothing: our agents are none of his business.
	if len(s.near([]ma.Multiaddr{st.Conn().RemoteMultiaddr()})) == 0 {
		_ = st.Reset()
		return
	}
	err := s.listen(st, s.near(s.dialledFrom(st.Conn().RemotePeer())))
	if err == nil {
		err = writeFrame(st, s.greeting())
	}
	if err != nil {
		s.log.Debug("lan: meeting", "peer", st.Conn().RemotePeer().String(), "err", err)
		_ = st.Reset()
	}
}

// dialledFrom are the addresses from which a node is connected. Nodes say to nobody
// where they listen, and dial from there.
func (s *Service) dialledFrom(p peer.ID) []ma.Multiaddr {
	var list []ma.Multiaddr
	for _, c := range s.host.Network().ConnsToPeer(p) {
		list = append(list, c.RemoteMultiaddr())
	}
	return list
}

// full takes a place for a meeting, and reports that there is none.
func (s *Service) full() bool {
	select {
	case s.busy <- struct{}{}:
		return false
	default:
		return true
	}
}

func (s *Service) greeting() []byte {
	own := s.cfg.Own()
	return encodeGreeting(own[:min(len(own), s.cfg.Limits.Agents)])
}

// listen reads the other side's greeting and notes the meeting.
func (s *Service) listen(st network.Stream, addrs []ma.Multiaddr) error {
	if err := st.Scope().ReserveMemory(maxGreeting, network.ReservationPriorityMedium); err != nil {
		return err
	}
	raw, err := readFrame(st)
	if err != nil {
		return err
	}
	agents, err := parseGreeting(raw)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	id := st.Conn().RemotePeer()
	m := &met{at: time.Now(), agents: believe(agents[:min(len(agents), s.cfg.Limits.Agents)], id, s.cfg.Clock())}
	for _, a := range addrs {
		m.addresses = append(m.addresses, a.String())
	}
	slices.Sort(m.addresses)
	if fresh := s.table.put(id, m); len(fresh) > 0 {
		s.log.Debug("lan: neighbour", "peer", id.String(), "agents", len(m.agents))
		s.cfg.Appeared(fresh)
	}
	return nil
}
