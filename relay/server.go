package relay

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/relay/ban"
	"amesh/relay/longpoll"
	"amesh/relay/mailbox"
	"amesh/relay/socket"

	"github.com/coder/websocket"
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	// Mailbox keeps what cannot be delivered at once. Required; the caller
	// closes what is behind it after Run has returned.
	Mailbox mailbox.Mailbox
	// Key signs notices, and is the relay's libp2p key; nil: no extension "expired".
	Key *identity.PrivateKey
	// Marks keeps rollback marks; without it the relay has no extension "epoch".
	Marks Marks
	// Limits are the server's numbers; the zero value means DefaultLimits.
	Limits Limits
	// Logger gets events; nil is silence.
	Logger *slog.Logger
	// STUN is the address of the STUN server beside the relay, HOST:PORT, or :PORT
	// where the host is the one that the client dialled; empty if there is none.
	STUN string
	// Exempt are addresses to which the numbers of AdmissionLimits that count by
	// address do not apply.
	Exempt []netip.Prefix
	// Proxies are addresses whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// About is what the relay says of itself.
	About About
	// Names are the HOST:PORT under which clients dial the relay. Without any it
	// goes by loopback, private and its own socket's addresses (relay.md §2.2).
	Names []string
	// OnBan hears of every new ban, for what is beside the relay; nil is nobody.
	OnBan func(ban.Target)
	// Bans are whom the operator does not want; nil is nobody, until Ban is called.
	Bans *ban.List
}

// Server is a relay. It is an http.Handler that upgrades any path; its Run does
// the work that belongs to no connection. All methods are safe for concurrent use.
type Server struct {
	box     metered
	guarded *guarded // inside box
	limits  Limits
	log     *slog.Logger
	stun    string
	about   About
	names   dialled.Names
	marks   Marks                // nil: none
	key     *identity.PrivateKey // nil: none
	rates   *rates
	replays *replays
	keys    *keys
	broken  chan error
	failing atomic.Bool
	polls   polls

	admission *admission
	bans      *ban.List
	onBan     func(ban.Target)
	books     *books
	counts    *counts
	jumps     uint64 // of the clock, that were logged

	mu       sync.Mutex
	running  bool
	ready    chan struct{} // closed when running
	draining bool
	stopping bool
	pending  int // connections without a name
	open     map[*conn]struct{}
	online   map[identity.AMID]*conn
	allowing locks
	wg       sync.WaitGroup // one for every connection
}

// NewServer checks the configuration. It starts nothing.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Mailbox == nil {
		return nil, errors.New("relay server needs a mailbox")
	}
	l, err := cfg.Limits.orDefault()
	if err != nil {
		return nil, err
	}
	known, err := dialled.ParseNames(cfg.Names)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Bans == nil {
		if cfg.Bans, err = ban.Open(""); err != nil {
			return nil, err
		}
	}
	if cfg.OnBan == nil {
		cfg.OnBan = func(ban.Target) {}
	}
	n, b, g := newCounts(), newBooks(l), newGuarded(cfg.Mailbox)
	s := &Server{
		box: metered{g, n, b}, guarded: g, counts: n, books: b, bans: cfg.Bans, onBan: cfg.OnBan,
		limits: l, log: cfg.Logger, stun: cfg.STUN, about: cfg.About, names: known, marks: cfg.Marks, key: cfg.Key,
		rates: newRates(l), replays: newReplays(l), keys: newKeys(maxKeys, maxKnown), broken: make(chan error, 1), ready: make(chan struct{}),
		open: map[*conn]struct{}{}, online: map[identity.AMID]*conn{},
	}
	s.polls.open = map[longpoll.Token]*poll{}
	s.admission = newAdmission(cfg, l, n, b)
	return s, nil
}

// Run sweeps and pings until ctx ends. Then it refuses new connections, closes
// those that are open with 1001 once what waits for them is written, and returns nil
// when the last is gone. It
// returns early, with an error that wraps mailbox.ErrBroken, when the mailbox can no
// longer be trusted. Run is called once.
func (s *Server) Run(ctx context.Context) error {
	err := s.watch(ctx)
	s.finish()
	return err
}

func (s *Server) watch(ctx context.Context) error {
	s.sweep(ctx)
	s.started()
	sweep := time.NewTicker(s.limits.SweepEvery)
	defer sweep.Stop()
	// Each connection has its own beat, found on a finer one, so that they are
	// not all pinged in one moment.
	ping := time.NewTicker(max(min(s.limits.PingEvery, s.limits.PongWait)/5, time.Millisecond))
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.broken:
			return err
		case <-sweep.C:
			s.sweep(ctx)
		case now := <-ping.C:
			s.ping(now)
			s.check(ctx, now)
		}
	}
}

func (s *Server) sweep(ctx context.Context) {
	s.rates.sweep(time.Now())
	n, err := s.box.Expire(ctx)
	if err == nil && s.marks != nil {
		err = s.marks.Sweep(ctx)
	}
	if ctx.Err() == nil {
		s.storageResult(err)
	}
	if n > 0 {
		s.tellExpired()
		s.log.Info("messages expired", "count", n)
	}
}

