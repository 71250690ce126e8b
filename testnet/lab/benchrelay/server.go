package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"amesh/internal/store"
	"amesh/relay"
	"amesh/relay/mailbox"

	"github.com/coder/websocket"
	natsserver "github.com/nats-io/nats-server/v2/server"
)

// server is a server in a process of its own.
type server struct {
	addr string
	pid  int
}

// start starts this program again as a server and waits until it listens. It runs
// until its standard input ends, so it cannot outlive us.
func (h *house) start(kind string, args ...string) (*server, error) {
	dir, err := os.MkdirTemp(h.dir, kind+"-")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{"serve", kind, dir}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h.atEnd(func() error {
		in.Close()
		return cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s does not start: %w", kind, err)
	}
	return &server{addr: strings.TrimSpace(line), pid: cmd.Process.Pid}, nil
}

// serve is what the process of a server does: it says its address and serves until
// stdin ends.
func serve(kind string, args []string, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()
	if len(args) == 0 {
		return errors.New("serve needs a folder")
	}
	ready := func(addr string) { fmt.Fprintln(stdout, addr) }
	switch kind {
	case "relay":
		return serveRelay(ctx, args, ready)
	case "plain":
		return serveHTTP(ctx, http.HandlerFunc(plain), ready)
	case "nats", "jetstream":
		return serveNATS(ctx, args[0], kind == "jetstream", ready)
	}
	return fmt.Errorf("no server is called %q", kind)
}

// unlimited are the relay's limits with nothing in the way of a benchmark.
func unlimited() relay.Limits {
	l := relay.DefaultLimits()
	const many = 1 << 30
	l.Connections, l.Unauthenticated = many, many
	a := &l.Admission
	a.WaitingPerAddress, a.NamedPerAddress, a.AuthRate, a.AuthBurst = many, many, many, many
	a.AuthChecks = runtime.GOMAXPROCS(0)
	l.LegacySends, l.LegacyKnocks = many, many
	l.SendRate, l.SendBurst = many, many
	l.PingEvery = time.Hour
	room := relay.Size{Messages: many, Bytes: 1 << 50}
	b := &l.Mailbox
	b.LegacyBox, b.LegacyShare, b.Box, b.Share, b.Total = room, room, room, room, room
	return l
}

func serveRelay(ctx context.Context, args []string, ready func(string)) (err error) {
	if len(args) > 1 && args[1] != "" {
		f, err := os.Create(args[1])
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	data, err := store.Open(filepath.Join(args[0], "mailbox"), store.Options{Schema: mailbox.Schema()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	l := unlimited()
	box, err := mailbox.NewDisk(data, l.Mailbox)
	if err != nil {
		return err
	}
	s, err := relay.NewServer(relay.ServerConfig{Mailbox: box, Limits: l})
	if err != nil {
		return err
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready(door.Addr().String())
	err = s.Serve(ctx, door, nil)
	return errors.Join(err, <-ran)
}

// plain upgrades with the library that the product's clients use, and nothing more.
func plain(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	for {
		if _, _, err := ws.Read(r.Context()); err != nil {
			return
		}
	}
}

func serveHTTP(ctx context.Context, handler http.Handler, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	ready(l.Addr().String())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serveNATS listens for WebSockets, and with JetStream for TCP: each peer has the
// transport on which it was compared or is the better one.
func serveNATS(ctx context.Context, dir string, jetstream bool, ready func(string)) error {
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true}
	if jetstream {
		o.JetStream, o.StoreDir, o.SyncAlways = true, dir, true
	} else {
		o.Websocket = natsserver.WebsocketOpts{Host: "127.0.0.1", Port: -1, NoTLS: true}
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("nats-server is not ready")
	}
	if jetstream {
		ready(s.ClientURL())
	} else {
		ready(s.WebsocketURL())
	}
	<-ctx.Done()
	return nil
}
