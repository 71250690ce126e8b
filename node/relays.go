package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"amesh/identity"
	"amesh/internal/proxy"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/homing"
	"amesh/relay"
)

// Numbers of the lines to peers' relays, on which we are not homed.
const (
	// foreignMost is how many of them one agent keeps: its peers name them, and each
	// is a connection.
	foreignMost = 32
	// foreignIdle is how long one is kept after its last use.
	foreignIdle = 5 * time.Minute
	// foreignTry and foreignRest are how long one keeps its place when all are
	// taken: to connect, and connected after its last use.
	foreignTry  = 10 * time.Second
	foreignRest = 30 * time.Second
	// twinTime is how close together the end of one line by a newer connection and
	// the connecting of another must be for them to be lines to one relay.
	twinTime = time.Second
)

const (
	// maxRelayText is the longest URL of a relay that a record or a paths content may
	// carry (session.md §2.6).
	maxRelayText = 255
	// maxOwnRelays is how many relays the owner may name to choose from.
	maxOwnRelays = 32
)

// ownRelays checks what the owner wrote as the relays to choose homes from. It returns
// them as a client writes them, each once.
func ownRelays(list []string) ([]string, error) {
	var own []string
	for _, text := range list {
		url, err := relay.ParseURL(text)
		if err != nil {
			return nil, err
		}
		if len(url) > maxRelayText || !utf8.ValidString(url) {
			return nil, fmt.Errorf("relay URL %.40q: want UTF-8 of at most %d bytes", url, maxRelayText)
		}
		if !slices.Contains(own, url) {
			own = append(own, url)
		}
	}
	if len(own) > maxOwnRelays {
		return nil, fmt.Errorf("%d relays, want at most %d to choose from", len(own), maxOwnRelays)
	}
	return own, nil
}

// relaysConfig is what relays are made of.
type relaysConfig struct {
	key     identity.PrivateKey
	own     []string    // the relays that the owner names, in his order
	legacy  bool        // the owner trusts relays that set no challenge
	notYet  func() bool // as long as it is true no such relay is spoken to; nil: never
	limits  homing.Limits
	deliver func(relay.Delivery, *relay.Client)
	expired func(relay.Expired, *relay.Client) // a relay gave something up; acknowledged there by its ID
	up      func(url string, home bool)        // a relay came within reach
	marks   *deposits                          // nil: no rollback marks are left at relays
	moved   func()                             // what others are to be told of our relays changed
	book    *relayBook                         // nil: nothing is remembered
	guests  func() []identity.AMID             // who may leave more than knocks with us; nil: everybody
	log     *slog.Logger
	proxy   *proxy.Proxy                                                      // nil: no proxies
	dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the network
	measure func(ctx context.Context, url string) (time.Duration, error)
}

// relays are one agent's lines to relays: its homes and those that were homes, kept
// connected (homes.go), and the relays of peers, connected when something is to be left
// there (foreign.go). There is one line to a URL, and none that is kept is given up for
// what a peer says.
type relays struct {
	relaysConfig
	news  chan struct{} // the plan may be another one
	again chan struct{} // it is worth to measure now

	mu     sync.Mutex
	ctx    context.Context // of run; nil before and after
	wg     sync.WaitGroup
	begun  time.Time
	ids    map[string]bool // of the relays that the owner names; not changed
	table  *homing.Table
	homes  []string
	told   []string              // what others are told
	differ time.Time             // since when they are to be told something else; zero: they are not
	lines  map[string]*relayLine // by the URL as relay.ParseURL writes it
	twins  map[string]*relayLine // other URLs that lead to the relay of a line
	pinned map[string]bool       // ids of relays that set a challenge once
	met    []string              // of those, whom we met since it was last written down
}

type relayLine struct {
	client  *relay.Client
	kept    bool // a home, or one that was
	stop    context.CancelFunc
	started time.Time
	used    time.Time // something was left there, or waited for it
	since   time.Time // of state
	state   relay.State
}

// newRelays checks the URLs and takes up what the book says.
func newRelays(cfg relaysConfig) (*relays, error) {
	var err error
	if cfg.own, err = ownRelays(cfg.own); err != nil {
		return nil, err
	}
	if err := cfg.book.open(); err != nil {
		return nil, err
	}
	if cfg.measure == nil {
		cfg.measure = func(ctx context.Context, url string) (time.Duration, error) {
			return relay.Measure(ctx, url, cfg.proxy.Dialer(url, cfg.dial))
		}
	}
	now := time.Now()
	r := &relays{
		relaysConfig: cfg, news: make(chan struct{}, 1), again: make(chan struct{}, 1), begun: now,
		table: homing.New(cfg.limits, cfg.own, cfg.book.past(), now),
		lines: make(map[string]*relayLine), twins: make(map[string]*relayLine),
		ids: make(map[string]bool),
	}
	for _, url := range cfg.own {
		id, err := relay.RelayID(url)
		if err != nil {
			return nil, err
		}
		r.ids[id] = true
	}
	r.pinned = cfg.book.pinned(r.ids)
	r.told = r.table.Decide(now).Told
	return r, nil
}

