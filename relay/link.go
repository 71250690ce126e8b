package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"

	"github.com/coder/websocket"
)

var (
	errNoPong   = errors.New("no pong in time")
	errNoAnswer = errors.New("no answer to a send in time")
)

// link is one admitted connection of a Client.
type link struct {
	c           *Client
	ws          *websocket.Conn
	ack, binary bool
	allows      bool
	keeps       bool // rollback marks
	challenged  bool
	relayKey    identity.PublicKey
	salt        []byte // of the allow list
	// session is the relay's name for the connection.
	session string
	// better waits for a reason to connect again; nil on a WebSocket.
	better func(context.Context) error

	wake  chan struct{} // there is something to write
	inbox chan any      // a Delivery or an Expired
	// blocked says that the reader waits for Deliver; pongs cannot come then.
	blocked atomic.Bool

	mu      sync.Mutex
	closed  bool
	next    uint64
	queue   []*pending          // not yet written
	waiting map[string]*pending // written, by client_id
	used    Size                // both together
	acks    []string

	listed   bool // the relay was told of a list
	unset    bool // and did not take it
	version  int64
	change   *listChange // not yet written
	changing *listChange // written, not yet answered
	deposits []*deposit
}

func newLink(c *Client, ws *websocket.Conn, s State) *link {
	return &link{
		c: c, ws: ws, session: s.Session,
		ack: s.Speaks(ExtensionAck), binary: s.Speaks(ExtensionBinary),
		allows: s.Speaks(ExtensionAllow), salt: newSalt(), keeps: s.Speaks(ExtensionEpoch),
		challenged: s.Speaks(ExtensionChallenge), relayKey: s.RelayKey,
		wake: make(chan struct{}, 1), inbox: make(chan any, c.limits.Inbox),
		waiting: map[string]*pending{},
	}
}

// run works until the connection or ctx ends. It returns why.
func (l *link) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	parts := []func(context.Context) error{l.read, l.write, l.ping}
	if l.better != nil {
		parts = append(parts, l.better)
	}
	for _, part := range parts {
		wg.Go(func() { cancel(part(ctx)) })
	}
	wg.Go(func() { l.deliverAll(ctx) })
	<-ctx.Done()
	// Takes the socket away from whoever still waits for it.
	_ = l.ws.CloseNow()
	wg.Wait()
	return context.Cause(ctx)
}

func (l *link) read(ctx context.Context) error {
	defer close(l.inbox)
	for {
		typ, data, err := l.ws.Read(ctx)
		if err != nil {
			if websocket.CloseStatus(err) == CloseReplaced {
				return ErrReplaced
			}
			return fmt.Errorf("read: %w", err)
		}
		frame, err := l.parse(typ, data)
		if err != nil {
			if !errors.Is(err, errUnknownType) {
				l.c.log.Debug("frame ignored", "err", err)
			}
			continue
		}
		l.take(ctx, frame)
	}
}

// parse reads a message of either form.
func (l *link) parse(typ websocket.MessageType, data []byte) (any, error) {
	if typ == websocket.MessageText {
		frame, err := parseRelayFrame(data)
		if err != nil {
			return nil, err
		}
		return l.meaning(frame)
	}
	if l.binary {
		return parseRelayBinary(data)
	}
	return nil, errUnknownType
}

// meaning is what a frame that came as text says.
func (l *link) meaning(frame any) (any, error) {
	switch f := frame.(type) {
	case receiveFrame:
		return deliveryOf(f)
	case expiredFrame:
		if l.c.onExpired == nil {
			return nil, errUnknownType
		}
		return l.expired(f)
	case relayedFrame:
		expires, err := timestamp.Parse(f.Expires)
		return settled{f.ClientID, Result{Expires: expires}}, err
	case refusedFrame:
		after := time.Duration(max(f.RetryAfter, 0)) * time.Second
		return settled{f.ClientID, Result{Err: &RefusedError{Code: f.Code, RetryAfter: after}}}, nil
	}
	return frame, nil
}

func (l *link) take(ctx context.Context, frame any) {
	switch f := frame.(type) {
	case Delivery, Expired:
		l.blocked.Store(true)
		select {
		case l.inbox <- f:
		case <-ctx.Done():
		}
		l.blocked.Store(false)
	case settled:
		l.answer(f.key, f.result)
	case allowedFrame:
		l.allowed(f)
	case drainingFrame:
		l.c.onDraining()
	case depositedFrame:
		l.deposited(f)
	case errorFrame:
		// It names no message, so nothing can be told to anybody.
		l.c.log.Debug("relay reports an error", "code", f.Code, "message", f.Message)
	}
}

