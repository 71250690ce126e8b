package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/homing"
	"amesh/relay"
	"amesh/relay/mailbox"
)

// street is a network of relays under fake time. Each keeps its mail while it is down.
type street struct {
	t   *testing.T
	all map[string]*bureau

	mu    sync.Mutex
	times map[string]time.Duration // what measuring says of those that are up
}

type bureau struct {
	mem      *store.Memory
	handler  func(*relay.Server) http.Handler
	incoming chan net.Conn
	server   *relay.Server
	stop     func() // nil: it is down
}

// newStreet opens relays, so many ms away.
func newStreet(t *testing.T, ms map[string]int) *street {
	s := &street{t: t, all: make(map[string]*bureau), times: make(map[string]time.Duration)}
	for name, n := range ms {
		s.all[name] = &bureau{mem: store.NewMemory()}
		s.open(name, n)
	}
	t.Cleanup(func() {
		for name := range s.all {
			s.shut(name)
		}
	})
	return s
}

func office(name string) string { return "ws://" + name + ".test/v1/connect" }

func (s *street) open(name string, ms int) {
	s.t.Helper()
	b := s.all[name]
	box, err := mailbox.NewDisk(b.mem, mailbox.Limits{})
	if err != nil {
		s.t.Fatal(err)
	}
	key := freshKey(s.t)
	srv, err := relay.NewServer(relay.ServerConfig{Mailbox: box, Key: &key, Names: []string{name + ".test:80"}})
	if err != nil {
		s.t.Fatal(err)
	}
	b.server = srv
	l := &lane{incoming: make(chan net.Conn), closed: make(chan struct{})}
	web := &http.Server{Handler: srv, ReadHeaderTimeout: 5 * time.Second}
	if b.handler != nil {
		web.Handler = b.handler(srv)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = web.Serve(l) })
	wg.Go(func() {
		if err := srv.Run(ctx); err != nil {
			s.t.Errorf("relay %s: %v", name, err)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[name] = time.Duration(ms) * time.Millisecond
	b.incoming = l.incoming
	b.stop = func() {
		stop()
		web.Close()
		wg.Wait()
	}
}

func (s *street) shut(name string) {
	s.mu.Lock()
	b := s.all[name]
	stop := b.stop
	b.stop, b.incoming = nil, nil
	delete(s.times, name)
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}

var errNobody = errors.New("nobody there")

func (s *street) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	s.mu.Lock()
	var door chan net.Conn
	for name, b := range s.all {
		if addr == name+".test:80" {
			door = b.incoming
		}
	}
	s.mu.Unlock()
	if door == nil {
		return nil, errNobody
	}
	ours, theirs := newWire()
	select {
	case door <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *street) measure(_ context.Context, url string) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, took := range s.times {
		if url == office(name) {
			return took, nil
		}
	}
	return 0, errNobody
}

// lane is the listener of one relay.
type lane struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (l *lane) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *lane) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *lane) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// wire is one end of a connection with room for what was written: without, two sides
// that write at the same moment wait for each other.
type wire struct {
	net.Conn
	out  chan []byte
	done chan struct{}
	once *sync.Once
}

func newWire() (a, b *wire) {
	x, y := net.Pipe()
	a = &wire{Conn: x, out: make(chan []byte, 1000), done: make(chan struct{}), once: new(sync.Once)}
	b = &wire{Conn: y, out: make(chan []byte, 1000), done: make(chan struct{}), once: new(sync.Once)}
	go a.carry()
	go b.carry()
	return a, b
}

func (w *wire) carry() {
	for {
		select {
		case b := <-w.out:
			if _, err := w.Conn.Write(b); err != nil {
				return
			}
		case <-w.done:
			return
		}
	}
}

func (w *wire) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (w *wire) Write(b []byte) (int, error) {
	select {
	case w.out <- slices.Clone(b):
		return len(b), nil
	case <-w.done:
		return 0, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.done) })
	return w.Conn.Close()
}

// tenant is an agent's relays on a street.
type tenant struct {
	*relays
	s    *street
	amid identity.AMID
	end  func()

	mu    sync.Mutex
	mail  []string
	moves []string
	lost  []relay.Expired
}

func (s *street) tenant(key identity.PrivateKey, limits homing.Limits, st store.Store, names ...string) *tenant {
	s.t.Helper()
	return s.tenantWith(relaysConfig{key: key, limits: limits}, st, names...)
}

func (s *street) tenantWith(cfg relaysConfig, st store.Store, names ...string) *tenant {
	s.t.Helper()
	v := &tenant{s: s, amid: cfg.key.AMID()}
	cfg.dial, cfg.measure, cfg.log = s.dial, s.measure, quiet
	cfg.up = func(string, bool) {}
	cfg.expired = func(e relay.Expired, c *relay.Client) {
		v.mu.Lock()
		v.lost = append(v.lost, e)
		v.mu.Unlock()
		c.Ack(e.ID)
	}
	cfg.deliver = func(d relay.Delivery, c *relay.Client) {
		v.mu.Lock()
		v.mail = append(v.mail, string(d.Payload[len(relay.Magic):]))
		v.mu.Unlock()
		c.Ack(d.ID)
	}
	cfg.moved = func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.moves = append(v.moves, short(v.announced()))
	}
	for _, name := range names {
		cfg.own = append(cfg.own, office(name))
	}
	if st != nil {
		cfg.book = &relayBook{store: st, amid: v.amid}
	}
	var err error
	if v.relays, err = newRelays(cfg); err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.run(ctx) }()
	ended := false
	v.end = func() {
		if stop(); !ended {
			ended = true
			if err := <-done; err != nil {
				s.t.Error(err)
			}
		}
	}
	s.t.Cleanup(v.end)
	return v
}

// short are the names of places.
func short(urls []string) string {
	text := ""
	for _, url := range urls {
		text += url[len("ws://") : len("ws://")+1]
	}
	return text
}

func (v *tenant) told() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.moves)
}

func (v *tenant) got() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.mail)
}

// connected are the relays with a line that lives.
func (v *tenant) connected() string {
	var urls []string
	for _, s := range v.status() {
		if s.State == "connected" {
			urls = append(urls, s.URL)
		}
	}
	slices.Sort(urls)
	return short(urls)
}

// leave puts mail for somebody into a relay, as a peer does.
func (s *street) leave(name string, to identity.AMID, text string) error {
	return s.leaveAs(freshKey(s.t), relay.KindMessage, name, to, text)
}

func (s *street) leaveAs(key identity.PrivateKey, kind relay.Kind, name string, to identity.AMID, text string) error {
	return leaveAt(relay.ClientConfig{URL: office(name), Key: key, Dial: s.dial}, kind, to, text)
}

// leaveAt puts mail for somebody into a relay, and says what the relay says.
func leaveAt(cfg relay.ClientConfig, kind relay.Kind, to identity.AMID, text string) error {
	results := make(chan relay.Result, 1)
	var c *relay.Client
	cfg.Deliver = func(relay.Delivery) {}
	cfg.OnState = func(st relay.State) {
		if st.Connected {
			c.Send(relay.Outgoing{To: to, Kind: kind, Payload: []byte(relay.Magic + text)}, func(r relay.Result) { results <- r })
		}
	}
	c, err := relay.NewClient(cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { stop(); <-done }()
	select {
	case r := <-results:
		return r.Err
	case <-time.After(time.Minute):
		return fmt.Errorf("%s takes nothing", cfg.URL)
	}
}
