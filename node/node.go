// Package node is the daemon beside an agent: it composes identities, mailrooms,
// the paths to other nodes and the local API. Reading Run from top to bottom is
// reading what a node is.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/lastlines"
	"amesh/internal/proxy"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/direct"
	"amesh/node/httpapi"
	"amesh/node/path"
)

var (
	// ErrHomeInUse is returned by Run when another daemon has the home folder.
	ErrHomeInUse = errors.New("another node is running on this home")
	// ErrSDKIdentity is returned by Run when the home holds an SDK's identity that
	// was not imported (`amesh agent import`).
	ErrSDKIdentity = errors.New("an identity of an SDK is in this home")
	// ErrIdentityTwice is returned by Run when two agents of the home have one key.
	ErrIdentityTwice = errors.New("the same identity is in this home twice")
	// ErrIdentityLost is returned by Run when an agent's key file is gone and its
	// state is still there.
	ErrIdentityLost = errors.New("the agent's key file is gone, but its state is here")
	// ErrStateKeyLost is returned by Run when the key that seals the state's secrets
	// is gone.
	ErrStateKeyLost = errors.New("the key of the state is gone")
	// ErrNotLoopback is returned by New for an API address that others can reach: the
	// credentials would cross the network in clear.
	ErrNotLoopback = errors.New("the local API is for this machine")
	// ErrSocketPath is returned by Run when no place for the unix socket has a path
	// that is short enough.
	ErrSocketPath = errors.New("socket path too long")
	// ErrAddrInUse is returned by Run when an address that was asked for is taken.
	ErrAddrInUse = errors.New("address in use")
)

// Values of Config.Punch.
const (
	PunchAuto = "auto"
	PunchOff  = "off"
)

// maxSTUN is how many STUN servers the owner may name.
const maxSTUN = 8

// Values of Config.Announce.
const (
	AnnounceNone   = "none"
	AnnouncePublic = "public"
)

const (
	defaultAgent = "default"
	defaultAPI   = "127.0.0.1:7777"
	freeAPI      = "127.0.0.1:0"
)

var (
	defaultListen = []string{"/ip4/0.0.0.0/udp/47777/quic-v1", "/ip4/0.0.0.0/tcp/47777"}
	freeListen    = []string{"/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0"}
)

// schema is the version of what is in the store.
var schema = store.Schema{Name: "amesh-node", Version: 1}

// Config is everything a node is told from outside. Zero values are defaults.
type Config struct {
	Home   string   // state folder; made with mode 0700 if missing
	Agent  string   // name of the agent to create if there is none; default "default"
	Relays []string // ws:// or wss:// URLs to choose homes from, at most 32
	// AllowLegacyRelay lets agents connect to relays that set no challenge, by frames
	// that whoever sees them can use at a registry for five minutes.
	AllowLegacyRelay bool

	Registries []string // http:// or https:// URLs of registries, at most 8
	// AllowLegacyRegistry lets agents sign bare timestamps for registries of plain 0.2,
	// which whoever sees them can use elsewhere for five minutes.
	AllowLegacyRegistry bool

	// Proxy is how relays and registries are reached: proxy.Auto, proxy.None or the URL of
	// a proxy; empty: proxy.Auto. ProxyCredentials is where user and password for it are
	// read, "file:PATH" or "command:TEXT"; empty: the URL has them, if any are needed.
	Proxy, ProxyCredentials string

	Homes     int      // how many homes are kept, 1 to 8; default 2
	Bootstrap []string // multiaddrs with /p2p/ of DHT servers
	MapPorts  bool     // ask the router for ports (UPnP, NAT-PMP)
	DHT       dht.Mode // whether the node keeps records for others; default client
	Echo      bool     // offer an agent, open to everybody, that sends back what it gets
	LAN       bool     // find agents in private networks by multicast, and be found there
	Listen    []string // libp2p multiaddrs; empty: the default port, or a free one if taken
	API       string   // host:port of the TCP API; empty: 127.0.0.1:7777, or a free one if taken
	Announce  string   // AnnounceNone (default) or AnnouncePublic: put addresses into the public record
	Punch     string   // PunchAuto (default): open direct paths through NATs to peers that were accepted, or PunchOff
	STUN      []string // HOST:PORT of STUN servers beside those of the relays, at most 8
	Version   string
	Logger    *slog.Logger
	Notice    func(line string) // lines for the owner's terminal, such as a fallback port
	Clock     func() time.Time  // default time.Now

	// Uptime is the time that really passed since some moment. By default it is the
	// machine's, or with a Clock what passes on that.
	Uptime func() time.Duration

	climb path.Limits // of the way to each peer; zero: the defaults
	built func(*mesh) // is shown the mesh before anything of it runs; nil: nobody
}

