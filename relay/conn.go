package relay

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/relay/ban"
	"amesh/relay/mailbox"
	"amesh/relay/socket"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// conn is one connection. Its life:
//
//	greet ──> register ──> read ──frames──> handle ──> queue ──> socket
//	                          mailbox ──> pump ──────────┘
//
// At rest it has one goroutine, the one that reads. Pumping and writing last as long
// as there is something to pump or write. stop may be called by anybody, any number
// of times; the first call says why.
type conn struct {
	s      *Server
	ws     *socket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	queue  *queue
	credit *credit
	once   sync.Once
	wg     sync.WaitGroup

	threshold threshold
	who       identity.AMID
	agreed    []Extension
	ack       bool
	binary    bool
	allowing  allowing // belongs to the reader
	marks     markPlace
	mark      string // as connected tells it
	guest     *guest // nil for a bare handler's connection
	poll      *poll  // nil for a socket
	by        [2]*activity
	// named, pinged and replacing belong to the server's mutex.
	named     bool
	pinged    time.Time
	replacing *replacing  // nil: replaced nobody
	pong      atomic.Bool // the last ping was answered
	mute      atomic.Bool // replaced, and not told
	// goodbye says that the peer has sent a close frame; it and direct belong to the
	// goroutine that reads.
	goodbye bool
	direct  direct

	mu        sync.Mutex
	closed    bool
	unwelcome *ban.Ban    // a ban that came before the socket
	late      *time.Timer // takes the socket away from a peer who answers no close frame; ends who is mute
	status    string
	seen      time.Time
	pumping   pumping
	acked     acked

	cursor mailbox.Cursor // what was handed out; belongs to the goroutine that pumps
}

func newConn(s *Server) *conn {
	c := &conn{s: s, credit: newCredit(s.limits.Credit)}
	c.queue = newQueue(s.limits, c.wrote, func(err error) {
		c.unwritten(err)
		c.stop(websocket.StatusTryAgainLater, "too slow")
	})
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.pong.Store(true)
	return c
}

// serve runs an accepted connection to its end.
func (c *conn) serve() {
	c.nudge()
	c.read()
	c.finish()
}

// attach gives the connection its socket; stop may have come before it.
func (c *conn) attach(ws *socket.Conn) {
	c.mu.Lock()
	c.ws = ws
	c.queue.open(ws)
	if c.closed {
		c.hangUp(websocket.StatusGoingAway, "relay is stopping")
	}
	unwelcome := c.unwelcome
	c.mu.Unlock()
	if unwelcome != nil {
		c.expel(*unwelcome)
	}
}

// stop ends the connection with a close frame. It does not wait.
func (c *conn) stop(code websocket.StatusCode, reason string) {
	c.once.Do(func() {
		c.cancel()
		c.queue.close()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.closed = true
		if c.ws != nil {
			c.hangUp(code, reason)
		}
	})
}

// gone ends a connection whose socket is dead.
func (c *conn) gone() {
	c.once.Do(func() {
		c.cancel()
		c.queue.close()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.closed = true
	})
	_ = c.ws.Close()
}

// hangUp says goodbye beside everything else, because the peer may be deaf. If it
// does not answer either its socket is taken away, which ends whoever reads.
func (c *conn) hangUp(code websocket.StatusCode, reason string) {
	wait := c.s.limits.CloseWait
	if c.late != nil {
		c.late.Stop()
	}
	c.late = time.AfterFunc(wait, func() { _ = c.ws.Close() })
	c.wg.Go(func() {
		// Whoever is writing has so long to end: the goodbye must not stand in the
		// middle of a frame.
		_ = c.ws.SetWriteDeadline(time.Now().Add(wait))
		c.queue.idle()
		if c.ws.Write(socket.AppendClose(nil, int(code), reason), 0, wait) != nil {
			_ = c.ws.Close()
		}
	})
}

// finish waits for the peer's goodbye and for everybody who works here.
func (c *conn) finish() {
	if !c.mute.Load() {
		c.stop(websocket.StatusNormalClosure, "")
	}
	for !c.goodbye {
		op, _, err := c.ws.Next()
		if mistake := new(socket.PeerError); errors.As(err, &mistake) {
			c.ws.Discard()
		}
		c.goodbye = op == socket.Close || err != nil
	}
	c.stop(websocket.StatusNormalClosure, "") // for who was mute
	c.wg.Wait()
	c.queue.idle()
	c.mu.Lock()
	if c.late != nil {
		c.late.Stop()
	}
	c.mu.Unlock()
	_ = c.ws.Close()
}

// greet takes the connect frame and answers it. It is false when the connection
// is to end; the peer was told why.
func (c *conn) greet() bool {
	_ = c.ws.SetReadDeadline(time.Now().Add(c.s.limits.AuthWait))
	op, data, ok := c.next()
	for ok && op >= socket.Close {
		op, data, ok = c.next()
	}
	_ = c.ws.SetReadDeadline(time.Time{})
	if !ok {
		return false
	}
	frame, err := parseClientFrame(data, c.s.limits)
	c.got(frame, len(data))
	f, ok := frame.(connectFrame)
	if op != socket.Text || err != nil || !ok {
		c.s.counts.auth.add(CodeInvalidMessage, 0)
		c.refuse(refusal{CodeInvalidMessage, "the first frame must be connect"}, websocket.StatusPolicyViolation)
		return false
	}
	key, no := c.s.verify(c, f)
	if no == nil && c.poll != nil && key != c.poll.key {
		no = &refusal{CodeInvalidSignature, "the session was opened with another key"}
	}
	if no != nil {
		c.s.counts.auth.add(no.code, 0)
		c.s.log.Debug("connect refused", "code", no.code, "reason", no.text)
		c.refuse(*no, closeFor(*no))
		return false
	}
	if !c.s.admission.name(c.guest) {
		return false
	}
	return c.admit(key, f)
}

