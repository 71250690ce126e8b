package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/ice"
	"amesh/internal/store"
	"amesh/relay"
	"amesh/relay/ban"
	"amesh/relay/mailbox"
	"amesh/relay/marks"
	"amesh/relay/metrics"

	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

const (
	// relayDefault is where a relay listens without being told.
	relayDefault = ":8765"
	// relayPath is the path of the relay's endpoint. The server takes any; this is
	// the one that the SDKs use.
	relayPath = "/v1/connect"
	// longestText is the longest text of an operator about a relay, in bytes.
	longestText = 200
)

type relayOptions struct {
	listen, data, name, stun, metrics  string
	operator, contact, printAddresses  string
	libp2p, exempt, proxies, bootstrap []string
	perAddress                         int
	tls                                tlsOptions
}

func (a *app) relayCommand() *cobra.Command {
	var o relayOptions
	cmd := &cobra.Command{
		Use:   "relay [top|ban|unban|bans|drain]",
		Short: "Run a relay: a mailbox for agents that are away, and a DHT server",
		Long: `Runs a relay for AgentMesh agents. It forwards and keeps sealed envelopes, which it
cannot read, and is a DHT server, where agents find each other by AMID. It prints
the line with which a node uses it.

Without --listen it is HOST and PORT of the environment, else :8765. The libp2p
listeners are on udp and tcp port 47777, and a STUN server, which tells a node its
outer address, on udp port 3478; all of them on loopback when --listen is.

With --domain it speaks HTTPS on port 443 and gets its certificates by itself, from
Let's Encrypt, whose terms of use that accepts; or give --tls-cert and --tls-key.`,
		Example: `  amesh relay
  amesh relay --listen 127.0.0.1:0 --data /tmp/relay --print-addrs /tmp/relay.json
  amesh relay --name relay.example:443
  amesh relay --domain relay.example --operator Ann --contact ann@relay.example`,
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.relay(cmd.Context(), o) },
	}
	cmd.AddCommand(a.relayVerbs()...)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "`ADDR` for WebSockets (default :8765)")
	f.StringVar(&o.data, "data", "", "`DIR` for mailboxes and the key (default relay in the home)")
	f.StringSliceVar(&o.libp2p, "libp2p", nil, "libp2p `MULTIADDR` to listen on (repeatable)")
	f.StringSliceVar(&o.bootstrap, "bootstrap", nil, "`MULTIADDR` of another relay's DHT server, ending in /p2p/… (repeatable)")
	f.StringVar(&o.stun, "stun", "", "UDP `ADDR` of the STUN server, or off (default :3478)")
	f.StringVar(&o.name, "name", "", "`HOST:PORT` under which agents reach it, where that is not --listen")
	f.StringVar(&o.operator, "operator", "", "who runs the relay, `TEXT` for its page")
	f.StringVar(&o.contact, "contact", "", "where to reach the operator, `TEXT` for its page")
	f.StringVar(&o.metrics, "metrics", "", "`ADDR` for Prometheus, GET /metrics (default none)")
	f.StringSliceVar(&o.proxies, "trusted-proxy", nil, "believe X-Forwarded-For from `CIDR` (repeatable)")
	f.StringSliceVar(&o.exempt, "exempt", nil, "do not count the connections of `CIDR` by address (repeatable)")
	f.IntVar(&o.perAddress, "per-address", relay.DefaultLimits().Admission.NamedPerAddress,
		"connections of `N` agents at most from one IPv4 address or IPv6 /56")
	f.StringVar(&o.printAddresses, "print-addrs", "", "write the addresses to `FILE` as JSON when ready")
	o.tls.flags(f)
	return cmd
}

// relayParts is what a relay is made of, in the order in which it is opened.
type relayParts struct {
	log  *slog.Logger
	tell func(line string) // to the person at the terminal

	data    store.Store
	door    net.Listener
	stun    *net.UDPConn // nil: none
	stun2   *net.UDPConn // its second port; nil: none
	numbers net.Listener // for Prometheus; nil: none
	bans    *ban.List
	others  []p2p.AddrInfo // DHT servers to join
	host    host.Host
	server  *relay.Server
	tls     *tls.Config // nil: none

	opened   []io.Closer
	services []func(context.Context) error
}

