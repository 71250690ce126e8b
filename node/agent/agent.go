package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// Carrier takes sealed envelopes towards other nodes. It is safe for concurrent use
// and never blocks for long.
type Carrier interface {
	// Carry hands over one envelope. Envelopes for one peer leave in the order of
	// the calls, as far as one path is concerned. report is called exactly once,
	// from any goroutine, also when ctx of the carrier ended.
	Carry(e Envelope, report func(Outcome))
	// Learn tells where a peer can be reached. sealed is true when the peer said so
	// inside a session, false when it stands in its public record.
	Learn(peer identity.AMID, p Places, sealed bool)
	// Seen tells that something of the peer was opened that came over a connection
	// from this libp2p peer id: answers can go the same way.
	Seen(peer identity.AMID, peerID string)
	// Places is what an accepted peer is told about this node.
	Places() Places
	// Signalled hands over an offer, or the answer to one of ours, that a peer sealed in a
	// session that was accepted. It must not call the agent.
	Signalled(peer identity.AMID, s content.Signal)
	// WantDirect tells that enough is said to a peer, or by it, to be worth a direct path,
	// and again at later messages; the carrier knows whether there is one or one was tried
	// lately. It must not call the agent.
	WantDirect(peer identity.AMID)
}

// Envelope is sealed bytes with an address.
type Envelope struct {
	From, To identity.AMID
	ID       ratchet.ID
	Data     []byte // not changed by anybody
	Knock    bool
	Via      api.PathKind // empty: the best path
}

// Outcome is what became of an envelope that was handed over.
type Outcome struct {
	Path    api.PathKind
	Acked   bool      // the peer's node committed or dropped it for good
	Promise time.Time // a relay synced it and keeps it until then
	Where   string    // the relay's URL
	// Err is nil for Acked and Promise. ErrNoPath: nothing reachable, Kick comes when
	// that changes. *Refusal: the relay said no. Anything else: outcome unknown.
	Err error
}

// ErrNoPath reports that a peer cannot be reached right now.
var ErrNoPath = errors.New("no path")

// Refusal is a relay's no.
type Refusal struct {
	Code       string
	RetryAfter time.Duration
}

// Error names the code.
func (r *Refusal) Error() string { return "relay refused: " + r.Code }

// Directory finds the signed record of an agent. It verifies what it returns and
// gives an error when there is nothing; it may take as long as ctx.
type Directory interface {
	Find(ctx context.Context, peer identity.AMID) (*identity.AgentRecord, error)
}

// Config is what an agent's mailroom is made of.
type Config struct {
	Name        string
	Key         identity.PrivateKey
	Store       store.Store
	StateKey    *store.StateKey
	Carrier     Carrier
	Directory   Directory
	KeySource   KeySource            // nil: knocks use no one-time keys of the peer
	Policy      func() *knock.Policy // the policy in force, read at every decision
	Mark        MarkKeeper           // nil: a state that is put back is not noticed
	Raised      func()               // the mark was saved; it must not block, nor call the agent. nil: nobody
	Limits      Limits               // zero: DefaultLimits()
	KnockLimits knock.Limits         // zero: knock.DefaultLimits()
	Clock       func() time.Time     // the wall clock, for what is signed or shown; default time.Now
	Uptime      func() time.Duration // time that really passed since some start, a sleep of the machine included where that is known; default by Clock, as time.Now knows it
	Rand        io.Reader            // default crypto/rand
	Logger      *slog.Logger

	// Certificate is the agent's own tier certificate in its compact form, for its knocks;
	// empty for none. Prove says which tier the one in a peer's knock proves now, for the
	// signing key that the knock is signed with. Neither may block, nor call the agent. nil:
	// none, and Anonymous.
	Certificate func() []byte
	Prove       func(certificate []byte, key identity.PublicKey) knock.Tier

	// ServedTwice hears that a one-time key which lay at place (OneTimeDeposit) was used
	// twice, the second time by peer. It must not block. nil: nobody.
	ServedTwice func(place string, peer identity.AMID)
}