// ping pings those whose turn it is, and ends connections that owe a pong.
func (s *Server) ping(now time.Time) {
	var due, dead []*conn
	s.mu.Lock()
	for _, c := range s.online {
		passed := now.Sub(c.pinged)
		switch {
		case !c.pong.Load() && passed >= s.limits.PongWait:
			dead = append(dead, c)
		case c.pong.Load() && passed >= s.limits.PingEvery:
			c.pinged = now
			c.pong.Store(false)
			due = append(due, c)
		}
	}
	s.mu.Unlock()
	for _, c := range dead {
		c.stop(websocket.StatusPolicyViolation, "no pong")
	}
	for _, c := range due {
		if !c.queue.control(socket.Ping, nil) {
			// There is no room: the write that is stuck has a deadline of its own.
			c.pong.Store(true)
		}
	}
}

// storageResult notes when the mailbox begins and ceases to fail, not every time
// it does, and ends Run if the failure is final.
func (s *Server) storageResult(err error) {
	switch {
	case errors.Is(err, mailbox.ErrBroken):
		select {
		case s.broken <- err:
		default:
		}
	case err != nil && s.failing.CompareAndSwap(false, true):
		s.log.Warn("mailbox unavailable", "err", err)
	case err == nil && s.failing.CompareAndSwap(true, false):
		s.log.Info("mailbox available again")
	}
}

// ServeHTTP upgrades any path to a relay connection, as 0.2 clients expect, and
// returns when the client is accepted or gone; Run ends what goes on then. Without an
// upgrade it says how and what the relay is.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		if polling(r) {
			s.servePoll(w, r)
		} else {
			s.servePlain(w, r)
		}
		return
	}
	c, status := s.receive(guestOf(r), r, dialled.LocalAddr(r))
	if status != 0 {
		refuseUpgrade(w, status)
		return
	}
	maps.Copy(w.Header(), c.threshold.challenge.headers())
	ws, err := socket.Upgrade(w, r, int(s.limits.FrameBytes))
	s.welcome(c, ws, err)
}

// serveUpgrade is ServeHTTP for an upgrade that net/http has never seen.
func (s *Server) serveUpgrade(g *guest, r *http.Request, ahead []byte) {
	c, status := s.receive(g, r, g.LocalAddr())
	if status != 0 {
		_ = refusedUpgrade(status).Write(g)
		_ = g.Close()
		return
	}
	ws, err := socket.Accept(g, ahead, r, c.threshold.challenge.headers(), int(s.limits.FrameBytes))
	if err != nil {
		_ = g.Close()
	}
	s.welcome(c, ws, err)
}

// receive makes a connection of an upgrade, or says with which status it is refused.
func (s *Server) receive(g *guest, r *http.Request, local net.Addr) (*conn, int) {
	c := newConn(s)
	c.guest = g
	if status := s.admission.introduce(g, r.Header); status != 0 {
		return nil, status
	}
	if !s.enter(c) {
		return nil, http.StatusServiceUnavailable
	}
	c.threshold = newThreshold(local)
	return c, 0
}

// welcome takes a connection's first frame. It returns when the client is accepted or gone.
func (s *Server) welcome(c *conn, ws *socket.Conn, err error) {
	if err != nil {
		s.log.Debug("upgrade refused", "addr", c.from(), "err", err)
		s.leave(c)
		return
	}
	c.attach(ws)
	if !c.greet() {
		c.finish()
		s.leave(c)
		return
	}
	// On a new goroutine, for this one has a stack that greeting made deep, and may be
	// net/http's, with its buffers. Ten thousand of them would be felt.
	go func() {
		c.serve()
		s.leave(c)
	}()
}

// enter counts a connection that has not yet said who it is.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A guest has its place among those without a name already.
	full := c.guest == nil && s.pending >= s.limits.Unauthenticated
	if s.stopping || s.draining || full || len(s.open) >= s.limits.Connections {
		return false
	}
	s.open[c] = struct{}{}
	s.pending++
	s.wg.Add(1)
	return true
}

// register makes c the connection of its agent and returns the one it replaces, and
// whether that is to be mute. It is not ok when the server has begun to stop.
func (s *Server) register(c *conn) (old *conn, mute, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.bannedSince(c) {
		return nil, false, false
	}
	if old = s.online[c.who]; old != nil {
		mute = c.replaces(old)
	}
	s.online[c.who] = c
	c.named, c.pinged = true, time.Now()
	if c.poll != nil {
		c.poll.named.Store(true)
	}
	s.books.open(c)
	s.pending--
	return old, mute, true
}

// leave forgets a connection. Another connection of the same agent stays: the
// reference forgot the agent here and cut off its newer connection.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	delete(s.open, c)
	if !c.named {
		s.pending--
	} else if s.online[c.who] == c {
		delete(s.online, c.who)
	}
	s.books.done(c)
	s.mu.Unlock()
	s.wg.Done()
}

// find returns the connection of an agent, or nil.
func (s *Server) find(who identity.AMID) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.online[who]
}
