package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay"
	"amesh/relay/mailbox"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/spf13/cobra"
)

const (
	// relayDefault is where a relay listens without being told.
	relayDefault = ":8765"
	// relayPath is the path of the relay's endpoint. The server takes any; this is
	// the one that the SDKs use.
	relayPath = "/v1/connect"
	// headerWait is the time for the headers of an upgrade.
	headerWait = 10 * time.Second
)

type relayOptions struct {
	listen, data, name, printAddresses string
	libp2p                             []string
}

func (a *app) relayCommand() *cobra.Command {
	var o relayOptions
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Run a relay: a mailbox for agents that are away, and a DHT server",
		Long: `Runs a relay for AgentMesh agents. It forwards and keeps sealed envelopes, which it
cannot read, and is a DHT server, where agents find each other by AMID. It prints
the line with which a node uses it.

Without --listen it is HOST and PORT of the environment, else :8765. The libp2p
listeners are on udp and tcp port 47777, on loopback when --listen is.`,
		Example: `  amesh relay
  amesh relay --listen 127.0.0.1:0 --data /tmp/relay --print-addrs /tmp/relay.json
  amesh relay --name relay.example:443`,
		Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.relay(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "`ADDR` for WebSockets (default :8765)")
	f.StringVar(&o.data, "data", "", "`DIR` for mailboxes and the key (default relay in the home)")
	f.StringSliceVar(&o.libp2p, "libp2p", nil, "libp2p `MULTIADDR` to listen on (repeatable)")
	f.StringVar(&o.name, "name", "", "`HOST:PORT` under which agents reach it, where that is not --listen")
	f.StringVar(&o.printAddresses, "print-addrs", "", "write the addresses to `FILE` as JSON when ready")
	return cmd
}

// relay opens what a relay is made of, door last, and serves until ctx ends.
func (a *app) relay(ctx context.Context, o relayOptions) (err error) {
	started := time.Now()
	if err := checkListen("--libp2p", o.libp2p); err != nil {
		return err
	}
	listen, isDefault := a.relayListen(o.listen)
	source := "--listen"
	if o.listen == "" {
		source = "HOST and PORT make"
	}
	if err := checkHostPort(source, listen, "127.0.0.1:8765 or :8765"); err != nil {
		return err
	}
	if err := checkName(o.name); err != nil {
		return err
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	if err := dropFile(o.printAddresses); err != nil {
		return err
	}
	tell := func(line string) { fmt.Fprintln(a.err, line) }
	if o.data == "" {
		o.data = filepath.Join(a.home, "relay")
	}
	data, err := store.Open(filepath.Join(o.data, "mailbox"), store.Options{Schema: mailbox.Schema(), Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()

	server, err := newRelay(data, log)
	if err != nil {
		return err
	}
	door, err := listenTCP(listen, isDefault, tell)
	if err != nil {
		return err
	}
	defer door.Close()
	key, err := identity.LoadNodeKey(filepath.Join(o.data, "node.key"), rand.Reader)
	if err != nil {
		return err
	}
	h, err := relayHost(key, o.libp2p, onLoopback(door), tell)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	directory, err := dht.New(h, dht.Config{Mode: dht.ModeServer, Logger: log})
	if err != nil {
		return err
	}

	return together(ctx, server.Run, directory.Run,
		func(ctx context.Context) error { return serveHTTP(ctx, door, server, log) },
		func(ctx context.Context) error { return a.relayReady(ctx, o, door, dht.Multiaddrs(h), started) })
}

func newRelay(data store.Store, log *slog.Logger) (*relay.Server, error) {
	limits := relay.DefaultLimits()
	box, err := mailbox.NewDisk(data, limits.Mailbox)
	if err != nil {
		return nil, err
	}
	return relay.NewServer(relay.ServerConfig{Mailbox: box, Limits: limits, Logger: log})
}

// relayListen finds out where to listen. HOST and PORT are the environment of the
// AgentMesh relay (AgentMesh §2.1).
func (a *app) relayListen(flag string) (addr string, isDefault bool) {
	if flag != "" {
		return flag, false
	}
	host, port := a.getenv("HOST"), a.getenv("PORT")
	if port != "" {
		return net.JoinHostPort(host, port), false
	}
	return net.JoinHostPort(host, strings.TrimPrefix(relayDefault, ":")), true
}

// relayHost listens where it is told, or on our port of all interfaces, or of
// loopback only if the relay itself is there.
func relayHost(key identity.PrivateKey, listen []string, loopback bool, tell func(string)) (host.Host, error) {
	cfg := dht.HostConfig{Key: key, Listen: listen, Relay: true}
	if len(listen) > 0 {
		return dht.NewHost(cfg)
	}
	ip := "0.0.0.0"
	if loopback {
		ip = "127.0.0.1"
	}
	on := func(port int) []string {
		return []string{fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, port), fmt.Sprintf("/ip4/%s/tcp/%d", ip, port)}
	}
	cfg.Listen = on(47777)
	h, err := dht.NewHost(cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		tell("port 47777 is taken, using a free one for libp2p")
		cfg.Listen = on(0)
		h, err = dht.NewHost(cfg)
	}
	return h, err
}

// serveHTTP serves until ctx ends. Upgraded connections are the relay's own to
// close, so there is nothing to wait for.
func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerWait,
		// What goes wrong here is a stranger's doing.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// relayAddresses is what --print-addrs writes.
type relayAddresses struct {
	Relay  string   `json:"relay"`
	Libp2p []string `json:"libp2p"`
}

// relayReady says where the relay is, and waits for the end.
func (a *app) relayReady(ctx context.Context, o relayOptions, door net.Listener, libp2p []string, started time.Time) error {
	hosts := reachable(door)
	if o.name != "" {
		hosts = []string{o.name}
	}
	addrs := relayAddresses{Relay: relayURL(hosts[0]), Libp2p: libp2p}
	err := a.show(addrs, func(w io.Writer) {
		for _, h := range hosts {
			fmt.Fprintf(w, "relay      %s\n", relayURL(h))
		}
		for _, m := range libp2p {
			fmt.Fprintf(w, "libp2p     %s\n", m)
		}
		fmt.Fprintf(w, "data       %s\n", o.data)
		for _, h := range hosts {
			fmt.Fprintf(w, "use it     %s\n", upLine(h, libp2p))
		}
		fmt.Fprintf(w, "ready in %.1f s\n", time.Since(started).Seconds())
	})
	if err != nil {
		return err
	}
	if err := writeAddresses(o.printAddresses, addrs); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// relayURL is the URL of a relay at host. Behind port 443 there is TLS.
func relayURL(host string) string {
	scheme := "ws://"
	if _, port, err := net.SplitHostPort(host); err == nil && port == "443" {
		scheme = "wss://"
	}
	return scheme + host + relayPath
}

// upLine is what to paste on the machine of a node.
func upLine(host string, libp2p []string) string {
	line := "amesh up --relay " + relayURL(host)
	if at := reachedBy(host, libp2p); at != "" {
		line += " --bootstrap " + at
	}
	return line
}
