package relay

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/mailbox"

	"github.com/coder/websocket"
)

func testBox(t *testing.T, s store.Store, l Limits) *mailbox.Disk {
	t.Helper()
	m, err := mailbox.NewDisk(s, l.Mailbox)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func usage(t *testing.T, m mailbox.Mailbox, owner identity.AMID) Size {
	t.Helper()
	used, err := m.Usage(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// house is an address behind which servers come and go.
type house struct {
	t   *testing.T
	web *httptest.Server
	cfg ServerConfig // of the next server, with its own Mailbox and Limits

	polled  bool        // nobody upgrades, and clients poll
	shallow atomic.Bool // let the kernel keep as little as it can of what the server writes

	mu      sync.Mutex
	strip   bool // take the challenge away, as somebody in between
	server  *Server
	stop    context.CancelFunc
	stopped chan error
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, polled: strings.HasPrefix(t.Name(), polledTests)}
	h.web = httptest.NewUnstartedServer(h)
	h.web.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if h.shallow.Load() {
			_ = c.(*net.TCPConn).SetWriteBuffer(1)
		}
		return ctx
	}
	h.web.Start()
	t.Cleanup(func() {
		h.shut()
		h.web.Close()
	})
	return h
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	s, strip := h.server, h.strip
	h.mu.Unlock()
	if strip {
		w = stripped{w}
	}
	if h.polled {
		r.Header.Del("Upgrade")
	}
	if s == nil {
		http.Error(w, "nobody home", http.StatusBadGateway)
		return
	}
	s.ServeHTTP(w, r)
}

// stripped is an answer without a challenge.
type stripped struct{ http.ResponseWriter }

func (s stripped) WriteHeader(status int) {
	s.Header().Del(challengeHeader)
	s.ResponseWriter.WriteHeader(status)
}

func (s stripped) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (h *house) stripChallenges() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strip = true
}

func (h *house) addr() string { return h.web.Listener.Addr().String() }

func (h *house) url() string { return strings.Replace(h.web.URL, "http://", "ws://", 1) }

// start moves a server in, over a store that outlives it.
func (h *house) start(s store.Store, l Limits) *Server {
	h.t.Helper()
	if l == (Limits{}) {
		l = DefaultLimits()
		// Raw clients read only when a test expects something.
		l.CloseWait = 50 * time.Millisecond
	}
	server := h.startWith(testBox(h.t, s, l), l)
	<-server.ready // the first sweep has its commit, which is not to be taken for another one
	return server
}

// startWith moves a server in that has this mailbox.
func (h *house) startWith(box mailbox.Mailbox, l Limits) *Server {
	h.t.Helper()
	cfg := h.cfg
	cfg.Mailbox, cfg.Limits = box, l
	server, err := NewServer(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- server.Run(ctx) }()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server, h.stop, h.stopped = server, stop, stopped
	return server
}

// shut stops the server, if any, and waits for it.
func (h *house) shut() {
	h.t.Helper()
	h.mu.Lock()
	stop, stopped := h.stop, h.stopped
	h.server, h.stop = nil, nil
	h.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	select {
	case err := <-stopped:
		if err != nil {
			h.t.Errorf("server stopped with %v", err)
		}
	case <-time.After(patience):
		h.t.Error("server does not stop")
	}
}

// startRelay is the usual case: one server in one house.
func startRelay(t *testing.T, l Limits) (*house, *store.Memory) {
	t.Helper()
	disk := store.NewMemory()
	h := newHouse(t)
	h.start(disk, l)
	return h, disk
}

// raw is a client that knows only WebSockets and JSON.
type raw struct {
	t      *testing.T
	ws     *websocket.Conn
	header http.Header // of the answer to the upgrade
	who    identity.AMID
}

type object = map[string]any

