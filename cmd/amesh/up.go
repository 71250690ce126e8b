package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/proxy"
	"amesh/internal/trim"
	"amesh/node"
	"amesh/node/api"
	"amesh/node/homing"
	"amesh/registry/client"
	"amesh/relay"

	"github.com/spf13/cobra"
)

type upOptions struct {
	relays, bootstrap, listen           []string
	homes                               int
	legacy, lan, mapPorts, echo         bool
	registries                          []string
	legacyRegistry                      bool
	dht                                 string
	api, announce, name, printAddresses string
	proxy, proxyCredentials             string
	punch                               string
	stun                                []string
}

func (a *app) upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the node beside an agent",
		Long: `Runs the node that hosts the agent: its identity and mailbox, the lines to other
agents, and the local API. The first run makes an identity. The node ends on
SIGTERM or Ctrl-C; what was accepted is on disk and goes on next time.

What is not given as a flag is taken from the environment (AMESH_RELAY and so on,
lists with commas), then from config.yaml in the home.`,
		Example: `  amesh up --name travel-bot
  amesh up --relay wss://relay.example/v1/connect --registry https://registry.example
  amesh up --home /tmp/b --api 127.0.0.1:0 --listen /ip4/127.0.0.1/tcp/0 --print-addrs /tmp/b.json`,
		Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.relays, "relay", nil, "ws:// or wss:// `URL` of a relay to be homed on (repeatable; the fastest are chosen)")
	f.IntVar(&o.homes, "relays-kept", homing.DefaultLimits().Keep, "be homed on at most `N` of the relays at a time, 1 to 8")
	f.BoolVar(&o.legacy, "allow-legacy-relay", false, "connect also to relays that set no challenge: what is signed for them could be used at a registry")
	f.StringSliceVar(&o.registries, "registry", nil, "http:// or https:// `URL` of a registry to be found at (repeatable)")
	f.BoolVar(&o.legacyRegistry, "allow-legacy-registry", false, "register also at registries of AgentMesh 0.2: what is signed for them could be used elsewhere")
	f.StringSliceVar(&o.bootstrap, "bootstrap", nil, "`MULTIADDR` of a DHT server, ending in /p2p/… (repeatable)")
	f.StringVar(&o.dht, "dht", "auto", "keep records for others: `MODE` client, server, or auto while reachable from outside")
	f.BoolVar(&o.lan, "lan", true, "find agents in private networks by multicast, and be found there")
	f.BoolVar(&o.echo, "echo", false, "offer a further agent, open to everybody, that sends back what it gets, for others to try against")
	f.StringVar(&o.api, "api", "", "`ADDR` of the local API on TCP (default 127.0.0.1:7777)")
	f.StringSliceVar(&o.listen, "listen", nil, "libp2p `MULTIADDR` to listen on (repeatable; default tcp and udp port 47777)")
	f.BoolVar(&o.mapPorts, "map-ports", true, "ask the router for a port (UPnP, NAT-PMP)")
	f.StringVar(&o.announce, "announce", "none", "addresses in the public record: none or public")
	f.StringVar(&o.punch, "punch", node.PunchAuto, "open direct paths through NATs to agents that were let in: auto or off")
	f.StringSliceVar(&o.stun, "stun", nil, "`HOST:PORT` of a STUN server beside those of the relays (repeatable)")
	f.StringVar(&o.proxy, "proxy", proxy.Auto, "reach relays and registries through the proxy at `URL` (http, https or socks5), none, or auto: what HTTPS_PROXY (HTTP_PROXY for ws:// and http://), ALL_PROXY and NO_PROXY say")
	f.StringVar(&o.proxyCredentials, "proxy-credentials", "", "`SOURCE` of user:password for the proxy, read again when it wants others: file:PATH or command:TEXT")
	f.StringVar(&o.name, "name", "", "`NAME` of the agent that is made when there is none (default \"default\")")
	f.StringVar(&o.printAddresses, "print-addrs", "", "write the addresses to `FILE` as JSON when ready")
	return cmd
}