// Addrs are the places where a running node can be reached.
type Addrs struct {
	API    string   `json:"api"`              // http URL
	Socket string   `json:"socket"`           // path of the unix socket
	Libp2p []string `json:"libp2p,omitempty"` // multiaddrs with /p2p/
}

// Node is one daemon. New checks the configuration; Run does the rest.
type Node struct {
	cfg       Config
	bootstrap []peer.AddrInfo
	proxy     *proxy.Proxy
	recent    *lastlines.Lines // of the log
	ready     chan struct{}
	addrs     Addrs // set before ready closes
}

// New checks the configuration. It opens nothing.
func New(cfg Config) (*Node, error) {
	if cfg.Home == "" {
		return nil, errors.New("node: no home folder")
	}
	if cfg.Agent == "" {
		cfg.Agent = defaultAgent
	}
	switch cfg.Announce {
	case "":
		cfg.Announce = AnnounceNone
	case AnnounceNone, AnnouncePublic:
	default:
		return nil, fmt.Errorf("node: announce %q is neither none nor public", cfg.Announce)
	}
	if cfg.DHT == dht.ModeServer && cfg.Announce != AnnouncePublic {
		return nil, errors.New("node: a DHT server whose addresses nobody is told serves nobody: want announce public, or dht client")
	}
	if err := checkPunching(&cfg); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if cfg.API != "" {
		name, _, err := net.SplitHostPort(cfg.API)
		if err != nil {
			return nil, fmt.Errorf("node: api address: %w", err)
		}
		if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, fmt.Errorf("%w, %s is not only here", ErrNotLoopback, cfg.API)
		}
	}
	if cfg.Homes < 0 || cfg.Homes > identity.MaxRelays {
		return nil, fmt.Errorf("node: %d homes, want 1 to %d", cfg.Homes, identity.MaxRelays)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// What the log says is kept for a report, whatever of it the owner wants to see.
	recent := lastlines.New(recentLines)
	cfg.Logger = slog.New(slog.NewMultiHandler(cfg.Logger.Handler(), slog.NewTextHandler(recent, nil)))
	if cfg.Notice == nil {
		cfg.Notice = func(string) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
		if cfg.Uptime == nil {
			cfg.Uptime = uptime
		}
	}
	boot, err := dht.ParseBootstrap(cfg.Bootstrap)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if cfg.Relays, err = ownRelays(cfg.Relays); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if cfg.Registries, err = ownRegistries(cfg.Registries); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if err := checkListen(cfg.Listen); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	way, err := proxy.New(proxy.Config{Setting: cfg.Proxy, Credentials: cfg.ProxyCredentials})
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return &Node{cfg: cfg, bootstrap: boot, proxy: way, recent: recent, ready: make(chan struct{})}, nil
}

// Ready closes when the node serves: the API answers and messages can be sent.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Addrs is where the node can be reached; it is complete once Ready closed.
func (n *Node) Addrs() Addrs { return n.addrs }

// Run is the node: it opens everything, serves until ctx ends, and closes
// everything in the order doors, mesh, mailrooms, host, store. It returns nil after
// ctx ended, and otherwise the first thing that failed, with all that failed in
// closing. When a state turns out to have been put back while it runs, it closes and
// opens everything once more, at the same addresses: the start knows what to do.
func (n *Node) Run(ctx context.Context) error {
	for {
		err := n.once(ctx)
		if !errors.Is(err, agent.ErrRolledBack) || ctx.Err() != nil {
			return err
		}
		n.cfg.Notice("the state of this home was put back, or a copy of it runs elsewhere: every session is replaced")
	}
}