// dial opens a connection on which n will connect, if that matters.
func (h *house) dial(n ...byte) *raw {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if h.polled {
		return h.dialPoll(ctx, append(n, 1)[0])
	}
	ws, answer, err := websocket.Dial(ctx, h.url()+"/any/path", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	h.t.Cleanup(func() { _ = ws.CloseNow() })
	return &raw{t: h.t, ws: ws, header: answer.Header}
}

// polledTests is how the names of tests begin in whose houses nobody upgrades.
const polledTests = "TestByLongPoll/"

func (h *house) dialPoll(ctx context.Context, n byte) *raw {
	h.t.Helper()
	w := newWays(newAgent(h.t, ClientConfig{URL: h.url() + "/any/path", Key: testKey(h.t, n)}).Client)
	track, err := w.longPoll(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	track.SetReadLimit(1 << 20)
	h.t.Cleanup(func() {
		track.close()
		w.close()
	})
	return &raw{t: h.t, ws: track.Conn, header: track.header}
}

var (
	stampMu   sync.Mutex
	lastStamp time.Time
)

// jsStamp is a timestamp as the JavaScript SDK writes it, never the same twice.
func jsStamp() string {
	stampMu.Lock()
	defer stampMu.Unlock()
	now := time.Now().UTC().Truncate(time.Millisecond)
	if !now.After(lastStamp) {
		now = lastStamp.Add(time.Millisecond)
	}
	lastStamp = now
	return now.Format("2006-01-02T15:04:05.000Z")
}

// join connects an agent and takes the connected frame.
func (h *house) join(n byte, extensions ...Extension) (*raw, object) {
	h.t.Helper()
	c := h.dial(n)
	key := testKey(h.t, n)
	c.who = key.AMID()
	f := signed(key, jsStamp(), "")
	f.Signature = signatureText(key.SignTimestamp(f.Timestamp))
	f.Extensions = extensions
	if f.proves() {
		c.prove(key, &f, h.addr())
	}
	c.write(f)
	got := c.next()
	if got["type"] != typeConnected {
		h.t.Fatalf("connect answered with %v", got)
	}
	return c, got
}

// prove signs a frame over the challenge of this connection.
func (c *raw) prove(key identity.PrivateKey, f *connectFrame, relay string) {
	c.t.Helper()
	challenge, err := challengeOf(c.header)
	if err != nil {
		c.t.Fatal(err)
	}
	f.Relay = relay
	if err := prove(key, f, challenge); err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) write(frame any) {
	c.t.Helper()
	c.writeText(string(encode(frame)))
}

func (c *raw) writeText(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) next() object {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := c.ws.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		c.t.Fatalf("%s: %v", data, err)
	}
	return o
}

// want takes the next frame and compares the members that are named.
func (c *raw) want(members object) object {
	c.t.Helper()
	got := c.next()
	for k, v := range members {
		if got[k] != v {
			c.t.Fatalf("member %s: got %v, want %v in %v", k, got[k], v, got)
		}
	}
	return got
}

// quiet proves that nothing is on its way: frames keep their order, so the answer
// to a ping comes after everything that was due.
func (c *raw) quiet() {
	c.t.Helper()
	c.writeText(`{"type":"ping","timestamp":"2026-11-20T09:22:47.5+00:00"}`)
	c.want(object{"type": typePong, "timestamp": "2026-11-20T09:22:47.500Z"})
}

// closed reads until the end and returns the close code.
func (c *raw) closed() websocket.StatusCode {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, _, err := c.ws.Read(ctx); err != nil {
			if ctx.Err() != nil {
				c.t.Fatal("connection stays open")
			}
			return websocket.CloseStatus(err)
		}
	}
}

// send sends a text, with a client_id if it is not empty.
func (c *raw) send(to identity.AMID, text, clientID string) {
	c.t.Helper()
	c.write(sendFrame{Type: typeSend, To: to.String(), Payload: text, Kind: KindMessage, ClientID: clientID})
}

func (c *raw) ack(ids ...string) {
	c.t.Helper()
	c.write(ackFrame{Type: typeAck, IDs: ids})
}

// leave closes the connection and waits until the server knows.
func (c *raw) leave(h *house) {
	c.t.Helper()
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	h.until("the connection is forgotten", func(s *Server) bool { return s.find(c.who) == nil })
}

// until waits for something that happens in the server without telling anybody.
func (h *house) until(what string, f func(*Server) bool) {
	h.t.Helper()
	end := time.Now().Add(patience)
	for !f(h.server) {
		if time.Now().After(end) {
			h.t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (h *house) holds(owner identity.AMID, n int) {
	h.t.Helper()
	var got Size
	end := time.Now().Add(patience)
	for {
		var err error
		if got, err = h.server.box.Usage(context.Background(), owner); err == nil && got.Messages == n {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("mailbox holds %+v, want %d", got, n)
		}
		time.Sleep(time.Millisecond)
	}
}