func (a *app) up(ctx context.Context, o upOptions) error {
	started := time.Now()
	running := trim.Start()
	defer running()
	if err := o.check(a.home); err != nil {
		return err
	}
	name, err := a.firstName(o.name)
	if err != nil {
		return err
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	if err := dropFile(o.printAddresses); err != nil {
		return err
	}
	mode, err := dht.ParseMode(o.dht)
	if err != nil {
		return usagef("--dht: %v", err).next("amesh up --help")
	}
	n, err := node.New(node.Config{
		Home: a.home, Agent: name, Relays: o.relays, Homes: o.homes, AllowLegacyRelay: o.legacy,
		Registries: o.registries, AllowLegacyRegistry: o.legacyRegistry, DHT: mode, LAN: o.lan, Echo: o.echo, Bootstrap: o.bootstrap, Listen: o.listen,
		Proxy: o.proxy, ProxyCredentials: o.proxyCredentials,
		API: hostPort(o.api), Announce: o.announce, MapPorts: o.mapPorts, Punch: o.punch, STUN: o.stun, Version: version, Logger: log,
		Notice: func(line string) { fmt.Fprintln(a.err, line) },
	})
	if errors.Is(err, node.ErrNotLoopback) {
		return err
	}
	if err != nil {
		return usagef("%v", err).next("amesh up --help")
	}
	return together(ctx, n.Run, func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-n.Ready():
		}
		if err := a.welcome(ctx, n.Addrs(), o, started); err != nil && ctx.Err() == nil {
			return err
		}
		trimLater(ctx, log, running)
		<-ctx.Done()
		return nil
	})
}

// settling is how long after a start the lines to relays and other nodes are up.
const settling = 5 * time.Second

// trimLater gives back what only the start needed.
func trimLater(ctx context.Context, log *slog.Logger, running func()) {
	select {
	case <-ctx.Done():
	case <-time.After(settling):
		running()
		if err := trim.Memory(); err != nil {
			log.Debug("memory of the start is kept", "err", err)
		}
	}
}

// check looks at what was typed before anything is opened.
func (o upOptions) check(home string) error {
	if o.announce != "none" && o.announce != "public" {
		return usagef("--announce %s: want none or public", o.announce).next("amesh up --help")
	}
	if o.punch != node.PunchAuto && o.punch != node.PunchOff {
		return usagef("--punch %s: want auto or off", o.punch).next("amesh up --help")
	}
	if o.homes < 1 || o.homes > identity.MaxRelays {
		return usagef("--relays-kept %d: want 1 to %d", o.homes, identity.MaxRelays).next("amesh up --help")
	}
	for _, url := range o.relays {
		if _, err := relay.ParseURL(url); err != nil {
			return usagef("--relay: %v", err).next("write it like wss://relay.example/v1/connect; a relay prints it behind \"use it\"")
		}
	}
	for _, url := range o.registries {
		if _, err := client.ParseURL(url); err != nil {
			return usagef("--registry: %v", err).next("write it like https://registry.example")
		}
	}
	if _, err := proxy.New(proxy.Config{Setting: o.proxy, Credentials: o.proxyCredentials}); err != nil {
		return usagef("--proxy: %v", err).next("write it like http://proxy.example:3128 or socks5://proxy.example; without --proxy the environment says it")
	}
	if err := checkBootstrap(o.bootstrap); err != nil {
		return err
	}
	if o.api != "" {
		if err := checkHostPort("--api", hostPort(o.api), "127.0.0.1:7777"); err != nil {
			return err
		}
	}
	if err := checkListen("--listen", o.listen); err != nil {
		return err
	}
	// An old socket goes away by itself; what somebody put there is theirs.
	socket := filepath.Join(home, "node.sock")
	if info, err := os.Lstat(socket); err == nil && info.Mode().Type() != fs.ModeSocket {
		return &failure{exit: exitConflict, code: "socket_in_the_way", message: socket + " is in the way: it is no socket", hint: "move it away, or give another --home"}
	}
	return nil
}

// checkBootstrap looks at the addresses of DHT servers.
func checkBootstrap(list []string) error {
	for _, at := range list {
		if _, err := dht.ParseBootstrap([]string{at}); err != nil {
			return usagef("--bootstrap: %v", err).next("write it like /ip4/192.0.2.7/tcp/47777/p2p/12D3KooW…; a relay prints it behind \"use it\"")
		}
	}
	return nil
}

