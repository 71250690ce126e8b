package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/relay"
)

// foreignIdle is how long a line to a peer's relay, on which we are not homed, is
// kept after its last use.
const foreignIdle = 5 * time.Minute

// relays are one agent's lines to relays: its homes, kept connected, and the relays
// of peers, connected when something is to be left there.
type relays struct {
	key     identity.PrivateKey
	deliver func(relay.Delivery, *relay.Client)
	up      func() // a relay came within reach
	log     *slog.Logger

	mu    sync.Mutex
	ctx   context.Context
	wg    sync.WaitGroup
	lines map[string]*relayLine
	homes []string // URLs as the client writes them
}

type relayLine struct {
	client *relay.Client
	home   bool
	stop   context.CancelFunc
	used   time.Time
	since  time.Time
	state  relay.State
}

// newRelays checks the URLs of the homes.
func newRelays(key identity.PrivateKey, homes []string, log *slog.Logger, deliver func(relay.Delivery, *relay.Client), up func()) (*relays, error) {
	r := &relays{key: key, deliver: deliver, up: up, log: log, lines: make(map[string]*relayLine)}
	for _, url := range homes {
		line, err := r.line(url)
		if err != nil {
			return nil, err
		}
		if r.lines[line.client.URL()] != nil {
			continue
		}
		line.home = true
		r.lines[line.client.URL()] = line
		r.homes = append(r.homes, line.client.URL())
	}
	return r, nil
}

func (r *relays) line(url string) (*relayLine, error) {
	line := &relayLine{}
	var err error
	line.client, err = relay.NewClient(relay.ClientConfig{
		URL: url, Key: r.key, Logger: r.log,
		Deliver: func(d relay.Delivery) { r.deliver(d, line.client) },
		OnState: func(s relay.State) {
			r.mu.Lock()
			line.state, line.since = s, time.Now()
			r.mu.Unlock()
			if s.Connected {
				r.up()
			}
		},
	})
	return line, err
}

// run keeps the homes connected until ctx ends, and waits for every line.
func (r *relays) run(ctx context.Context) error {
	r.mu.Lock()
	r.ctx = ctx
	for _, line := range r.lines {
		r.start(line)
	}
	r.mu.Unlock()
	tick := time.NewTicker(foreignIdle / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.closeIdle()
		case <-ctx.Done():
			r.wg.Wait()
			return nil
		}
	}
}

// start runs a line; r.mu is held.
func (r *relays) start(line *relayLine) {
	ctx, stop := context.WithCancel(r.ctx)
	line.stop = stop
	r.wg.Go(func() {
		if err := line.client.Run(ctx); err != nil {
			r.log.Error("relay line ended", "relay", line.client.URL(), "err", err)
		}
	})
}

func (r *relays) closeIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for url, line := range r.lines {
		if !line.home && time.Since(line.used) > foreignIdle {
			line.stop()
			delete(r.lines, url)
		}
	}
}

// choose picks the line for a peer: a home that the peer is homed on as well, else
// the peer's first relay, else, when the peer's are unknown, our own.
func (r *relays) choose(theirs []string) *relay.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		return nil
	}
	if len(theirs) == 0 {
		theirs = r.homes
	}
	var first *relayLine
	for _, url := range theirs {
		line := r.lines[url]
		if line == nil {
			continue
		}
		if line.client.Connected() {
			line.used = time.Now()
			return line.client
		}
		if first == nil {
			first = line
		}
	}
	if first != nil || len(theirs) == 0 {
		return nil // it is being connected to; Kick comes
	}
	line, err := r.line(theirs[0])
	if err != nil {
		r.log.Debug("peer's relay unusable", "err", err)
		return nil
	}
	line.used = time.Now()
	r.lines[line.client.URL()] = line
	r.start(line)
	return nil
}

// carry leaves an envelope at a relay.
func (r *relays) carry(e agent.Envelope, theirs []string, report func(agent.Outcome)) {
	client := r.choose(theirs)
	if client == nil {
		report(agent.Outcome{Err: agent.ErrNoPath})
		return
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
}

// status lists the homes.
func (r *relays) status() []api.Relay {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]api.Relay, 0, len(r.homes))
	for _, url := range r.homes {
		line := r.lines[url]
		v := api.Relay{URL: url, State: "connecting", Since: line.since}
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
