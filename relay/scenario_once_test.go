package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"amesh/internal/store"

	"github.com/coder/websocket"
)

// A frame that may have reached a client of 0.2 never comes again, and what comes
// keeps its order, whatever happens on the way: cut connections of both sides at any
// byte, newer connections beside older ones, and crashes of the relay on either side
// of any commit (CP 9 to 13 without "ack").
func TestLegacyFrameIsNeverGivenTwice(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { misfortune(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

const misfortunes = 30

func misfortune(t *testing.T, r *rand.Rand) {
	l := DefaultLimits()
	l.LegacySends, l.Mailbox.LegacyShare = 1_000_000, l.Mailbox.LegacyBox
	m := &mishap{stage: newStage(t, l), r: r, seen: map[string]bool{}}
	defer m.stage.close()
	for range misfortunes {
		m.round()
	}
	// Now that nothing more happens, everything arrives.
	m.stage.restart()
	receiver, sender := m.join(2, reliable), m.join(1, reliable)
	m.send(sender, 50)
	synctest.Wait()
	m.hear(receiver)
	for n := m.next - 50; n < m.next; n++ {
		if !m.seen[fmt.Sprint(n)] {
			t.Errorf("message %d was lost in peace", n)
		}
	}
	if len(m.seen) < m.next/8 {
		t.Errorf("only %d of %d came: the test proves little", len(m.seen), m.next)
	}
	t.Logf("%d sent, %d received, %d crashes", m.next, len(m.seen), m.crashes)
}

// mishap is a stage on which things go wrong.
type mishap struct {
	stage   *stage
	r       *rand.Rand
	next    int
	crashes int
	seen    map[string]bool
}

// round lets one client send and one receive, or two as one, while something breaks.
func (m *mishap) round() {
	s, r := m.stage, m.r
	if r.IntN(3) == 0 {
		s.disk.CrashAt(s.disk.Commits()+1+r.IntN(4), store.BeforeCommit+store.Phase(r.IntN(2)))
	}
	var receivers []*actor
	if r.IntN(2) == 0 {
		receivers = append(receivers, m.join(2, m.brittle()))
	}
	sender := m.join(1, m.brittle())
	m.send(sender, r.IntN(30))
	for range r.IntN(3) {
		if r.IntN(2) == 0 {
			synctest.Wait()
		}
		receivers = append(receivers, m.join(2, m.brittle()))
	}
	if r.IntN(2) == 0 {
		synctest.Wait()
	}
	if r.IntN(4) == 0 {
		s.disk.Crash()
	}
	for _, a := range append(receivers, sender) {
		if a != nil && r.IntN(2) == 0 {
			_ = a.ws.CloseNow()
		}
	}
	synctest.Wait()
	for _, a := range receivers {
		m.hear(a)
	}
	if s.disk.View(func(store.Reader) error { return nil }) != nil {
		m.crashes++
		s.restart()
	}
	for _, a := range append(receivers, sender) {
		if a != nil {
			_ = a.ws.CloseNow()
			m.hear(a)
		}
	}
}

// budget is how many bytes a connection carries in each direction.
type budget struct{ in, out int }

var reliable = budget{in: 1 << 30, out: 1 << 30}

func (m *mishap) brittle() budget {
	b := reliable
	// The upgrade and the connect frame are about 250 and 700 bytes.
	if m.r.IntN(3) != 0 {
		b.in = 200 + m.r.IntN(4000)
	}
	if m.r.IntN(3) == 0 {
		b.out = 200 + m.r.IntN(4000)
	}
	return b
}

// join connects an agent; it is nil when that already goes wrong.
func (m *mishap) join(n byte, b budget) *actor {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := m.stage.network.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return newCutConn(c, b), nil
	}
	a := m.stage.tryOpen(dial)
	if a == nil {
		return nil
	}
	stamp := m.stage.stamp()
	_ = a.ws.Write(context.Background(), websocket.MessageText, encode(signed(testKey(m.stage.t, n), stamp, stamp)))
	return a
}

// send sends the next n messages; what a broken connection takes with it is lost.
func (m *mishap) send(a *actor, n int) {
	to := testKey(m.stage.t, 2).AMID().String()
	for range n {
		frame := encode(sendFrame{Type: typeSend, To: to, Payload: fmt.Sprint(m.next), Kind: KindMessage})
		m.next++
		if a != nil {
			_ = a.ws.Write(context.Background(), websocket.MessageText, frame)
		}
	}
}

// hear looks at what a receiver was given so far.
func (m *mishap) hear(a *actor) {
	m.stage.t.Helper()
	for a != nil && len(a.heard) > 0 {
		text := <-a.heard
		var f receiveFrame
		if strings.HasPrefix(text, "closed ") || json.Unmarshal([]byte(text), &f) != nil || f.Type != typeReceive {
			continue
		}
		if m.seen[f.Payload] {
			m.stage.t.Fatalf("message %s came twice", f.Payload)
		}
		m.seen[f.Payload] = true
		var n int
		if _, err := fmt.Sscan(f.Payload, &n); err != nil || n < a.last {
			m.stage.t.Fatalf("message %s came after %d", f.Payload, a.last)
		}
		a.last = n
	}
}

// cutConn is a connection that ends after so many bytes. What the other side has
// written by then and was not read is lost, as in the buffers of a dead route.
type cutConn struct {
	net.Conn
	in, out atomic.Int64 // bytes left; net/http writes from goroutines of its own
}

func newCutConn(c net.Conn, b budget) *cutConn {
	cut := &cutConn{Conn: c}
	cut.in.Store(int64(b.in))
	cut.out.Store(int64(b.out))
	return cut
}

func (c *cutConn) Read(b []byte) (int, error) {
	left := c.in.Load()
	if left <= 0 {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), left)])
	c.in.Add(int64(-n))
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b[:min(int64(len(b)), max(0, c.out.Load()))])
	c.out.Add(int64(-n))
	if err == nil && n < len(b) {
		_ = c.Close()
		err = io.ErrClosedPipe
	}
	return n, err
}

// A captured connect frame is refused by the relay that took it, and passes at any
// other for as long as its stamp is fresh, and at the same one after a restart: the
// signature of 0.2 names no relay. The extension "challenge" ends that for those
// who use it.
func TestCapturedConnectPassesElsewhere(t *testing.T) {
	first, disk := startRelay(t, Limits{})
	second, _ := startRelay(t, Limits{})
	stamp := jsStamp()
	f := signed(testKey(t, 1), stamp, stamp)
	try := func(h *house, want object) {
		t.Helper()
		c := h.dial()
		c.write(f)
		c.want(want)
	}
	try(first, object{"type": typeConnected})
	try(first, object{"type": typeError, "code": CodeInvalidSignature})
	try(second, object{"type": typeConnected})
	first.restart(disk)
	try(first, object{"type": typeConnected})
}