func (n *Node) once(ctx context.Context) (err error) {
	h, err := openHome(n.cfg.Home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.checkRestored(); err != nil {
		return err
	}
	socket, err := h.socketPath()
	if err != nil {
		return err
	}
	ids, err := h.identities(n.cfg.Agent)
	if err != nil {
		return err
	}
	hosted := maps.Clone(ids)
	if n.cfg.Echo {
		if hosted[echoName], err = h.echoIdentity(ids); err != nil {
			return err
		}
	}
	policy, err := openPolicy(h.path(policyName), n.cfg.Logger)
	if err != nil {
		return err
	}
	nodeKey, err := identity.LoadNodeKey(h.path(nodeKeyFile), rand.Reader)
	if err != nil {
		return err
	}
	st, stateKey, err := h.state(store.Options{Logger: n.cfg.Logger, Schema: schema})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	m := &mesh{node: n, store: st, stateKey: stateKey, policy: policy, started: n.cfg.Clock(), changed: make(chan struct{}, 1), recorded: make(chan struct{})}
	if m.circuits, err = m.newCircuits(); err != nil {
		return err
	}
	var sockets dht.Sockets
	lh, err := n.listen(nodeKey, &sockets, m.circuits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lh.Close()) }()
	m.host = lh

	if m.transport, err = direct.New(lh, direct.Config{
		Deliver: m.fromDirect, OnPeer: m.onPeer, Keys: m.handOut, Logger: n.cfg.Logger,
	}); err != nil {
		return err
	}
	if m.dht, err = dht.New(lh, dht.Config{Mode: n.cfg.DHT, Bootstrap: n.bootstrap, Memory: dht.FileMemory(h.path(serversFile)), Logger: n.cfg.Logger, Clock: n.cfg.Clock}); err != nil {
		return err
	}
	if m.punching, err = m.newPunching(&sockets); err != nil {
		return err
	}
	if m.lan, err = m.newLAN(); err != nil {
		return err
	}
	if m.registries, err = m.openRegistries(ctx, hosted); err != nil {
		return err
	}
	defer m.registries.close()
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		if err := m.add(ctx, name, ids[name], st, stateKey, h.path(agentsDir, name, markName)); err != nil {
			return err
		}
	}
	if echo := hosted[echoName]; n.cfg.Echo {
		m.echo = echo.Key.AMID()
		if err := m.add(ctx, echoName, echo, st, stateKey, h.path(echoName, markName)); err != nil {
			return err
		}
	}
	if n.cfg.built != nil {
		n.cfg.built(m)
	}
	tcp, err := n.listenAPI()
	if err != nil {
		return err
	}
	defer tcp.Close()
	unix, err := httpapi.ListenSocket(socket)
	if err != nil {
		return err
	}
	defer unix.Close()
	creds, err := httpapi.LoadCredentials(n.cfg.Home, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return err
	}
	door, err := httpapi.New(httpapi.Config{
		Backend: m, Credentials: creds, Hosts: hostNames(tcp.Addr()), Version: n.cfg.Version, Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}

	inner, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	rooms, meshLayer, doors := newLayer(inner, failed), newLayer(inner, failed), newLayer(inner, failed)
	defer rooms.end()
	rooms.run("state key", m.turnStateKey)
	for _, r := range m.rooms {
		rooms.run("mailroom", r.agent.Run)
	}
	for _, r := range m.rooms { // before anything can arrive for them
		select {
		case <-r.agent.Running():
		case <-inner.Done():
			return ending(ctx, inner)
		}
	}
	defer meshLayer.end()
	meshLayer.run("direct", m.transport.Run)
	meshLayer.run("dht", m.dht.Run)
	if m.lan != nil {
		meshLayer.run("lan", m.runLAN)
	}
	if m.punching != nil {
		meshLayer.run("punching", m.punching.Run)
		meshLayer.run("nat", m.watchNAT)
	}
	if m.circuits != nil {
		meshLayer.run("circuits", m.circuits.Run)
	}
	meshLayer.run("records", m.publish)
	for _, l := range m.registries.all() {
		meshLayer.run("registry", l.run)
	}
	meshLayer.run("network", m.watchNetwork)
	meshLayer.run("policy", func(ctx context.Context) error { return policy.watch(ctx, m.policyChanged) })
	for _, r := range m.rooms {
		meshLayer.run("paths", r.paths.run)
		meshLayer.run("relays", r.relays.run)
		meshLayer.run("guests", r.guests.run)
		meshLayer.run("marks", r.marks.run)
		if n.cfg.Echo && r.agent.AMID() == m.echo {
			meshLayer.run("echo", (&echoer{desk: r.agent, log: n.cfg.Logger}).run)
		}
	}
	defer doors.end()
	doors.run("local api", func(ctx context.Context) error { return door.Serve(ctx, unix, door.SocketHandler()) })
	doors.run("local api", func(ctx context.Context) error { return door.Serve(ctx, tcp, door.TCPHandler()) })

	addrs := Addrs{API: "http://" + tcp.Addr().String(), Socket: socket, Libp2p: dht.Multiaddrs(lh)}
	if err := h.announce(addrs); err != nil {
		return err
	}
	select {
	case <-n.ready: // not for the first time
	default:
		n.addrs = addrs
		n.cfg.API, n.cfg.Listen = tcp.Addr().String(), nil
		for _, a := range slices.DeleteFunc(lh.Network().ListenAddresses(), ofCircuits) {
			n.cfg.Listen = append(n.cfg.Listen, a.String())
		}
		close(n.ready)
	}
	<-inner.Done()
	return ending(ctx, inner)
}