// line makes a line that does not run yet; r.mu is held.
func (r *relays) line(url string) (*relayLine, error) {
	line := &relayLine{}
	id, err := relay.RelayID(url)
	if err != nil {
		return nil, err
	}
	line.client, err = relay.NewClient(relay.ClientConfig{
		URL: url, Key: r.key, Logger: r.log, Dial: r.proxy.Dialer(url, r.dial), Pinned: r.pinned[id], AllowLegacy: r.legacy, HoldLegacy: r.notYet,
		Deliver: func(d relay.Delivery) {
			r.took(line)
			r.deliver(d, line.client)
		},
		OnExpired: func(e relay.Expired) { r.expired(e, line.client) },
		OnDraining: func() {
			r.mu.Lock()
			r.table.Drains(url)
			r.mu.Unlock()
			r.poke()
		},
		OnState: func(s relay.State) { r.heard(line, s) },
	})
	return line, err
}

// heard notes the state of a line.
func (r *relays) heard(line *relayLine, s relay.State) {
	r.mu.Lock()
	line.state, line.since = s, time.Now()
	r.note(line)
	kept := r.twin(line)
	home := line.kept
	r.mu.Unlock()
	r.poke()
	switch id := line.client.RelayID(); {
	case r.marks == nil:
	case s.Connected:
		r.marks.connected(id, s.Mark)
	default:
		r.marks.gone(id)
	}
	if s.Connected {
		r.up(line.client.URL(), home)
	}
	if kept != nil && kept != line && kept.client.Connected() {
		r.up(kept.client.URL(), kept.kept) // also for those who waited for the other one
	}
}

// start runs a line; r.mu is held and r.ctx is not nil.
func (r *relays) start(line *relayLine) {
	ctx, stop := context.WithCancel(r.ctx)
	line.stop, line.started = stop, time.Now()
	r.wg.Go(func() {
		if err := line.client.Run(ctx); err != nil {
			r.log.Error("relay line ended", "relay", line.client.URL(), "err", err)
		}
	})
}

// carry leaves an envelope at a relay. It returns false when no line is connected;
// then lines to the peer's relays are on their way, and up is called for them.
func (r *relays) carry(e agent.Envelope, theirs []string, report func(agent.Outcome)) bool {
	client := r.choose(theirs)
	if client == nil {
		report(agent.Outcome{Err: agent.ErrNoPath})
		return false
	}
	kind := relay.KindMessage
	if e.Knock {
		kind = relay.KindKnock
	}
	client.Send(relay.Outgoing{To: e.To, Kind: kind, Payload: e.Data}, func(res relay.Result) {
		o := agent.Outcome{Path: api.PathRelayed, Where: client.URL(), Promise: res.Expires, Err: res.Err}
		var no *relay.RefusedError
		if errors.As(res.Err, &no) {
			o.Err = &agent.Refusal{Code: string(no.Code), RetryAfter: no.RetryAfter}
		}
		report(o)
	})
	return true
}

// stun lists the STUN servers beside those of our own relays that are connected, one for
// each relay. A peer's relay is a stranger's, and would have us send to whomever it names.
func (r *relays) stun() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, line := range r.lines {
		if at := line.state.STUN; at != "" && line.kept && line.client.Connected() {
			list = append(list, at)
		}
	}
	return list
}

// status lists our relays, homes first.
func (r *relays) status() []api.Relay {
	r.mu.Lock()
	defer r.mu.Unlock()
	views := r.table.Views()
	list := make([]api.Relay, 0, len(views))
	for _, v := range views {
		s := api.Relay{
			URL: v.URL, State: "standby", Since: r.begun, Role: string(v.Role), Announced: v.Told,
			LatencyMS: float64(v.Latency.Round(100*time.Microsecond)) / float64(time.Millisecond), Mailbox: r.table.Waiting(v.URL),
		}
		if v.SameAs != "" {
			s.Error = "the same relay as " + v.SameAs
		}
		s.Proxy = r.proxy.Way(v.URL)
		if line := r.lines[v.URL]; line != nil {
			line.show(&s)
		}
		list = append(list, s)
	}
	return list
}

// show fills in what a line knows; the relays' mu is held.
func (l *relayLine) show(s *api.Relay) {
	s.State, s.Since = "connecting", l.started
	if !l.since.IsZero() {
		s.Since = l.since
	}
	switch {
	case l.client.Connected() && l.state.Speaks(relay.ExtensionChallenge):
		s.State, s.Trust = "connected", "pinned"
	case l.client.Connected():
		s.State, s.Trust = "connected", "legacy"
	case refusal(l.state.Err):
		s.State = "refused"
	}
	if l.client.Connected() {
		s.Via = "websocket"
		if l.state.LongPoll {
			s.Via = "longpoll"
		}
	}
	if l.state.Err != nil {
		s.Error = l.state.Err.Error()
	}
}

// refusal tells what trying again soon cannot change: the relay does not want us, or we
// do not want it.
func refusal(err error) bool {
	var auth *relay.AuthError
	return errors.As(err, &auth) || errors.Is(err, relay.ErrLegacyRelay) || errors.Is(err, relay.ErrLegacyHeld) || errors.Is(err, relay.ErrDowngrade)
}

// relayTrouble says what is wrong with a relay that is needed, nothing for nothing.
func relayTrouble(r api.Relay) []string {
	switch {
	case r.Role == string(homing.Leaving):
	case r.State == "refused":
		return []string{"the relay " + r.URL + " is not used: " + r.Error}
	case r.Role == string(homing.Home) && r.State != "connected":
		return []string{"not connected to the relay " + r.URL}
	case r.Role == string(homing.Draining) && r.Announced:
		return []string{"the relay " + r.URL + " is about to go, and there is no other: name one with --relay"}
	}
	return nil
}