// Agent is one agent's mailroom. Its methods are safe for concurrent use while Run
// is running; before and after, only reading ones are.
type Agent struct {
	Config
	amid    identity.AMID
	prekeys *prekeys
	mark    *mark
	left    leavers
	oneTime *oneTimeKeys
	expiry  *patientClock
	guard   knockGuard
	changed signal

	mu      sync.Mutex
	clerks  map[identity.AMID]*clerk
	known   map[identity.AMID]bool // peers with a session or a grant
	keys    map[identity.AMID]int  // skipped message keys that are stored, by peer
	stored  int                    // all of them
	running context.Context
	started chan struct{} // closed when Run works
	wg      sync.WaitGroup
	failed  chan error    // the first error that ends Run
	noSpace atomic.Bool   // the disk is full, as far as we know
	rulings atomic.Uint64 // counts changes of the policy, see block.go
}

// New checks the configuration. It reads and starts nothing.
func New(cfg Config) (*Agent, error) {
	if cfg.Store == nil || cfg.StateKey == nil || cfg.Carrier == nil || cfg.Directory == nil || cfg.Policy == nil {
		return nil, errors.New("agent: incomplete configuration")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Uptime == nil {
		start := cfg.Clock()
		cfg.Uptime = func() time.Duration { return cfg.Clock().Sub(start) }
	}
	if cfg.Certificate == nil {
		cfg.Certificate = func() []byte { return nil }
	}
	if cfg.Prove == nil {
		cfg.Prove = func([]byte, identity.PublicKey) knock.Tier { return knock.Anonymous }
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if cfg.KnockLimits == (knock.Limits{}) {
		cfg.KnockLimits = knock.DefaultLimits()
	}
	if err := cfg.Limits.Check(); err != nil {
		return nil, err
	}
	a := &Agent{
		Config: cfg,
		amid:   cfg.Key.AMID(),
		clerks: make(map[identity.AMID]*clerk),
		known:  make(map[identity.AMID]bool),
		keys:   make(map[identity.AMID]int),
		failed: make(chan error, 1), started: make(chan struct{}),
	}
	a.Store = storeWatch{cfg.Store, a}
	a.prekeys = &prekeys{a: a}
	a.mark = newMark(a)
	a.oneTime = newOneTimeKeys(a)
	a.expiry = newPatientClock(cfg.Clock, cfg.Uptime, cfg.Logger)
	a.guard.init(cfg.KnockLimits, cfg.Limits.RenewPeer, cfg.Limits.RenewAll)
	a.changed.init()
	a.rulings.Store(1)
	return a, nil
}

// AMID is the agent's name on the mesh.
func (a *Agent) AMID() identity.AMID { return a.amid }

// Start loads keys and peers, and makes a bundle if there is none. It must have
// returned before Run, Receive and the methods that send are called.
func (a *Agent) Start(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		return fmt.Errorf("agent %s: %w", a.Name, err)
	}
	return nil
}

func (a *Agent) start(ctx context.Context) error {
	if err := a.loadRevocations(); err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	if err := a.mark.open(ctx); err != nil {
		return err
	}
	if err := a.prekeys.load(ctx); err != nil {
		return err
	}
	if err := a.oneTime.load(); err != nil {
		return err
	}
	busy, err := a.findPeers()
	if err != nil {
		return err
	}
	if err := a.countSkipped(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for peer, known := range busy {
		if known {
			a.known[peer] = true
		}
	}
	return nil
}

// Run serves until ctx ends; then it waits for every clerk. It returns nil after
// ctx ended, and the error of the store when that failed.
func (a *Agent) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	// From here on every submit finds a clerk; what was submitted before is listed.
	a.mu.Lock()
	a.running = inner
	a.mu.Unlock()
	busy, err := a.busyPeers()
	if err != nil {
		return err
	}
	for peer := range busy {
		a.clerk(peer)
	}
	close(a.started)
	a.PolicyChanged() // it may have been, while we were off
	a.wg.Go(func() { a.sweepLoop(inner) })

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-a.failed:
	}
	stop()
	a.mu.Lock()
	a.running = nil
	a.mu.Unlock()
	a.wg.Wait()
	return failure
}

// Running closes when Run works: from then on Receive takes what arrives. Whoever
// connects the mailroom to the mesh waits for it, since what arrives before is not
// taken and would come again only on another connection.
func (a *Agent) Running() <-chan struct{} { return a.started }

