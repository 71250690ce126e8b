package direct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"amesh/identity"
)

// Protocol is the libp2p protocol id.
const Protocol protocol.ID = "/amesh/session/1"

// connTag protects the connections that we dialled from being trimmed.
const connTag = "amesh-direct"

var (
	// ErrNoAck reports an envelope that wasn't acknowledged before its path died.
	// The peer may have it all the same.
	ErrNoAck = errors.New("not acknowledged")
	// ErrNotOpen reports a peer without a proven path.
	ErrNotOpen = errors.New("no open path")
	// ErrBusy reports that as much is under way as the Limits allow.
	ErrBusy = errors.New("too much under way")
	// ErrTooLong reports an envelope of no bytes or too many.
	ErrTooLong = errors.New("envelope has a wrong length")
	// ErrNoAddress reports a target that names nobody who may be dialled.
	ErrNoAddress = errors.New("no address to dial")
	// ErrClosed reports a Transport that doesn't run.
	ErrClosed = errors.New("direct transport is not running")
)

// Config is what a Transport needs.
type Config struct {
	// Deliver takes envelopes, per stream in order and one after the other. It may
	// block, and then the peer is not read from; after a second the peer will
	// consider the path dead. It must return soon after Run's context ended.
	Deliver func(Delivery)
	// OnPeer is told when a path to a peer opens and when the last one is gone, in
	// order and from one goroutine. Changes that cancel out while it is busy are
	// left out. It may be nil.
	OnPeer func(peerID string, up bool)
	// Keys answers a peer's question for one-time keys of an agent, with none when there
	// is no such agent or it gives none. It may block, one question of a stream at a
	// time, and must return soon after ctx ended. Nil: none.
	Keys   func(ctx context.Context, peerID string, of identity.AMID) OneTimeKeys
	Logger *slog.Logger // nil: silent
	Limits Limits       // zero: DefaultLimits
}

// Transport is the service. Its methods may be called from any goroutine.
type Transport struct {
	host   host.Host
	cfg    Config
	log    *slog.Logger
	limits Limits
	events *events

	mu        sync.Mutex
	state     state
	ctx       context.Context // Run's
	links     map[peer.ID]*link
	texts     map[string]peer.ID // of links
	strangers int                // links that we didn't dial
	dials     map[peer.ID]*turn
	holes     holes
	wg        sync.WaitGroup // streams
}

type state int

const (
	stateNew state = iota
	stateRunning
	stateClosed
)

// link is all we have with one peer.
type link struct {
	streams []*stream
	send    *stream // the proven one that we send on, nil: none
	dialled bool
}

// New returns a Transport on h. It starts nothing.
func New(h host.Host, cfg Config) (*Transport, error) {
	if h == nil || cfg.Deliver == nil {
		return nil, errors.New("direct: host and Deliver are needed")
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, fmt.Errorf("direct: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Keys == nil {
		cfg.Keys = func(context.Context, string, identity.AMID) OneTimeKeys { return OneTimeKeys{} }
	}
	return &Transport{
		host: h, cfg: cfg, log: cfg.Logger, limits: cfg.Limits,
		events: newEvents(cfg.OnPeer),
		links:  make(map[peer.ID]*link),
		texts:  make(map[string]peer.ID),
		dials:  make(map[peer.ID]*turn),
	}, nil
}

// Run accepts streams until ctx ends; then every stream is reset, everything
// under way is settled with ErrNoAck, and Run returns when the last goroutine is
// home. A Transport runs once.
func (t *Transport) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	if t.state != stateNew {
		t.mu.Unlock()
		return errors.New("direct: run: started before")
	}
	t.state, t.ctx = stateRunning, ctx
	t.mu.Unlock()

	var wg sync.WaitGroup
	wg.Go(t.events.run)
	t.host.SetStreamHandler(Protocol, t.accept)
	<-ctx.Done()
	t.host.RemoveStreamHandler(Protocol)

	t.mu.Lock()
	t.state = stateClosed
	var all []*stream
	for _, l := range t.links {
		all = append(all, l.streams...)
	}
	t.mu.Unlock()
	for _, s := range all {
		s.fail(ErrClosed)
	}
	t.wg.Wait()
	t.events.close()
	wg.Wait()
	return nil
}

// accept is called by the host, on a goroutine of its own, for each new stream.
func (t *Transport) accept(raw network.Stream) {
	s, err := t.add(raw, false)
	if err != nil {
		t.log.Debug("stream refused", "peer", raw.Conn().RemotePeer().String(), "err", err)
		_ = raw.Reset()
		return
	}
	t.serve(s)
}

// serve runs a stream that add has counted.
func (t *Transport) serve(s *stream) {
	defer t.wg.Done()
	s.run()
}

