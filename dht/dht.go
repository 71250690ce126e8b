package dht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	dht_pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// protocolPrefix makes the protocol /amesh/kad/1.0.0, so that we never mix with
// other people's tables.
const protocolPrefix = "/amesh"

// recordAge is how long a server keeps a record it received; none is valid longer.
const recordAge = identity.RecordLife

// kadProtocol stands behind the prefix in the name of the table's protocol.
const kadProtocol = "/kad/1.0.0"

// Mode says whether a node keeps records for others.
type Mode int

// The modes.
const (
	// ModeClient keeps none.
	ModeClient Mode = iota
	// ModeServer keeps them.
	ModeServer
	// ModeAuto keeps them while relays say that they reach us from outside: only then
	// can others. On loopback and behind a NAT that is never.
	ModeAuto
)

// ParseMode reads what String writes.
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{ModeClient, ModeServer, ModeAuto} {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q: want auto, client or server", s)
}

// String is "client", "server" or "auto".
func (m Mode) String() string {
	switch m {
	case ModeServer:
		return "server"
	case ModeAuto:
		return "auto"
	}
	return "client"
}

func (m Mode) kad() kad.ModeOpt {
	switch m {
	case ModeServer:
		return kad.ModeServer
	case ModeAuto:
		return kad.ModeAuto
	}
	return kad.ModeClient
}

var (
	// ErrNotFound reports that servers were asked and none has a valid record.
	ErrNotFound = errors.New("no agent record")
	// ErrNoServer reports that no server could be asked, or answered in time.
	ErrNoServer = errors.New("no dht server answered")
	// ErrUnconfirmed reports a record that nobody else was seen to have yet. It is
	// remembered, and Run publishes it again.
	ErrUnconfirmed = errors.New("agent record not confirmed")
	// ErrClosed reports a Node whose Run has returned.
	ErrClosed = errors.New("dht is closed")
)

// Config is what a Node needs to know.
type Config struct {
	Mode      Mode
	Bootstrap []peer.AddrInfo
	Logger    *slog.Logger     // nil: silent
	Clock     func() time.Time // nil: time.Now; for the times in records only
	Limits    Limits           // zero: DefaultLimits

	// Memory keeps the servers that are known across restarts; nil forgets them.
	Memory Memory
	// Cards is where cards that agents leave here are kept; nil serves none.
	Cards      CardKeeper
	CardLimits CardLimits // zero: DefaultCardLimits
}

// Node publishes and finds agent records. It is a service: its methods may be
// called from any goroutine at any time, and do their work while Run runs.
type Node struct {
	host   host.Host
	cfg    Config
	log    *slog.Logger
	limits Limits
	cards  CardLimits
	desk   *cardDesk                 // nil: keeps no cards
	kicks  map[peer.ID]chan struct{} // one per bootstrap peer: look at it now
	again  chan struct{}             // publish everything again now
	soon   chan struct{}             // publish everything again after a pause
	begun  chan struct{}             // closed when Run has the table ready

	newTopics chan struct{} // a card has words under which we were not announced
	allTopics chan struct{} // announce all words again now
	announced announced
	chosen    atomic.Int32
	requests  atomic.Uint64
	recalled  []peer.AddrInfo // servers known before the start; choose's own

	mu        sync.Mutex
	state     state
	running   running
	calls     sync.WaitGroup
	published map[identity.AMID]*entry
	left      map[identity.AMID]*identity.Card // cards kept alive at our servers
	seen      *seen
	confirmed time.Time
}

type state int

const (
	stateNew state = iota
	stateRunning
	stateClosed
)

// running is what exists only while Run runs.
type running struct {
	ctx   context.Context
	table *kad.IpfsDHT
	ask   *dht_pb.ProtocolMessenger
}

// New returns a Node on h. It starts nothing.
func New(h host.Host, cfg Config) (*Node, error) {
	if h == nil {
		return nil, errors.New("dht: no host")
	}
	if cfg.Mode < ModeClient || cfg.Mode > ModeAuto {
		return nil, fmt.Errorf("dht: mode %d", cfg.Mode)
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, fmt.Errorf("dht: %w", err)
	}
	if cfg.CardLimits == (CardLimits{}) {
		cfg.CardLimits = DefaultCardLimits()
	}
	if err := cfg.CardLimits.check(); err != nil {
		return nil, fmt.Errorf("dht: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	n := &Node{
		host: h, cfg: cfg, log: cfg.Logger, limits: cfg.Limits, cards: cfg.CardLimits,
		kicks:     make(map[peer.ID]chan struct{}),
		again:     make(chan struct{}, 1),
		soon:      make(chan struct{}, 1),
		begun:     make(chan struct{}),
		newTopics: make(chan struct{}, 1),
		allTopics: make(chan struct{}, 1),
		announced: announced{at: make(map[string]bool)},
		published: make(map[identity.AMID]*entry),
		left:      make(map[identity.AMID]*identity.Card),
		seen:      newSeen(cfg.Limits.Seen),
	}
	if cfg.Cards != nil {
		n.desk = newCardDesk(cfg.Cards, cfg.CardLimits, cfg.Clock)
	}
	for _, p := range cfg.Bootstrap {
		if p.ID != h.ID() { // one list may serve all relays, the relay itself included
			n.kicks[p.ID] = make(chan struct{}, 1)
		}
	}
	return n, nil
}

// Run joins the table, keeps the bootstrap servers connected and the published
// records alive until ctx ends. It returns nil then, and an error if the table
// can't be made. A Node runs once.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	table, err := n.begin(ctx)
	if err != nil {
		return fmt.Errorf("dht: run: %w", err)
	}
	n.work(ctx, n.running)
	n.end()
	if err := table.Close(); err != nil {
		return fmt.Errorf("dht: close table: %w", err)
	}
	return nil
}

