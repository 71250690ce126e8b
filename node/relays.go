package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
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

// maxRelayText is the longest URL of a relay that a record or a paths content may
// carry (session.md §2.6).
const maxRelayText = 255

// homeURLs checks what the owner wrote as the relays to be homed on. It returns them
// as a client writes them, each once.
func homeURLs(list []string) ([]string, error) {
	var homes []string
	for _, text := range list {
		url, err := relay.ParseURL(text)
		if err != nil {
			return nil, err
		}
		if len(url) > maxRelayText || !utf8.ValidString(url) {
			return nil, fmt.Errorf("relay URL %.40q: want UTF-8 of at most %d bytes", url, maxRelayText)
		}
		if !slices.Contains(homes, url) {
			homes = append(homes, url)
		}
	}
	if len(homes) > identity.MaxRelays {
		return nil, fmt.Errorf("%d relays, at most %d fit into an agent's record", len(homes), identity.MaxRelays)
	}
	return homes, nil
}

// relays are one agent's lines to relays: its homes, kept connected, and the relays
// of peers, connected when something is to be left there. There is one line to a
// URL, and a home is never given up for what a peer says.
type relays struct {
	key     identity.PrivateKey
	deliver func(relay.Delivery, *relay.Client)
	up      func(url string, home bool) // a relay came within reach
	log     *slog.Logger
	homes   []*relayLine // in the owner's order; not changed

	mu    sync.Mutex
	ctx   context.Context // of run; nil before and after
	wg    sync.WaitGroup
	lines map[string]*relayLine // by the URL as relay.ParseURL writes it
	twins map[string]*relayLine // other URLs that lead to the relay of a line
}

type relayLine struct {
	client  *relay.Client
	home    bool
	stop    context.CancelFunc
	started time.Time
	used    time.Time // something was left there, or waited for it
	since   time.Time // of state
	state   relay.State
}

// newRelays checks the URLs of the homes.
func newRelays(key identity.PrivateKey, homes []string, log *slog.Logger, deliver func(relay.Delivery, *relay.Client), up func(url string, home bool)) (*relays, error) {
	urls, err := homeURLs(homes)
	if err != nil {
		return nil, err
	}
	r := &relays{
		key: key, deliver: deliver, up: up, log: log,
		lines: make(map[string]*relayLine), twins: make(map[string]*relayLine),
	}
	for _, url := range urls {
		line, err := r.line(url)
		if err != nil {
			return nil, err
		}
		line.home = true
		r.lines[url] = line
		r.homes = append(r.homes, line)
	}
	return r, nil
}

func (r *relays) line(url string) (*relayLine, error) {
	line := &relayLine{}
	var err error
	line.client, err = relay.NewClient(relay.ClientConfig{
		URL: url, Key: r.key, Logger: r.log,
		Deliver: func(d relay.Delivery) { r.deliver(d, line.client) },
		OnState: func(s relay.State) { r.heard(line, s) },
	})
	return line, err
}

// heard notes the state of a line.
func (r *relays) heard(line *relayLine, s relay.State) {
	r.mu.Lock()
	line.state, line.since = s, time.Now()
	kept := r.twin(line)
	r.mu.Unlock()
	if s.Connected {
		r.up(line.client.URL(), line.home)
	}
	if kept != nil && kept != line && kept.client.Connected() {
		r.up(kept.client.URL(), kept.home) // also for those who waited for the other one
	}
}

// homeList are the URLs of the homes.
func (r *relays) homeList() []string {
	list := make([]string, 0, len(r.homes))
	for _, line := range r.homes {
		list = append(list, line.client.URL())
	}
	return list
}

// run keeps the homes connected until ctx ends, and waits for every line.
func (r *relays) run(ctx context.Context) error {
	r.begin(ctx)
	return r.attend(ctx)
}

// attend gives up idle lines until ctx ends, and then waits for all.
func (r *relays) attend(ctx context.Context) error {
	tick := time.NewTicker(foreignIdle / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.closeIdle(time.Now())
		case <-ctx.Done():
			r.mu.Lock()
			r.ctx = nil // no line starts from here on
			r.mu.Unlock()
			r.wg.Wait()
			return nil
		}
	}
}

// begin starts the lines to the homes.
func (r *relays) begin(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
	for _, line := range r.homes {
		r.start(line)
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

// status lists the homes.
func (r *relays) status() []api.Relay {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]api.Relay, 0, len(r.homes))
	for _, line := range r.homes {
		v := api.Relay{URL: line.client.URL(), State: "connecting", Since: line.since}
		var auth *relay.AuthError
		switch {
		case line.client.Connected():
			v.State = "connected"
		case errors.As(line.state.Err, &auth):
			v.State = "refused"
		}
		if line.state.Err != nil {
			v.Error = line.state.Err.Error()
		}
		list = append(list, v)
	}
	return list
}
