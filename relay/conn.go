package relay

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"amesh/identity"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// conn is one connection. Its life:
//
//	serve ── greet ──> register ──> read ──frames──> handle ──> queue ──> write
//	                                   mailbox ──> pump ────────┘
//
// stop may be called by anybody, any number of times; the first call says why.
type conn struct {
	s      *Server
	ws     *websocket.Conn
	socket io.Closer // under ws
	ctx    context.Context
	cancel context.CancelFunc
	queue  *queue
	credit *credit
	wake   chan struct{} // there may be something for pump to do
	done   chan struct{} // closed by stop
	once   sync.Once
	wg     sync.WaitGroup

	threshold threshold
	who       identity.AMID
	agreed    []Extension
	ack       bool
	binary    bool
	guest     *guest // nil for a bare handler's connection
	// named and pinged belong to the server's mutex.
	named  bool
	pinged time.Time

	mu     sync.Mutex
	closed bool
	status string
	seen   time.Time
}

func newConn(s *Server) *conn {
	return &conn{
		s:      s,
		queue:  newQueue(s.limits.QueueFrames, s.limits.QueueBytes),
		credit: newCredit(s.limits.Credit),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

// serve runs the connection to its end.
func (c *conn) serve(ctx context.Context, ws *websocket.Conn, socket io.Closer) {
	c.attach(ctx, ws, socket)
	late := time.AfterFunc(c.s.limits.AuthWait, func() {
		c.stop(websocket.StatusPolicyViolation, "no connect frame in time")
	})
	ok := c.greet()
	if !late.Stop() || !ok {
		c.stop(websocket.StatusPolicyViolation, "not connected")
		c.wg.Wait()
		return
	}
	frames := make(chan any, c.s.limits.ReadAhead)
	c.wg.Go(c.write)
	c.wg.Go(func() { c.handleAll(frames) })
	if c.ack {
		c.wg.Go(c.pump)
	} else {
		c.wg.Go(c.pumpOnce)
	}
	c.read(frames)
	c.stop(websocket.StatusNormalClosure, "")
	c.wg.Wait()
}

// attach gives the connection its socket; stop may have come before it.
func (c *conn) attach(ctx context.Context, ws *websocket.Conn, socket io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.ws, c.socket = ws, socket
	if c.closed {
		c.hangUp(websocket.StatusGoingAway, "relay is stopping")
	}
}

// stop ends the connection with a close frame. It does not wait.
func (c *conn) stop(code websocket.StatusCode, reason string) {
	c.once.Do(func() {
		close(c.done)
		c.queue.close()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.closed = true
		if c.ws != nil {
			c.hangUp(code, reason)
		}
	})
}

// hangUp says goodbye beside everything else, because the peer may be deaf; then the
// socket is taken away. Cancelling the context would not do: after a frame that was
// too long the library reads on to its end, however far that is.
func (c *conn) hangUp(code websocket.StatusCode, reason string) {
	c.wg.Go(func() {
		late := time.AfterFunc(c.s.limits.CloseWait, func() { _ = c.socket.Close() })
		_ = c.ws.Close(code, reason)
		late.Stop()
		c.cancel()
	})
}

// greet takes the connect frame and answers it. It is false when the connection
// is to end; the peer was told why.
func (c *conn) greet() bool {
	typ, data, err := c.ws.Read(c.ctx)
	if err != nil {
		return false
	}
	frame, err := parseClientFrame(data, c.s.limits)
	c.got(frame, len(data))
	f, ok := frame.(connectFrame)
	if typ != websocket.MessageText || err != nil || !ok {
		c.s.counts.auth.add(CodeInvalidMessage, 0)
		c.refuse(refusal{CodeInvalidMessage, "the first frame must be connect"}, websocket.StatusPolicyViolation)
		return false
	}
	who, no := c.s.verify(c, f)
	if no != nil {
		c.s.counts.auth.add(no.code, 0)
		c.s.log.Debug("connect refused", "code", no.code, "reason", no.text)
		c.refuse(*no, closeFor(*no))
		return false
	}
	if !c.s.admission.name(c.guest) {
		return false
	}
	return c.admit(who, f)
}

// admit makes the connection the agent's own.
func (c *conn) admit(who identity.AMID, f connectFrame) bool {
	c.who = who
	c.agreed = agree(f.Extensions, c.s.extensions())
	c.ack = slices.Contains(c.agreed, ExtensionAck)
	c.binary = slices.Contains(c.agreed, ExtensionBinary)
	c.status, c.seen = statusOnline, time.Now()
	pending, err := c.s.box.Open(c.ctx, who, c.ack)
	if err != nil {
		c.s.storageResult(err)
		c.refuse(refusal{CodeInternalError, "storage unavailable"}, websocket.StatusTryAgainLater)
		return false
	}
	// Queued before anybody can find the connection: connected must come first,
	// or the Python SDK takes the relay's answer for a refusal.
	c.queue.push(encode(connectedFrame{
		Type: typeConnected, SessionID: uuid.NewString(), Pending: pending, Extensions: c.agreed,
		STUN: c.s.stunFor(f.Extensions),
	}))
	old, ok := c.s.register(c)
	if !ok {
		return false
	}
	if old != nil {
		old.stop(CloseReplaced, "replaced")
	}
	c.s.log.Debug("agent connected", "peer", who, "ack", c.ack)
	return true
}

// refuse writes an error frame, really, before the close frame.
func (c *conn) refuse(no refusal, code websocket.StatusCode) {
	ctx, cancel := context.WithTimeout(c.ctx, c.s.limits.WriteWait)
	defer cancel()
	if c.ws.Write(ctx, websocket.MessageText, encode(errorOf(no.code, no.text, 0))) == nil {
		c.stop(code, no.text)
	}
}

func errorOf(code, text string, retry time.Duration) errorFrame {
	return errorFrame{Type: typeError, Code: code, Message: text, Error: text, RetryAfter: seconds(retry)}
}

// seconds rounds up: a client that comes back a moment too early is refused again.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// read parses what comes until the socket ends. Frames that are unknown or
// malformed are ignored (AgentMesh §2.2).
func (c *conn) read(frames chan<- any) {
	defer close(frames)
	for {
		typ, data, err := c.ws.Read(c.ctx)
		if err != nil {
			c.s.log.Debug("connection ended", "peer", c.who, "err", ended(err))
			return
		}
		frame, err := c.parse(typ, data)
		c.got(frame, len(data))
		if err != nil {
			c.s.log.Debug("frame ignored", "peer", c.who, "err", err)
			continue
		}
		select {
		case frames <- frame:
		case <-c.done:
			return
		}
	}
}

// write sends the queue. A frame that does not leave in time means a reader who
// does not read: it is cut, and what was not written stays in its mailbox.
func (c *conn) write() {
	for {
		frame, ok := c.queue.pop()
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, c.s.limits.WriteWait)
		err := c.ws.Write(ctx, messageType(frame), frame)
		cancel()
		if err != nil {
			c.unwritten(err)
			c.stop(websocket.StatusTryAgainLater, "too slow")
			return
		}
		c.wrote(frame)
	}
}

// ping ends a connection whose peer does not answer.
func (c *conn) ping() {
	ctx, cancel := context.WithTimeout(c.ctx, c.s.limits.PongWait)
	defer cancel()
	if c.ws.Ping(ctx) != nil {
		c.stop(websocket.StatusPolicyViolation, "no pong")
	}
}

// nudge tells pump to look again.
func (c *conn) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