// firstName is the name for the agent that is made when the home has none. It says
// so when a name was given for nothing.
func (a *app) firstName(name string) (string, error) {
	asked := name != ""
	if !asked {
		name = a.agent
	}
	if name != "" {
		if err := checkAgentName(name); err != nil {
			return "", err
		}
	}
	agents, err := a.agentsOnDisk()
	if err != nil {
		return "", err
	}
	named := slices.ContainsFunc(agents, func(known api.Agent) bool { return known.Name == name })
	if asked && len(agents) > 0 && !named {
		fmt.Fprintf(a.err, "--name %s is ignored: the home has the agent %s\n", name, plain(agents[0].Name))
	}
	return name, nil
}

// ready is what up says with --json.
type ready struct {
	Home       string         `json:"home"`
	Agents     []api.Identity `json:"agents"`
	Relays     []string       `json:"relays"`
	Registries []string       `json:"registries,omitempty"`
	Strangers  string         `json:"strangers,omitempty"`
	Echo       string         `json:"echo,omitempty"` // AMID of the echo agent
	node.Addrs
}

// welcome tells the owner who and where the node is, once it is ready, and writes
// the addresses for scripts: they wait for that file, so it comes last.
func (a *app) welcome(ctx context.Context, addrs node.Addrs, o upOptions, started time.Time) error {
	own := api.NewClient(api.ClientConfig{Socket: addrs.Socket})
	defer own.Close()
	r := ready{Home: a.home, Relays: append([]string{}, o.relays...), Registries: o.registries, Addrs: addrs}
	status, err := own.Status(ctx, "")
	if err != nil {
		return err
	}
	for _, agent := range status.Agents {
		if agent.Echo {
			r.Echo = agent.AMID.String()
			continue
		}
		id, err := own.Identity(ctx, agent.Name)
		if err != nil {
			return err
		}
		p, err := own.Policy(ctx, agent.Name)
		if err != nil {
			return err
		}
		r.Agents = append(r.Agents, id)
		r.Strangers = fmt.Sprint(p.Rules["strangers"])
	}
	if err := a.show(r, func(w io.Writer) { writeReady(w, r, time.Since(started)) }); err != nil {
		return err
	}
	return writeAddresses(o.printAddresses, addrs)
}

// strangersDo says what the policy does with somebody it does not name.
var strangersDo = map[string]string{
	"ask":    "strangers wait for you: amesh knocks",
	"accept": "strangers are let in",
	"reject": "strangers are refused",
}

func writeReady(w io.Writer, r ready, took time.Duration) {
	for _, id := range r.Agents {
		fmt.Fprintf(w, "identity   %s  (%s)\n           %s\n", id.AMID, id.Name, id.DID)
	}
	fmt.Fprintf(w, "home       %s\n", r.Home)
	for _, addr := range r.Libp2p {
		fmt.Fprintf(w, "listening  %s\n", addr)
	}
	for _, url := range r.Relays {
		fmt.Fprintf(w, "relay      %s\n", url)
	}
	if len(r.Relays) == 0 {
		fmt.Fprintln(w, "relay      none: messages reach only agents that can be connected to directly")
	}
	for _, url := range r.Registries {
		fmt.Fprintf(w, "registry   %s\n", url)
	}
	fmt.Fprintf(w, "api        unix:%s  %s\n", r.Socket, r.API)
	if says, ok := strangersDo[r.Strangers]; ok {
		fmt.Fprintf(w, "policy     %s\n", says)
	}
	if r.Echo != "" {
		fmt.Fprintf(w, "echo       %s sends back what it gets from anybody; who writes to it learns where this node is\n", r.Echo)
	}
	fmt.Fprintf(w, "ready in %.1f s\n", took.Seconds())
}

// dropFile removes what an earlier run wrote, so that nobody takes its addresses
// for ours.
func dropFile(path string) error {
	if path == "" {
		return nil
	}
	// Before anything is opened, and not when it is all there and cannot be told.
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("print addresses: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("print addresses: %w", err)
	}
	return nil
}
