package direct

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"amesh/identity"
	"amesh/internal/wire"
)

// errDead is the cause when a peer didn't answer in time: then its connection is
// not to be trusted either.
var errDead = errors.New("peer is silent")

// rawStream is what we need of a libp2p stream.
type rawStream interface {
	io.Reader
	io.Writer
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Reset() error
}

// hooks are how a stream tells its transport. None is called with a lock held.
type hooks struct {
	deliver func(Delivery)                  // on the reader, may block
	keys    func(identity.AMID) OneTimeKeys // on a goroutine of its own, may block
	proven  func(*stream)                   // once, at the first pong
	ended   func(*stream, error)            // once, before the envelopes under way are given up
}

// stream speaks the protocol on one libp2p stream, in both directions.
//
//	       hello in 1.5 s          pong in 1.5 s
//	opened ─────────────► greeted ─────────────► proven ──┐ ping after 3 s
//	   │                     │                     │  ▲   │ without pong or ack
//	   └─────────────────────┴─────────────────────┤  └───┘
//	      anything late, malformed or closed       ▼
//	                                              dead, for good
//
// A reader and a writer goroutine share the state under mu. The reader never
// writes and the writer never reads, so neither side can block the other by not
// listening: a write that finds no room in time ends the stream.
type stream struct {
	raw    rawStream
	peer   string
	addr   string
	conn   string       // names its connection; streams of one share their fate
	under  network.Conn // it; nil in tests of a stream alone
	limits Limits
	hooks  hooks
	wake   chan struct{} // the writer has something to do or to reconsider
	dead   chan struct{} // closed by fail
	gone   chan struct{} // closed when hooks.ended is over
	first  *ping         // the one that proves the stream

	mu      sync.Mutex
	err     error // why it is dead; nil while it lives
	greeted bool  // our hello was taken by the writer
	proof   bool  // a pong came
	watch   stopwatch
	echoed  time.Duration // when the peer last showed that it hears us
	rtt     time.Duration // of the last pong; 0: not measured

	unsent []*parcel
	flight []*parcel // taken by the writer, in order; acknowledged ones linger at the front only
	byID   map[[idSize]byte]*parcel
	count  int // calls of done that are owed
	bytes  int // of their envelopes
	acks   [][idSize]byte
	pongs  [][nonceSize]byte
	pings  []*ping

	questions []*question // ours; only the first can be on the wire
	asked     bool        // the peer's question has no answer yet
	reply     *reply      // to it, for the writer
	replies   sync.WaitGroup
}

// parcel is an envelope under way.
type parcel struct {
	Envelope
	done    []func(error) // more than one when the same envelope was given twice
	taken   bool
	written bool
	at      time.Duration // when it was written
	acked   bool
}

// ping is a question under way.
type ping struct {
	nonce   [nonceSize]byte
	taken   bool
	written bool
	at      time.Duration
	done    chan struct{} // closed by its pong
}

func newStream(raw rawStream, peer, addr string, limits Limits, h hooks) *stream {
	s := &stream{
		raw: raw, peer: peer, addr: addr, limits: limits, hooks: h,
		wake: make(chan struct{}, 1),
		dead: make(chan struct{}),
		gone: make(chan struct{}),
		byID: make(map[[idSize]byte]*parcel),
	}
	s.watch.start = time.Now()
	s.first = s.addPing()
	return s
}

// run speaks until the stream is dead and returns when all its goroutines are home.
func (s *stream) run() {
	var wg sync.WaitGroup
	wg.Go(s.write)
	s.fail(s.read())
	wg.Wait()
	s.replies.Wait()
}

