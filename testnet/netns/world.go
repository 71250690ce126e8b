package netns

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"amesh/testnet/process"
)

// DefaultPrefix and DefaultPrefix6 look like addresses of the internet, because what
// libp2p does with addresses of documentation and private ranges is not what is tried here.
var (
	DefaultPrefix  = netip.MustParsePrefix("8.9.10.0/24")
	DefaultPrefix6 = netip.MustParsePrefix("2a0b:89a::/32")
)

// Config says what to build with.
type Config struct {
	Binary  string       // of amesh, for boxes and servers
	Dir     string       // for logs, sockets and servers' data; a short path, made when missing
	Prefix  netip.Prefix // of the public network, /16 to /24; zero: DefaultPrefix
	Prefix6 netip.Prefix // likewise, /32 to /48; zero: DefaultPrefix6
}

// World is a resource: New checks, Open builds the public network, Close takes everything
// away. Its methods may be called from any goroutine.
type World struct {
	cfg  Config
	name string // begins the names of all namespaces
	plan *plan

	mu        sync.Mutex
	spaces    []string
	processes []*process.Process
	ca        *authority
	closed    bool
}

// New makes a world. It opens and starts nothing.
func New(cfg Config) (*World, error) {
	if !cfg.Prefix.IsValid() {
		cfg.Prefix = DefaultPrefix
	}
	if !cfg.Prefix6.IsValid() {
		cfg.Prefix6 = DefaultPrefix6
	}
	if cfg.Binary == "" || cfg.Dir == "" {
		return nil, errors.New("netns: want a binary and a folder")
	}
	plan, err := newPlan(cfg.Prefix, cfg.Prefix6)
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	var some [2]byte
	_, _ = rand.Read(some[:]) // does not fail
	return &World{cfg: cfg, plan: plan, name: fmt.Sprintf("%s%d-%x-", prefixOfNames, os.Getpid(), some)}, nil
}

// Dir is the folder of the world.
func (w *World) Dir() string { return w.cfg.Dir }

// Space is the name of the namespace in which the public network is: whoever listens
// there hears all that passes over it.
func (w *World) Space() string { return w.name + coreSpace }

// coreSpace has the public network's bridge, and is the router of everybody on it.
const (
	coreSpace  = "core"
	bridgeName = "public"
)

// Open sweeps up after worlds that died, and builds the public network. When it fails, or later,
// Close takes away what is there.
func (w *World) Open(ctx context.Context) error {
	if err := sweep(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	ca, err := newAuthority(filepath.Join(w.cfg.Dir, "ca.pem"))
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	w.ca = ca
	if err := w.space(ctx, coreSpace); err != nil {
		return err
	}
	core := w.name + coreSpace
	if err := set(ctx, core, setting{"net/ipv4/ip_forward", "1"}, setting{"net/ipv6/conf/all/forwarding", "1"}); err != nil {
		return err
	}
	return inSpace(ctx, core,
		line("link add", bridgeName, "address", linkAddress(0), "type bridge mcast_snooping 0"),
		line("addr add", w.plan.gateway, "dev", bridgeName),
		line("-6 addr add", w.plan.gateway6, "dev", bridgeName, "nodad"),
		line("link set", bridgeName, "up"),
	)
}

// Close ends all processes of the world and takes its namespaces away.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	var all []error
	// Hosts end before boxes and servers, the last first: who goes on serving hears
	// who leaves.
	for _, p := range slices.Backward(w.processes) {
		select {
		case <-p.Done(): // by itself, or ended by its owner
		default:
			all = append(all, p.Stop(grace))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, s := range slices.Backward(w.spaces) {
		all = append(all, remove(ctx, s))
	}
	w.processes, w.spaces = nil, nil
	return errors.Join(all...)
}

// space makes a namespace, with its loopback up.
func (w *World) space(ctx context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("netns: the world is closed")
	}
	full := w.name + name
	if slices.Contains(w.spaces, full) {
		return fmt.Errorf("netns: there is a %s already", name)
	}
	if err := ip(ctx, line("netns add", full)); err != nil {
		return err
	}
	w.spaces = append(w.spaces, full)
	if err := set(ctx, full, quiet...); err != nil {
		return err
	}
	return inSpace(ctx, full, line("link set lo up"))
}

// start runs a process of the world in a namespace. Close ends it unless it ended before.
func (w *World) start(space string, c process.Config) (*process.Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("netns: the world is closed")
	}
	c.Args = slices.Concat([]string{"netns", "exec", space, c.Binary}, c.Args)
	c.Binary = "ip"
	p, err := process.Start(c)
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	w.processes = append(w.processes, p)
	return p, nil
}

// join lays a cable from a namespace to a bridge of another, and sets it up: the
// interface has the addresses and routes everything to the gateways. Invalid addresses
// are left out.
func (w *World) join(ctx context.Context, space, ifname, to, bridge, port string, at cable) error {
	if err := inSpace(ctx, to,
		line("link add", port, "type veth peer name", ifname, "netns", space),
		line("link set", port, "master", bridge, "up"),
	); err != nil {
		return err
	}
	return at.up(ctx, space, ifname)
}

// cable is how an interface is set up.
type cable struct {
	address, address6 netip.Prefix // invalid: none
	gateway, gateway6 netip.Addr
}

// up sets the interface up, or up again: a kernel forgets routes, and addresses of
// IPv6, of an interface that is down.
func (c cable) up(ctx context.Context, space, ifname string) error {
	lines := []string{line("link set", ifname, "up")}
	if c.address.IsValid() {
		lines = append(lines, line("addr replace", c.address, "dev", ifname), line("route replace default via", c.gateway))
	}
	if c.address6.IsValid() {
		lines = append(lines, line("-6 addr replace", c.address6, "dev", ifname, "nodad"), line("-6 route replace default via", c.gateway6))
	}
	return inSpace(ctx, space, lines...)
}