// relay opens what a relay is made of and serves until ctx ends.
func (a *app) relay(ctx context.Context, o relayOptions) (err error) {
	started := time.Now()
	if err := a.checkRelay(&o); err != nil {
		return err
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	if err := dropFile(o.printAddresses); err != nil {
		return err
	}
	p := &relayParts{log: log, tell: func(line string) { fmt.Fprintln(a.err, line) }}
	defer func() { err = errors.Join(err, closeAll(p.opened)) }()
	if err := a.openRelay(p, &o); err != nil {
		return err
	}
	if err := p.serve(o.data); err != nil {
		return err
	}
	ctx, exit := context.WithCancel(ctx)
	defer exit()
	if err := p.openDoor(o.data, exit); err != nil {
		return err
	}
	p.services = append(p.services, func(ctx context.Context) error { return a.relayReady(ctx, o, p, started) })
	return together(ctx, p.services...)
}

// checkRelay looks at what was typed before anything is opened.
func (a *app) checkRelay(o *relayOptions) error {
	if err := checkListen("--libp2p", o.libp2p); err != nil {
		return err
	}
	if err := checkBootstrap(o.bootstrap); err != nil {
		return err
	}
	source := "--listen"
	if o.listen == "" {
		source = "HOST and PORT make"
	}
	if err := o.tls.check(); err != nil {
		return err
	}
	addr, _ := a.serverListen(o.listen, relayDefault, o.tls)
	if err := checkHostPort(source, addr, "127.0.0.1:8765 or :8765"); err != nil {
		return err
	}
	if o.stun != "" && o.stun != off {
		if err := checkHostPort("--stun", o.stun, "127.0.0.1:3478 or :3478, or off"); err != nil {
			return err
		}
	}
	if o.metrics != "" {
		if err := checkHostPort("--metrics", o.metrics, "127.0.0.1:9100"); err != nil {
			return err
		}
	}
	if len(o.operator) > longestText || len(o.contact) > longestText {
		return usagef("--operator and --contact: at most %d bytes each", longestText)
	}
	if o.perAddress <= 0 {
		return usagef("--per-address %d: want a number above 0", o.perAddress).next("leave it out for %d", relay.DefaultLimits().Admission.NamedPerAddress)
	}
	for flag, list := range map[string][]string{"--exempt": o.exempt, "--trusted-proxy": o.proxies} {
		if _, err := parsePrefixes(flag, list); err != nil {
			return err
		}
	}
	o.data = a.relayData(o.data)
	return checkName(o.name)
}

// openRelay opens the parts; those that were opened when it fails are closed by close.
func (a *app) openRelay(p *relayParts, o *relayOptions) (err error) {
	p.data, err = store.Open(filepath.Join(o.data, "mailbox"), store.Options{Schema: mailbox.Schema(), Lossy: true, Logger: p.log})
	if err != nil {
		return err
	}
	p.opened = append(p.opened, p.data)
	if err := a.openSockets(p, *o); err != nil {
		return err
	}
	if o.name == "" && len(o.tls.domains) > 0 {
		_, port, _ := net.SplitHostPort(p.door.Addr().String())
		o.name = net.JoinHostPort(o.tls.domains[0], port)
	}
	if o.metrics != "" {
		if p.numbers, err = listenTCP(o.metrics, false, p.tell); err != nil {
			return err
		}
		p.opened = append(p.opened, p.numbers)
	}
	key, err := identity.LoadNodeKey(filepath.Join(o.data, "node.key"), rand.Reader)
	if err != nil {
		return err
	}
	if p.bans, err = ban.Open(filepath.Join(o.data, "bans.json")); err != nil {
		return err
	}
	if p.others, err = dht.ParseBootstrap(o.bootstrap); err != nil {
		return err
	}
	if p.host, err = p.openHost(key, o.libp2p); err != nil {
		return err
	}
	p.opened = append(p.opened, p.host)
	if p.server, err = p.newServer(*o, key); err != nil {
		return err
	}
	return p.openTLS(*o)
}

// openSockets takes the sockets that a service manager gives, and opens those that it
// does not.
func (a *app) openSockets(p *relayParts, o relayOptions) (err error) {
	if p.door, p.stun, err = inheritedSockets(a.getenv); err != nil {
		return err
	}
	if p.door == nil {
		listen, isDefault := a.serverListen(o.listen, relayDefault, o.tls)
		if p.door, err = listenTCP(listen, isDefault, p.tell); err != nil {
			return err
		}
	}
	p.opened = append(p.opened, p.door)
	if p.stun == nil {
		if p.stun, err = listenSTUN(o.stun, onLoopback(p.door), p.tell); err != nil {
			return err
		}
	}
	if p.stun != nil {
		p.opened = append(p.opened, p.stun)
		if p.stun2 = besideSTUN(p.stun); p.stun2 != nil {
			p.opened = append(p.opened, p.stun2)
		}
	}
	return nil
}

// serve makes the services of what was opened, for a relay with the folder data.
func (p *relayParts) serve(data string) error {
	cards, err := dht.NewCardShelf(dht.DefaultCardLimits())
	if err != nil {
		return err
	}
	directory, err := dht.New(p.host, dht.Config{
		Mode: dht.ModeServer, Bootstrap: p.others, Cards: cards, Memory: dht.FileMemory(filepath.Join(data, "servers.json")), Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.services = append(p.services, p.server.Run, directory.Run,
		func(ctx context.Context) error { return p.server.Serve(ctx, p.door, p.tls) })
	numbers := metrics.Config{Relay: p.server.Stats, Logger: p.log}
	if p.stun != nil {
		s, err := ice.NewSTUN(p.stun, ice.STUNLimits{}, p.log)
		if err != nil {
			return err
		}
		if p.stun2 != nil {
			s.Also(p.stun2)
		}
		p.services = append(p.services, s.Run)
		numbers.STUN = s.Counts
	}
	if p.numbers != nil {
		m, err := metrics.New(numbers)
		if err != nil {
			return err
		}
		p.services = append(p.services, func(ctx context.Context) error { return m.Serve(ctx, p.numbers) })
	}
	return nil
}

func (p *relayParts) newServer(o relayOptions, key identity.PrivateKey) (*relay.Server, error) {
	cfg := relay.ServerConfig{
		Key: &key, Limits: relay.DefaultLimits(), Logger: p.log, STUN: toldSTUN(p.stun, o.name),
		Bans: p.bans, OnBan: func(t ban.Target) {
			dht.CloseFrom(p.host, func(ip netip.Addr) bool { return t.Covers(identity.AMID{}, ip) })
		},
		About: relay.About{
			Name: o.name, Operator: o.operator, Contact: o.contact, Version: version,
			Libp2p: toldLibp2p(o.name, dht.Multiaddrs(p.host)),
		},
	}
	cfg.Limits.Admission.NamedPerAddress = o.perAddress
	if n, ok := fileLimit(); ok && n < cfg.Limits.Connections+spareFiles {
		cfg.Limits.Connections, cfg.Limits.Unauthenticated = withFiles(cfg.Limits, n)
		p.tell(fmt.Sprintf("the system allows %d open files, so at most %d connections: raise the limit (ulimit -n)", n, cfg.Limits.Connections))
	}
	cfg.Names = dialledNames(o.name, o.tls.domains, p.door)
	var err error
	exempt := o.exempt
	if len(exempt) == 0 && len(o.proxies) == 0 && onLoopback(p.door) {
		// Either nobody but this machine comes here, or everybody does, through a
		// proxy that was not named: by address there is nothing to tell apart.
		exempt = loopback
	}
	if cfg.Exempt, err = parsePrefixes("--exempt", exempt); err != nil {
		return nil, err
	}
	if cfg.Proxies, err = parsePrefixes("--trusted-proxy", o.proxies); err != nil {
		return nil, err
	}
	if cfg.Mailbox, err = mailbox.NewDisk(p.data, cfg.Limits.Mailbox); err != nil {
		return nil, err
	}
	if cfg.Marks, err = marks.New(p.data, marks.Limits{}); err != nil {
		return nil, err
	}
	return relay.NewServer(cfg)
}

// loopback is this machine as seen by itself.
var loopback = []string{"127.0.0.0/8", "::1/128"}

// spareFiles are for the mailbox and for libp2p.
const spareFiles = 2000

// withFiles fits the connections of a relay, with a name and without, into n open
// files: when these are gone not even the mailbox can open one.
func withFiles(l relay.Limits, n int) (connections, nameless int) {
	connections = max(n-spareFiles, n/2)
	return connections, min(l.Unauthenticated, max(connections/4, 1))
}

// openHost listens where it is told, or on our port of all interfaces, or of loopback
// only if the relay itself is there.
func (p *relayParts) openHost(key identity.PrivateKey, listen []string) (host.Host, error) {
	limits := dht.DefaultRelayLimits()
	cfg := dht.HostConfig{Key: key, Listen: listen, Trusted: p.others, Relay: true, Limits: &limits, Refuse: p.banned}
	if len(listen) > 0 {
		return dht.NewHost(cfg)
	}
	ip := "0.0.0.0"
	if onLoopback(p.door) {
		ip = "127.0.0.1"
	}
	on := func(port int) []string {
		return []string{fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, port), fmt.Sprintf("/ip4/%s/tcp/%d", ip, port)}
	}
	cfg.Listen = on(47777)
	h, err := dht.NewHost(cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		p.tell("port 47777 is taken, using a free one for libp2p")
		cfg.Listen = on(0)
		h, err = dht.NewHost(cfg)
	}
	return h, err
}

// banned keeps banned networks from the DHT and the circuit relay as well.
func (p *relayParts) banned(ip netip.Addr) bool {
	_, ok := p.bans.Address(ip)
	return ok
}