func (n *Node) join() (*kad.IpfsDHT, *dht_pb.ProtocolMessenger, error) {
	opts := []kad.Option{
		kad.ProtocolPrefix(protocolPrefix),
		kad.Mode(n.cfg.Mode.kad()),
		// Ours alone: the library adds /pk and /ipns to a validator it made itself.
		kad.Validator(record.NamespacedValidator{namespace: validator{clock: n.cfg.Clock}}),
		kad.Datastore(newBoundedStore(n.limits.StoreBytes)),
		kad.MaxRecordAge(recordAge),
		kad.OnRequestHook(func(context.Context, network.Stream, *dht_pb.Message) { n.requests.Add(1) }),
		kad.ProviderDatastore(newBoundedStore(n.limits.ProviderBytes)),
		kad.ProviderManagerOpts(
			records.ProvideValidity(n.cards.AnnounceLife),
			records.ProviderAddrTTL(n.cards.AnnounceLife),
		),
	}
	if !inLab(n.host.Network().ListenAddresses(), n.cfg.Bootstrap) {
		opts = append(opts, kad.RoutingTablePeerDiversityFilter(kad.NewRTPeerDiversityFilter(n.host, perBucket, perGroup)))
	}
	if n.cfg.Mode != ModeServer {
		// Servers must take newcomers, or nobody could join. A node needs none of those who
		// come to it: they may be many, and then nobody else would be left to ask.
		opts = append(opts, kad.RoutingTableFilter(func(_ any, p peer.ID) bool { return len(n.dialled(p)) > 0 }))
	}
	table, err := kad.New(n.host, opts...)
	if err != nil {
		return nil, nil, err
	}
	ask, err := dht_pb.NewProtocolMessenger(table.MessageSender())
	if err != nil {
		return nil, nil, errors.Join(err, table.Close())
	}
	return table, ask, nil
}

func (n *Node) begin(ctx context.Context) (*kad.IpfsDHT, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state != stateNew {
		return nil, errors.New("started before")
	}
	defer close(n.begun)
	n.state = stateClosed
	table, ask, err := n.join()
	if err != nil {
		return nil, err
	}
	n.state, n.running = stateRunning, running{ctx: ctx, table: table, ask: ask}
	return table, nil
}

// work runs the goroutines of the service and returns when the last is home.
func (n *Node) work(ctx context.Context, run running) {
	bundle := &network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { n.kick(c.RemotePeer()) },
		DisconnectedF: func(_ network.Network, c network.Conn) { n.kick(c.RemotePeer()) },
	}
	n.host.Network().Notify(bundle)
	defer n.host.Network().StopNotify(bundle)

	var wg sync.WaitGroup
	for _, p := range n.cfg.Bootstrap {
		if kick, ok := n.kicks[p.ID]; ok {
			wg.Go(func() { n.keep(ctx, p, kick) })
		}
	}
	wg.Go(func() { n.republish(ctx) })
	wg.Go(func() { n.choose(ctx, run) })
	if n.desk != nil {
		n.host.SetStreamHandler(CardsProtocol, n.serveCards)
		defer n.host.RemoveStreamHandler(CardsProtocol)
		wg.Go(func() { n.announce(ctx) })
	}
	wg.Wait()
}

func (n *Node) end() {
	n.mu.Lock()
	n.state = stateClosed
	n.mu.Unlock()
	n.calls.Wait() // their contexts ended with Run's
}

// enter waits until Run has begun and returns what is needed for one call, under
// a context that ends with the caller's, with Run, and after timeout.
func (n *Node) enter(ctx context.Context, timeout time.Duration) (context.Context, running, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	select {
	case <-n.begun:
	case <-ctx.Done():
		cancel()
		return nil, running{}, nil, fmt.Errorf("%w: not started: %w", ErrNoServer, ctx.Err())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state != stateRunning {
		cancel()
		return nil, running{}, nil, ErrClosed
	}
	n.calls.Add(1)
	stop := context.AfterFunc(n.running.ctx, cancel)
	leave := func() {
		stop()
		cancel()
		n.calls.Done()
	}
	return ctx, n.running, leave, nil
}

// Status is a snapshot for the owner.
type Status struct {
	Mode          Mode
	Serving       bool        // records are kept for others now
	Peers         int         // servers in the routing table
	Servers       int         // bootstrap servers connected now
	Chosen        int         // other servers that we chose and keep connected
	Requests      uint64      // of others that were answered, since the start
	Published     []Published // by AMID
	LastConfirmed time.Time   // zero: never
}

// Published is one record this node keeps alive.
type Published struct {
	AMID      identity.AMID
	Sequence  uint64
	Expires   time.Time
	Confirmed time.Time // when these bytes were last read back; zero: not yet
}