// admit makes the connection the agent's own.
func (c *conn) admit(key identity.PublicKey, f connectFrame) bool {
	c.who = key.AMID()
	c.agreed = agree(f.Extensions, c.s.extensions())
	c.ack = slices.Contains(c.agreed, ExtensionAck)
	c.binary = slices.Contains(c.agreed, ExtensionBinary)
	c.status, c.seen = statusOnline, time.Now()
	pending, err := c.s.box.Open(c.ctx, c.who, c.ack)
	err = errors.Join(err, c.readMark(key, f))
	if err != nil {
		c.s.storageResult(err)
		c.refuse(refusal{CodeInternalError, "storage unavailable"}, websocket.StatusTryAgainLater)
		return false
	}
	// Queued before anybody can find the connection: connected must come first,
	// or the Python SDK takes the relay's answer for a refusal.
	// Written when everybody can: whoever reads it finds itself there.
	c.queue.put(encode(connectedFrame{
		Type: typeConnected, SessionID: uuid.NewString(), Pending: pending, Extensions: c.agreed,
		STUN: c.s.stunFor(f.Extensions), Mark: c.mark, RelayKey: c.relayKeyText(),
	}))
	old, mute, ok := c.s.register(c)
	if !ok {
		return false
	}
	defer c.queue.flush()
	if old != nil {
		old.giveWay(mute)
	}
	c.s.log.Debug("agent connected", "peer", c.who, "ack", c.ack)
	return true
}

// refuse writes an error frame, really, before the close frame.
func (c *conn) refuse(no refusal, code websocket.StatusCode) {
	c.queue.push(encode(errorOf(no.code, no.text, 0)))
	if c.queue.drained() {
		c.stop(code, no.text)
	}
}

func errorOf(code, text string, retry time.Duration) errorFrame {
	return errorFrame{Type: typeError, Code: code, Message: text, Error: text, RetryAfter: seconds(retry)}
}

// seconds rounds up: a client that comes back a moment too early is refused again.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// read handles what comes until the connection ends. Frames that came together are
// handled together, so that they share commits and writes.
func (c *conn) read() {
	var batch []any
	for {
		if !c.ws.Ready() || len(batch) >= c.s.limits.BatchFrames {
			c.direct.flush()
			c.handleBatch(batch)
			batch = nil
		}
		op, data, ok := c.next()
		if !ok {
			c.direct.flush()
			c.handleBatch(batch)
			return
		}
		if op >= socket.Close {
			continue // a control frame; what came before it is not to wait for more
		}
		// A frame behind one that waits has to wait.
		if op == socket.Text && len(batch) == 0 && c.passOn(data) {
			continue
		}
		// Frames that are unknown or malformed are ignored (AgentMesh §2.2).
		frame, err := c.parse(op, data)
		c.got(frame, len(data))
		if err != nil {
			c.s.log.Debug("frame ignored", "peer", c.who, "err", err)
			frame = ignoredFrame{}
		}
		c.weigh(frame, len(data))
		batch = append(batch, frame)
	}
}

// next is the next message or control frame; ok is false when the connection is to
// end. Control frames are dealt with already.
func (c *conn) next() (op socket.Op, data []byte, ok bool) {
	if c.ctx.Err() != nil {
		return 0, nil, false
	}
	op, data, err := c.ws.Next()
	if err != nil {
		c.readFailed(err)
		return 0, nil, false
	}
	switch op {
	case socket.Ping:
		c.queue.control(socket.Pong, data)
	case socket.Pong:
		c.pong.Store(true)
	case socket.Close:
		c.peerClosed(data)
		return 0, nil, false
	}
	return op, data, !c.mute.Load()
}

func (c *conn) readFailed(err error) {
	c.s.log.Debug("connection ended", "peer", c.who, "err", ended(err))
	var mistake *socket.PeerError
	switch {
	case errors.As(err, &mistake):
		c.stop(websocket.StatusCode(mistake.Code), mistake.Reason)
		c.ws.Discard()
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.stop(websocket.StatusPolicyViolation, "no connect frame in time")
		return
	default:
		c.gone()
	}
	c.goodbye = true
}

// peerClosed answers a close frame with its own code.
func (c *conn) peerClosed(payload []byte) {
	c.goodbye = true
	code, _, err := socket.ParseClose(payload)
	if err != nil {
		code = socket.CodeProtocol
	} else if code == int(websocket.StatusNoStatusRcvd) {
		code = int(websocket.StatusNormalClosure)
	}
	c.s.log.Debug("connection ended", "peer", c.who, "err", ended(websocket.CloseError{Code: websocket.StatusCode(code)}))
	c.stop(websocket.StatusCode(code), "")
}