// add makes room for a stream, or says why there is none.
func (t *Transport) add(raw network.Stream, dialled bool) (*stream, error) {
	conn := raw.Conn()
	id := conn.RemotePeer()
	if conn.Stat().Limited {
		return nil, errors.New("relayed connection")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != stateRunning {
		return nil, ErrClosed
	}
	l := t.links[id]
	switch {
	case l == nil && len(t.links) >= t.limits.Peers:
		return nil, fmt.Errorf("%w: %d peers", ErrBusy, len(t.links))
	case l == nil && !dialled && t.strangers >= t.limits.Peers-t.limits.Reserved:
		return nil, fmt.Errorf("%w: %d peers that came by themselves", ErrBusy, t.strangers)
	case l != nil && len(l.streams) >= t.limits.StreamsPerPeer:
		return nil, fmt.Errorf("%w: %d streams", ErrBusy, len(l.streams))
	}
	if l == nil {
		l = &link{}
		t.links[id] = l
		t.texts[id.String()] = id
		t.strangers++
	}
	if dialled && !l.dialled {
		l.dialled = true
		t.strangers--
		t.host.ConnManager().Protect(id, connTag)
	}
	run := t.ctx
	s := newStream(raw, id.String(), conn.RemoteMultiaddr().String(), t.limits, hooks{
		deliver: t.cfg.Deliver,
		keys:    func(of identity.AMID) OneTimeKeys { return t.cfg.Keys(run, id.String(), of) },
		proven:  func(s *stream) { t.proven(id, s) },
		ended: func(s *stream, err error) {
			t.ended(id, s, err)
			if errors.Is(err, errDead) {
				_ = conn.Close()
			}
		},
	})
	s.conn, s.under = conn.ID(), conn
	l.streams = append(l.streams, s) // in the order in which they came
	t.wg.Add(1)
	return s, nil
}

func (t *Transport) proven(id peer.ID, s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[id]
	if l == nil || !slices.Contains(l.streams, s) {
		return // dead already
	}
	if old := l.send; old != nil {
		if old.conn != s.conn {
			// A peer that was killed and came back has a new connection, and the old
			// one looks alive until an acknowledgement stays out.
			l.send = s
		}
		return
	}
	l.send = s
	t.events.add(s.peer, true)
	t.log.Debug("direct path open", "peer", s.peer, "addr", s.addr)
}

// ended takes a dead stream out. When the peer was silent, its other streams die
// with it, each with its connection: they would swallow what is sent next, and
// the next dial would be answered with one of them. Only those that came later on
// a connection of their own stay: the peer was killed and is back.
func (t *Transport) ended(id peer.ID, s *stream, cause error) {
	t.log.Debug("stream ended", "peer", s.peer, "err", cause)
	silent := errors.Is(cause, errDead)
	others := t.remove(id, s, silent)
	for _, o := range others {
		o.fail(cause)
	}
}

// remove returns the streams that are left.
func (t *Transport) remove(id peer.ID, s *stream, silent bool) []*stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[id]
	if l == nil {
		return nil
	}
	var doomed []*stream
	if silent {
		doomed = sharers(l.streams, s)
	}
	l.streams = slices.DeleteFunc(l.streams, func(o *stream) bool { return o == s })
	if l.send == s || slices.Contains(doomed, l.send) {
		l.send = nil
		for _, o := range l.streams {
			if o.isProven() && !slices.Contains(doomed, o) {
				l.send = o
			}
		}
		if l.send == nil {
			t.events.add(s.peer, false)
		}
	}
	if len(l.streams) > 0 {
		return doomed
	}
	delete(t.links, id)
	delete(t.texts, id.String())
	if l.dialled {
		t.host.ConnManager().Unprotect(id, connTag)
	} else {
		t.strangers--
	}
	return nil
}

// sharers are the streams that share the fate of a silent one: those of its
// connection, and those that are older.
func sharers(all []*stream, s *stream) []*stream {
	var list []*stream
	later := false
	for _, o := range all {
		switch {
		case o == s:
			later = true
		case !later || o.conn == s.conn:
			list = append(list, o)
		}
	}
	return list
}

func (t *Transport) sending(id peer.ID) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.links[id]; l != nil {
		return l.send
	}
	return nil
}

// sendingTo is sending for a peer by its text. The texts of peers with streams are
// remembered: to decode one takes as long as all else that Send does.
func (t *Transport) sendingTo(peerID string) *stream {
	t.mu.Lock()
	id, known := t.texts[peerID]
	t.mu.Unlock()
	if !known {
		var err error
		if id, err = peer.Decode(peerID); err != nil {
			return nil
		}
	}
	return t.sending(id)
}

// Open reports whether there is a proven path to a peer.
func (t *Transport) Open(peerID string) bool { return t.sendingTo(peerID) != nil }

// Send hands an envelope to the open path of a peer. Frames leave in the order of
// the calls. When Send returns nil, done is called exactly once, from another
// goroutine: with nil when the peer acknowledged, with ErrNoAck when the path
// died first or Run ended. done must not block. When Send returns an error
// (ErrNotOpen, ErrBusy, ErrTooLong), done is not called.
func (t *Transport) Send(peerID string, e Envelope, done func(error)) error {
	if n := len(e.Data); n == 0 || n > maxEnvelope {
		return fmt.Errorf("send to %s: %w: %d bytes, want 1 to %d", peerID, ErrTooLong, n, maxEnvelope)
	}
	s := t.sendingTo(peerID)
	if s == nil {
		return fmt.Errorf("send to %s: %w", peerID, ErrNotOpen)
	}
	if err := s.send(e, done); err != nil {
		return fmt.Errorf("send to %s: %w", peerID, err)
	}
	return nil
}