// deliverAll calls Deliver. After the end of the connection, what a relay with
// "ack" sent will come again; what another relay sent would be lost.
func (l *link) deliverAll(ctx context.Context) {
	for d := range l.inbox {
		if l.ack && ctx.Err() != nil {
			continue
		}
		switch d := d.(type) {
		case Delivery:
			l.c.deliver(d)
		case Expired:
			l.c.onExpired(d)
		}
	}
}

func (l *link) write(ctx context.Context) error {
	for {
		frame, p := l.nextFrame(ctx)
		if frame == nil {
			return ctx.Err()
		}
		bounded, cancel := context.WithTimeout(ctx, l.c.limits.WriteWait)
		err := l.ws.Write(bounded, messageType(frame), frame)
		cancel()
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if p != nil && !l.ack {
			l.answer(p.key, Result{Unconfirmed: true})
		}
	}
}

// nextFrame waits for something to write: acknowledgements first, because they
// make room in the relay. It is nil when ctx ends.
func (l *link) nextFrame(ctx context.Context) ([]byte, *pending) {
	for {
		frame, p := l.takeFrame()
		if p != nil {
			frame = p.encode(l.ack, l.binary)
		}
		if frame != nil {
			return frame, p
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// takeFrame takes what is next: a frame, or a send that is to be encoded.
func (l *link) takeFrame() ([]byte, *pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, take := range []func() []byte{l.takeChange, l.takeDeposit} {
		if frame := take(); frame != nil {
			return frame, nil
		}
	}
	if n := min(len(l.acks), l.c.limits.AckBatch); n > 0 {
		ids := l.acks[:n:n]
		l.acks = l.acks[n:]
		if l.binary {
			return binaryAckFrame(ids), nil
		}
		return encode(ackFrame{Type: typeAck, IDs: ids}), nil
	}
	if len(l.queue) == 0 {
		return nil, nil
	}
	p := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	l.next++
	p.number, p.key = l.next, strconv.FormatUint(l.next, 10)
	p.sent = time.Now()
	l.waiting[p.key] = p
	return nil, p
}

// send takes a message, or says why not.
func (l *link) send(p *pending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrDisconnected
	}
	if !l.used.Fits(p.size, l.c.limits.InFlight) {
		return ErrBusy
	}
	l.used = l.used.Plus(1, p.size)
	l.queue = append(l.queue, p)
	l.nudge()
	return nil
}

func (l *link) acknowledge(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.acks = append(l.acks, ids...)
	l.nudge()
}

func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// answer settles one Send. Answers to nothing are ignored.
func (l *link) answer(key string, r Result) {
	l.mu.Lock()
	p := l.waiting[key]
	if p != nil {
		delete(l.waiting, key)
		l.used = l.used.Plus(-1, -p.size)
	}
	l.mu.Unlock()
	if p != nil {
		r.ID = p.id
		p.done(r)
	}
}

// settle ends what is still open when the connection is over. No goroutine of the
// link runs any more.
func (l *link) settle() {
	l.mu.Lock()
	l.closed = true
	open := slices.Collect(maps.Values(l.waiting))
	// In the order of the calls, because that is how they will be sent again.
	slices.SortFunc(open, func(a, b *pending) int { return cmp.Compare(a.number, b.number) })
	open = append(open, l.queue...)
	l.queue, l.waiting = nil, nil
	changes := []*listChange{l.changing, l.change}
	deposits := l.deposits
	l.changing, l.change, l.deposits = nil, nil, nil
	l.mu.Unlock()
	for _, d := range deposits {
		d.done(nil, ErrDisconnected)
	}
	for _, ch := range changes {
		if ch != nil {
			ch.report(ErrDisconnected)
		}
	}
	for _, p := range open {
		p.done(Result{ID: p.id, Err: ErrDisconnected})
	}
}

// ping notices a relay that is gone without a word, and one that has forgotten to
// answer.
func (l *link) ping(ctx context.Context) error {
	every, within := l.c.limits.ClientPing, l.c.limits.ClientPong
	if l.better != nil {
		every, within = l.c.limits.Poll.Ping, l.c.limits.Poll.Pong
	}
	for wait(ctx, every) {
		if l.overdue() {
			return errNoAnswer
		}
		l.c.setAgain(l)
		if l.blocked.Load() {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, within)
		err := l.ws.Ping(bounded)
		cancel()
		if err != nil && ctx.Err() == nil && !l.blocked.Load() {
			return errNoPong
		}
	}
	return ctx.Err()
}

func (l *link) overdue() bool {
	if !l.ack || l.blocked.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	late := func(sent time.Time) bool { return !sent.IsZero() && time.Since(sent) > l.c.limits.AnswerWait }
	if l.changing != nil && late(l.changing.sent) || len(l.deposits) > 0 && late(l.deposits[0].sent) {
		return true
	}
	for _, p := range l.waiting {
		if late(p.sent) {
			return true
		}
	}
	return false
}
