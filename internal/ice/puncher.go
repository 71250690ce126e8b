package ice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"amesh/internal/reach"
)

var (
	// ErrClosed reports a Puncher whose Run has returned, or an Attempt that was closed.
	ErrClosed = errors.New("puncher is closed")
	// ErrBusy reports that as many attempts are under way as the limits allow.
	ErrBusy = errors.New("too many attempts to punch at once")
	// ErrNoPath reports that no pair of addresses answered in time.
	ErrNoPath = errors.New("no pair of addresses answered")
)

// Config is what a Puncher needs to know.
type Config struct {
	// Sockets returns the UDP sockets from which holes are punched, each with the local
	// address on which it listens. Run calls it once, reads them alone, and closes them.
	Sockets func() ([]net.PacketConn, error)
	// Servers are STUN servers at this moment, as HOST:PORT; nil is none.
	Servers func() []string
	// Sure reports whether the owner said where a server is. The others are somebody's
	// word, and asked only where a peer might be; nil: all are sure.
	Sure   func(server string) bool
	Limits Limits       // zero: DefaultLimits
	Logger *slog.Logger // nil: silent
}

// Puncher finds paths to peers through the devices in front of both, on sockets that
// belong to somebody else. It is a service: its methods may be called from any
// goroutine at any time, and work while Run runs.
type Puncher struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	begun  chan struct{} // closed when the sockets are there
	ended  chan struct{} // closed when Run returns

	mu       sync.Mutex
	sockets  []*socket
	loopback bool
	attempts map[string]*Attempt // by our ufrag
	mapped   map[string]mapping  // by server and socket
}

// New returns a Puncher. It opens nothing.
func New(cfg Config) (*Puncher, error) {
	if cfg.Sockets == nil {
		return nil, errors.New("puncher needs sockets")
	}
	l, err := cfg.Limits.orDefault()
	if err != nil {
		return nil, err
	}
	if cfg.Servers == nil {
		cfg.Servers = func() []string { return nil }
	}
	if cfg.Sure == nil {
		cfg.Sure = func(string) bool { return true }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Puncher{
		cfg: cfg, limits: l, log: cfg.Logger, begun: make(chan struct{}), ended: make(chan struct{}),
		attempts: make(map[string]*Attempt), mapped: make(map[string]mapping),
	}, nil
}

// Run reads the sockets until ctx ends; then it returns nil, and every attempt is closed.
// It returns an error when the sockets cannot be had or read. Run is called once.
func (p *Puncher) Run(ctx context.Context) error {
	defer close(p.ended)
	conns, err := p.cfg.Sockets()
	if err != nil {
		return fmt.Errorf("ice: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var list []*socket
	loopback := len(conns) > 0
	for i, c := range conns {
		s, err := newSocket(p, i, c)
		if err != nil {
			for _, c := range conns {
				_ = c.Close()
			}
			return fmt.Errorf("ice: %w", err)
		}
		list = append(list, s)
		loopback = loopback && s.local.Addr().IsLoopback()
	}
	p.mu.Lock()
	p.sockets, p.loopback = list, loopback
	p.mu.Unlock()
	var readers sync.WaitGroup
	for _, s := range list {
		readers.Go(func() { stop(s.read()) })
	}
	close(p.begun)
	<-ctx.Done()
	cause := context.Cause(ctx)
	for _, s := range list {
		s.close()
	}
	readers.Wait()
	for _, a := range p.running() {
		a.Close()
	}
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("ice: %w", cause)
}

// ready waits for Run to have the sockets.
func (p *Puncher) ready(ctx context.Context) error {
	select {
	case <-p.ended:
		return ErrClosed
	default:
	}
	select {
	case <-p.begun:
		return nil
	case <-p.ended:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// NetworkChanged forgets what STUN servers said of us. The machine's own addresses are
// looked at anew for each attempt anyway.
func (p *Puncher) NetworkChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.mapped)
}

// rules are the rules for addresses that peers name, at this moment.
func (p *Puncher) rules() reach.Rules {
	p.mu.Lock()
	defer p.mu.Unlock()
	return reach.Rules{Loopback: p.loopback, Interfaces: reach.Interfaces()}
}

func (p *Puncher) running() []*Attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*Attempt, 0, len(p.attempts))
	for _, a := range p.attempts {
		list = append(list, a)
	}
	return list
}

// find returns the attempt whose ufrag a check names.
func (p *Puncher) find(ufrag string) *Attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.attempts[ufrag]
}

func (p *Puncher) add(a *Attempt) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return ErrClosed
	default:
	}
	if len(p.attempts) >= p.limits.Attempts {
		return ErrBusy
	}
	p.attempts[a.ufrag] = a
	return nil
}

func (p *Puncher) remove(a *Attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.attempts, a.ufrag)
}

// mapping is where a server saw a socket of ours.
type mapping struct {
	at   netip.AddrPort
	from time.Time
}
