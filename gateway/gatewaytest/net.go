package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/auth"
	"amesh/gateway/discovery"
	"amesh/gateway/store"
	"amesh/internal/outward"
)

// AdminKey opens the admin API of every gateway here.
const AdminKey = "test-admin-key-0123456789"

// Net is gateways that find each other.
type Net struct {
	t       testing.TB
	records map[string]string // what DNS says: domain to record
	by      map[string]*Gateway
	change  func(*gateway.Config)
}

// Start starts a gateway for each domain, with safe defaults: senders and readers prove who
// they are. They end with the test.
func Start(t testing.TB, domains ...string) *Net { return StartWith(t, nil, domains...) }

// StartWith is Start with configurations that change completes, each before its gateway is
// made. Their Domain says whose they are.
func StartWith(t testing.TB, change func(*gateway.Config), domains ...string) *Net {
	t.Helper()
	n := &Net{t: t, records: map[string]string{}, by: map[string]*Gateway{}, change: change}
	for _, d := range domains {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n.by[d] = &Gateway{Domain: d, URL: "http://" + l.Addr().String(), n: n, t: t, dir: t.TempDir(), l: l}
		n.records[d] = "v=amtp1;gateway=" + n.by[d].URL
	}
	for _, d := range domains {
		n.by[d].Start()
		t.Cleanup(n.by[d].Stop)
	}
	return n
}

// Record lets DNS say something of a domain, before the gateways are started that are to
// know it: Stop and Start one that runs.
func (n *Net) Record(domain, text string) { n.records[domain] = text }

// At is the gateway of a domain.
func (n *Net) At(domain string) *Gateway {
	n.t.Helper()
	g := n.by[domain]
	if g == nil {
		n.t.Fatalf("no gateway of %s was started", domain)
	}
	return g
}

// Gateway is one gateway.
type Gateway struct {
	Domain string
	URL    string // http://HOST:PORT
	Server *gateway.Server

	n    *Net
	t    testing.TB
	dir  string // its files
	l    net.Listener
	stop func() error  // nil: it does not run
	shut chan struct{} // closed when nobody is let in any more
}

// config is what a gateway is started with.
func (g *Gateway) config() gateway.Config {
	keys := filepath.Join(g.dir, "admin.keys")
	if err := os.WriteFile(keys, []byte("# of the test\n"+AdminKey+"\n"), 0o600); err != nil {
		g.t.Fatal(err)
	}
	loopback := outward.Config{HTTP: true, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	cfg := gateway.Config{
		Domain: g.Domain,
		Open: func(ctx context.Context) (*store.Store, error) {
			return store.Open(ctx, filepath.Join(g.dir, "gateway.db"))
		},
		Admins:    auth.NewAdminKeys(keys, time.Now),
		Discovery: discovery.Config{Mock: true, MockRecords: maps.Clone(g.n.records), AllowHTTP: true},
		Peers:     loopback, Hooks: loopback,
		Metrics: true,
		Logger:  slog.New(slog.NewTextHandler(testLog{g}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if g.n.change != nil {
		g.n.change(&cfg)
	}
	return cfg
}

// Start starts the gateway where it was before, with the database that it had.
func (g *Gateway) Start() {
	g.t.Helper()
	var err error
	if g.Server, err = gateway.New(g.config()); err != nil {
		g.t.Fatalf("%s: %v", g.Domain, err)
	}
	if g.l == nil {
		if g.l, err = net.Listen("tcp", g.URL[len("http://"):]); err != nil {
			g.t.Fatalf("%s: %v", g.Domain, err)
		}
	}
	ctx, end := context.WithCancel(context.Background())
	serving, leave := context.WithCancel(ctx)
	ran, served := make(chan error, 1), make(chan error, 1)
	server, l := g.Server, g.l
	go func() { ran <- server.Run(ctx) }()
	go func() { served <- server.Serve(serving, l, nil) }()
	shut := make(chan struct{})
	g.shut = shut
	g.stop = func() error {
		leave()
		err := <-served
		close(shut)
		end()
		return errors.Join(err, <-ran)
	}
	select {
	case <-server.Ready():
	case err := <-ran:
		ran <- err
		g.t.Fatalf("%s: %v", g.Domain, err)
	}
}

// Closed is closed when the gateway, on its way to stop, answers no more requests.
func (g *Gateway) Closed() <-chan struct{} { return g.shut }

// Stop stops the gateway in good order. It can be started again.
func (g *Gateway) Stop() {
	if g.stop == nil {
		return
	}
	stop := g.stop
	g.stop, g.l = nil, nil
	if err := stop(); err != nil {
		g.t.Errorf("%s: %v", g.Domain, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// testLog writes a gateway's log to the test's.
type testLog struct{ g *Gateway }

func (l testLog) Write(p []byte) (int, error) {
	_, err := fmt.Fprintf(l.g.t.Output(), "%s %s", l.g.Domain, p)
	return len(p), err
}

// Memory is a Config.Open for a gateway that keeps nothing: a Start after a Stop finds it
// empty.
func Memory(t testing.TB) func(context.Context) (*store.Store, error) {
	dir := t.TempDir()
	return func(ctx context.Context) (*store.Store, error) { return store.OpenMemory(ctx, dir) }
}