func (s *stream) read() error {
	r := bufio.NewReaderSize(s.raw, 16<<10)
	if err := s.raw.SetReadDeadline(time.Now().Add(s.limits.PongTimeout)); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	f, err := readFrame(r, helloSize)
	if err == nil && f.kind != typeHello {
		err = fmt.Errorf("%w: frame type %d before hello", wire.ErrMalformed, f.kind)
	}
	if err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	// From here on silence is noticed by our pings, also in the middle of a frame.
	if err := s.raw.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	for {
		f, err := readFrame(r, maxFrame)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if err := s.handle(f); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
}

func (s *stream) handle(f frame) error {
	switch f.kind {
	case typeHello:
		return fmt.Errorf("%w: second hello", wire.ErrMalformed)
	case typeEnvelope:
		s.receive(f)
	case typeAck:
		s.acked(f.ids)
	case typePing:
		return s.answer(f.nonce)
	case typePong:
		s.echo(f.nonce)
	case typeWanted:
		return s.wanted(f.of)
	case typeKeys:
		return s.told(f.of, f.keys)
	}
	return nil
}

// receive hands an envelope up. The watch stands still meanwhile: answers that
// wait in our buffer because our own side is slow are not late.
func (s *stream) receive(f frame) {
	sum := sha256.Sum256(f.envelope)
	id := [idSize]byte(sum[:idSize])
	s.mu.Lock()
	s.watch.pause()
	s.mu.Unlock()
	s.hooks.deliver(Delivery{
		PeerID: s.peer, Addr: s.addr, From: f.from, To: f.to, ID: id, Data: f.envelope,
		Ack: sync.OnceFunc(func() { s.ack(id) }),
	})
	s.mu.Lock()
	s.watch.resume()
	s.mu.Unlock()
	s.nudge()
}

func (s *stream) ack(id [idSize]byte) {
	s.mu.Lock()
	if s.err == nil {
		s.acks = append(s.acks, id)
	}
	s.mu.Unlock()
	s.nudge()
}

// acked settles the envelopes named. Unknown ids are ignored: nothing follows
// from an ack for what was never sent.
func (s *stream) acked(ids [][idSize]byte) {
	var settled []func(error)
	s.mu.Lock()
	for _, id := range ids {
		p := s.byID[id]
		if p == nil || !p.taken {
			continue
		}
		p.acked = true
		delete(s.byID, id)
		s.count -= len(p.done)
		s.bytes -= len(p.Data) * len(p.done)
		settled = append(settled, p.done...)
		s.echoed = s.watch.now()
	}
	for len(s.flight) > 0 && s.flight[0].acked {
		s.flight[0] = nil
		s.flight = s.flight[1:]
	}
	s.mu.Unlock()
	for _, done := range settled {
		done(nil)
	}
}

func (s *stream) answer(nonce [nonceSize]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pongs) >= s.limits.Pongs {
		return fmt.Errorf("%w: more than %d pings at once", wire.ErrMalformed, s.limits.Pongs)
	}
	s.pongs = append(s.pongs, nonce)
	s.nudge()
	return nil
}

func (s *stream) echo(nonce [nonceSize]byte) {
	s.mu.Lock()
	first := false
	for i, p := range s.pings {
		if p.nonce == nonce && p.taken {
			s.pings = append(s.pings[:i], s.pings[i+1:]...)
			s.echoed = s.watch.now()
			if p.written {
				s.rtt = s.echoed - p.at
			}
			first = !s.proof
			s.proof = true
			defer close(p.done) // after proven, so that who waits finds the path open
			break
		}
	}
	s.mu.Unlock()
	if first {
		s.hooks.proven(s)
	}
}

// send queues an envelope. It returns ErrNotOpen or ErrBusy and then never calls
// done.
func (s *stream) send(e Envelope, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return ErrNotOpen
	case s.count >= s.limits.Outstanding:
		return fmt.Errorf("%w: %d envelopes under way", ErrBusy, s.count)
	case s.bytes+len(e.Data) > s.limits.OutstandingBytes:
		return fmt.Errorf("%w: %d bytes under way", ErrBusy, s.bytes)
	}
	s.count++
	s.bytes += len(e.Data)
	if p := s.byID[e.ID]; p != nil { // on its way already: one answer serves both
		p.done = append(p.done, done)
		return nil
	}
	p := &parcel{Envelope: e, done: []func(error){done}}
	s.byID[e.ID] = p
	s.unsent = append(s.unsent, p)
	s.nudge()
	return nil
}

// fail ends the stream with its first cause and settles everything under way.
func (s *stream) fail(cause error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = cause
	var lost []func(error)
	for _, list := range [][]*parcel{s.flight, s.unsent} {
		for _, p := range list {
			if !p.acked {
				lost = append(lost, p.done...)
			}
		}
	}
	s.flight, s.unsent, s.byID, s.acks, s.pongs, s.pings = nil, nil, nil, nil, nil, nil
	s.questions, s.reply = nil, nil
	s.mu.Unlock()

	close(s.dead)
	_ = s.raw.Reset() // frees the reader and the writer; it is dead either way
	s.hooks.ended(s, cause)
	close(s.gone)
	for _, done := range lost {
		done(ErrNoAck)
	}
}

func (s *stream) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *stream) isProven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proof && s.err == nil
}

func (s *stream) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Envelope is what Send takes: sealed bytes and the agents they are for.
type Envelope struct {
	From, To identity.AMID
	// ID is the hash of Data, by which the peer acknowledges (session.md §4.2).
	ID [idSize]byte
	// Data must not change until done was called.
	Data []byte
}

// Delivery is an envelope that came in. From and To are what the peer claims.
type Delivery struct {
	PeerID string
	Addr   string // the peer's multiaddr as we see it
	From   identity.AMID
	To     identity.AMID
	ID     [idSize]byte // computed here
	Data   []byte       // the receiver's own
	// Ack tells the peer that Data was committed, or dropped for good. It may be
	// called later, from any goroutine, more than once; on a dead stream it does
	// nothing, and the peer sends again by another path.
	Ack func()
}