// ending is why inner is done: nil when the owner ended ctx, else what failed.
func ending(ctx, inner context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(inner)
}

// listen opens the libp2p host: on what was asked for, or on the default port, or on
// a free one when that is taken.
func (n *Node) listen(key identity.PrivateKey, sockets *dht.Sockets, circuits *dht.Circuits) (host.Host, error) {
	cfg := dht.HostConfig{Key: key, Listen: n.cfg.Listen, Trusted: n.bootstrap, Announce: dht.AnnounceNothing, MapPorts: n.cfg.MapPorts, Sockets: sockets, Circuits: circuits}
	if n.cfg.Announce == AnnouncePublic {
		cfg.Announce = dht.AnnouncePublic
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = defaultListen
	}
	h, err := dht.NewHost(cfg)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return h, err
	}
	if len(n.cfg.Listen) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrAddrInUse, err)
	}
	*sockets = dht.Sockets{}
	cfg.Listen = freeListen
	if h, err = dht.NewHost(cfg); err == nil {
		n.cfg.Notice("port 47777 is taken; listening on another one")
	}
	return h, err
}

func (n *Node) listenAPI() (net.Listener, error) {
	if n.cfg.API != "" {
		l, err := net.Listen("tcp", n.cfg.API)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%w: %w", ErrAddrInUse, err)
		}
		return l, err
	}
	l, err := net.Listen("tcp", defaultAPI)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if l, err = net.Listen("tcp", freeAPI); err == nil {
		n.cfg.Notice(fmt.Sprintf("%s is taken; the local API listens on %s", defaultAPI, l.Addr()))
	}
	return l, err
}

// hostNames are the Host values under which the TCP door answers.
func hostNames(a net.Addr) []string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return nil
	}
	names := []string{net.JoinHostPort(host, port)}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		names = append(names, net.JoinHostPort("localhost", port))
	}
	return names
}

// layer is a set of services that end together: end stops them and comes back when
// the last one is home. The first one that fails ends the node.
type layer struct {
	ctx    context.Context
	stop   context.CancelFunc
	failed context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newLayer(ctx context.Context, failed context.CancelCauseFunc) *layer {
	// The layer outlives ctx until end is called, so that the order of closing is
	// the one written in Run.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	return &layer{ctx: own, stop: stop, failed: failed}
}

func (l *layer) run(name string, service func(context.Context) error) {
	l.wg.Go(func() {
		if err := service(l.ctx); err != nil && l.ctx.Err() == nil {
			l.failed(fmt.Errorf("%s: %w", name, err))
		}
	})
}

func (l *layer) end() {
	l.stop()
	l.wg.Wait()
}
