package node

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/relay"
	"amesh/relay/mailbox"
	"amesh/relay/marks"
)

// station is a relay with its DHT server that can be stopped and started again on
// the same ports and data.
type station struct {
	t       *testing.T
	key     identity.PrivateKey
	mem     *store.Memory
	listen  string
	libp2p  string
	url     string
	boot    string
	dht     *dht.Node
	host    host.Host
	tap     func([]byte) // is shown what clients say to the relay; nil: nobody
	stop    context.CancelFunc
	stopped chan struct{}
}

func newStation(t *testing.T) *station {
	t.Helper()
	return tappedStation(t, nil)
}

func tappedStation(t *testing.T, tap func([]byte)) *station {
	t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{t: t, key: key, mem: store.NewMemory(), listen: "127.0.0.1:0", libp2p: "/ip4/127.0.0.1/udp/0/quic-v1", tap: tap}
	s.start()
	t.Cleanup(s.end)
	return s
}

func (s *station) start() {
	s.t.Helper()
	box, err := mailbox.NewDisk(s.mem, mailbox.Limits{})
	if err != nil {
		s.t.Fatal(err)
	}
	kept, err := marks.New(s.mem, marks.Limits{})
	if err != nil {
		s.t.Fatal(err)
	}
	srv, err := relay.NewServer(relay.ServerConfig{Mailbox: box, Marks: kept})
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := dht.NewHost(dht.HostConfig{Key: s.key, Listen: []string{s.libp2p}, Relay: true})
	if err != nil {
		s.t.Fatal(err)
	}
	shelf, err := dht.NewCardShelf(dht.CardLimits{})
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := dht.New(h, dht.Config{Mode: dht.ModeServer, Cards: shelf})
	if err != nil {
		s.t.Fatal(err)
	}
	s.listen, s.libp2p = l.Addr().String(), h.Addrs()[0].String()
	s.url, s.boot = "ws://"+s.listen+"/v1/connect", dht.Multiaddrs(h)[0]
	s.dht, s.host = d, h
	if s.tap != nil {
		l = tapped{l, s.tap}
	}
	s.serve(srv, l, h, d)
}

// tapped is a listener whose connections are listened in on.
type tapped struct {
	net.Listener
	tap func([]byte)
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return tappedConn{c, l.tap}, err
}

type tappedConn struct {
	net.Conn
	tap func([]byte)
}

func (c tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap(b[:n])
	return n, err
}

// find is what anybody can look up about an agent.
func (s *station) find(amid identity.AMID) (*identity.AgentRecord, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	return s.dht.Find(ctx, amid)
}

func (s *station) serve(srv *relay.Server, l net.Listener, h host.Host, d *dht.Node) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.stopped = stop, make(chan struct{})
	web := &http.Server{Handler: srv, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{}, 3)
	go func() { _ = web.Serve(l); done <- struct{}{} }()
	go func() { _ = srv.Run(ctx); done <- struct{}{} }()
	go func() { _ = d.Run(ctx); done <- struct{}{} }()
	go func() {
		<-ctx.Done()
		web.Close()
		for range 3 {
			<-done
		}
		h.Close()
		close(s.stopped)
	}()
}

func (s *station) end() {
	if s.stop != nil {
		s.stop()
		<-s.stopped
		s.stop = nil
	}
}

// running is a node in this process.
type running struct {
	t    *testing.T
	cfg  Config
	node *Node
	api  *api.Client
	amid identity.AMID
	stop context.CancelFunc
	done chan error
}

// home makes a short folder: the path of a socket may have 100 bytes.
func homeFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "am")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startNode(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{t: t, cfg: cfg}
	if r.cfg.Home == "" {
		r.cfg.Home = homeFolder(t)
	}
	if r.cfg.API == "" {
		r.cfg.API = "127.0.0.1:0"
	}
	if len(r.cfg.Listen) == 0 {
		r.cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	}
	r.start()
	t.Cleanup(r.end)
	return r
}

func (r *running) start() {
	r.t.Helper()
	n, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.node, r.stop, r.done = n, stop, make(chan error, 1)
	go func() { r.done <- n.Run(ctx) }()
	select {
	case <-n.Ready():
	case err := <-r.done:
		r.t.Fatalf("node ended: %v", err)
	}
	r.api = api.NewClient(api.ClientConfig{Socket: n.Addrs().Socket})
	id, err := r.api.Identity(r.t.Context(), "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.amid = id.AMID
}

func (r *running) end() {
	if r.stop == nil {
		return
	}
	r.api.Close()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("node ended with %v", err)
	}
	r.stop = nil
}

func (r *running) set(key, value string) {
	r.t.Helper()
	if _, err := r.api.SetPolicy(r.t.Context(), "", api.PolicyChange{Key: key, Value: value}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) send(to *running, body string, req api.SendRequest) api.Message {
	r.t.Helper()
	req.To, req.Body = to.amid.String(), []byte(body)
	if req.Wait == "" {
		req.Wait = api.StateDelivered
	}
	if req.TimeoutMS == 0 {
		req.TimeoutMS = 20_000
	}
	m, err := r.api.Send(r.t.Context(), "", req, "")
	if err != nil {
		r.t.Fatalf("send %q: %v", body, err)
	}
	return m
}

func (r *running) bodies() []string {
	r.t.Helper()
	page, err := r.api.Inbox(r.t.Context(), "", api.InboxQuery{All: true})
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, item := range page.Items {
		m, err := r.api.Read(r.t.Context(), "", item.ID, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, string(m.Body))
	}
	return list
}

func problemCode(err error) api.Code {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// cfgElsewhere is the configuration for another node at the same places.
func (r *running) cfgElsewhere() Config {
	return Config{Relays: r.cfg.Relays, Registries: r.cfg.Registries, Bootstrap: r.cfg.Bootstrap}
}

// eventually waits for another goroutine's doing, of which there is no event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