// fail ends Run with an error of the store.
func (a *Agent) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// findPeers lists the peers that have state, and whether it includes a session or a
// grant.
func (a *Agent) findPeers() (map[identity.AMID]bool, error) {
	found := make(map[identity.AMID]bool)
	err := a.Store.View(func(r store.Reader) error {
		for _, kind := range []byte{rowPeer, rowSession, rowGrant, rowReturn} {
			prefix := a.key(kind)
			err := r.Scan(prefix, nil, func(k, _ []byte) bool {
				if len(k) >= len(prefix)+identity.AMIDSize {
					peer := identity.AMID(k[len(prefix):][:identity.AMIDSize])
					found[peer] = found[peer] || kind != rowPeer
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// busyPeers lists the peers for whom something is to be done.
func (a *Agent) busyPeers() (map[identity.AMID]bool, error) {
	busy := make(map[identity.AMID]bool)
	err := a.Store.View(func(r store.Reader) error {
		for _, kind := range []byte{rowFlight, rowDue, rowSkip, rowHeld} {
			prefix := a.key(kind)
			err := r.Scan(prefix, nil, func(k, _ []byte) bool {
				busy[identity.AMID(k[len(prefix):][:identity.AMIDSize])] = true
				return true
			})
			if err != nil {
				return err
			}
		}
		if err := a.unparted(r, busy); err != nil {
			return err
		}
		if err := a.wishes(r, func(peer identity.AMID) { busy[peer] = true }); err != nil {
			return err
		}
		return scanJSON(r, a.key(rowOut), nil, func(_ []byte, o outRow) bool {
			if !o.State.Terminal() {
				busy[o.Peer] = true
			}
			return true
		})
	})
	return busy, err
}

// wake has a peer's clerk look for new rows.
func (a *Agent) wake(peer identity.AMID) {
	for {
		c := a.clerk(peer)
		if c == nil || c.nudge() {
			return
		}
	}
}

// clerk returns the running clerk of a peer, hiring one if needed. It returns nil
// when the agent is not running.
func (a *Agent) clerk(peer identity.AMID) *clerk {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == nil || a.running.Err() != nil {
		return nil
	}
	if c := a.clerks[peer]; c != nil {
		return c
	}
	c := newClerk(a, peer)
	a.clerks[peer] = c
	ctx := a.running
	a.wg.Go(func() { c.run(ctx) })
	return c
}

// dismiss takes a clerk off the list when it has nothing to do; it reports whether
// the clerk may go home.
func (a *Agent) dismiss(c *clerk) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.incoming)+len(c.outcomes)+len(c.jobs) > 0 || len(c.wake) > 0 {
		return false
	}
	c.gone = true
	delete(a.clerks, c.peer)
	return true
}

func (a *Agent) isKnown(peer identity.AMID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[peer]
}

// setKnown says whether what names a peer as its sender is worth a look.
func (a *Agent) setKnown(peer identity.AMID, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known {
		a.known[peer] = true
		return
	}
	delete(a.known, peer)
}

// Kick makes every clerk try again at once what waits for a path: the carrier calls
// it when a relay or a peer came within reach.
func (a *Agent) Kick() {
	for _, c := range a.allClerks() {
		c.do(c.retryNow)
	}
}

// KickPeer is Kick for one peer.
func (a *Agent) KickPeer(peer identity.AMID) {
	a.mu.Lock()
	c := a.clerks[peer]
	a.mu.Unlock()
	if c != nil {
		c.do(c.retryNow)
	}
}

// PlacesChanged has every peer with a session told where we are now, also those with
// whom nothing is under way: they would leave their next message where we were. It does
// not wait.
func (a *Agent) PlacesChanged() {
	a.mu.Lock()
	peers := slices.Collect(maps.Keys(a.known))
	a.mu.Unlock()
	for _, peer := range peers {
		a.wake(peer)
	}
}

func (a *Agent) allClerks() []*clerk {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*clerk, 0, len(a.clerks))
	for _, c := range a.clerks {
		all = append(all, c)
	}
	return all
}

// signal tells any number of waiters that something changed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) init() { s.ch = make(chan struct{}) }

// wait returns a channel that closes at the next change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
