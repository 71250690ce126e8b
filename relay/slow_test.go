package relay

import (
	"context"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"

	"github.com/coder/websocket"
)

// T47: readers who do not read cost little each and hold up nobody else. When their
// time is over they are cut, and their mail is there.
func TestSlowReaders(t *testing.T) { slowReaders(t, 40) }

// The same with two thousand, who together may cost 128 MiB.
func TestSoakSlowReaders(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes a minute; set AMESH_SOAK=1")
	}
	slowReaders(t, 2000)
}

// endless is a mailbox in which everybody has mail of 1 KiB without end.
type endless struct {
	mailbox.Mailbox
	open atomic.Bool
	text string
}

func (e *endless) List(_ context.Context, owner identity.AMID, after mailbox.Cursor, max Size) ([]mailbox.Row, error) {
	if !e.open.Load() {
		return nil, nil
	}
	rows := make([]mailbox.Row, min(max.Messages, int(max.Bytes)/len(e.text)))
	for i := range rows {
		rows[i] = mailbox.Row{
			Cursor: after + 1 + mailbox.Cursor(i),
			// The ids are all the same, which nobody cares about who reads nothing.
			Message: mailbox.Message{To: owner, Kind: KindMessage, Payload: e.text},
		}
	}
	return rows, nil
}

func slowReaders(t *testing.T, readers int) {
	l := DefaultLimits()
	l.Connections, l.Unauthenticated = readers+10, readers+10
	l.Credit = Size{Messages: 1 << 30, Bytes: 1 << 50}
	l.WriteWait, l.CloseWait = 2*time.Second, 50*time.Millisecond
	memory, err := mailbox.NewMemory(l.Mailbox)
	if err != nil {
		t.Fatal(err)
	}
	box := &endless{Mailbox: memory, text: strings.Repeat("x", 1000)}
	h := newHouse(t)
	h.shallow.Store(true)
	server := h.startWith(box, l)
	slow := make([]*conn, readers)
	for i := range slow {
		who := h.joinDeaf(i)
		h.until("the reader is registered", func(s *Server) bool { slow[i] = s.find(who); return slow[i] != nil })
	}
	before := memoryInUse()
	box.open.Store(true)
	for _, c := range slow {
		c.nudge()
	}
	h.until("everybody is stuck", func(*Server) bool {
		for _, c := range slow {
			c.queue.mu.Lock()
			stuck := c.queue.writing || c.queue.closed
			c.queue.mu.Unlock()
			if !stuck {
				return false
			}
		}
		return true
	})
	each := (memoryInUse() - before) / int64(readers)
	if each > 64<<10 {
		t.Errorf("%d bytes for each reader who does not read", each)
	}
	alice, _ := h.join(1)
	alice.quiet()
	h.until("the slow readers are cut", func(s *Server) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 1
	})
	if cut := server.counts.slow.Load(); cut != uint64(readers) {
		t.Errorf("%d were cut for being slow", cut)
	}
	alice.quiet()
}

func memoryInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// joinDeaf connects an agent that reads no more than the answer to its connect frame.
func (h *house) joinDeaf(n int) identity.AMID {
	h.t.Helper()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(1)
		}
		return c, err
	}
	transport := &http.Transport{DialContext: dial}
	ws, _, err := websocket.Dial(context.Background(), h.url(), &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = ws.CloseNow() })
	seed := make([]byte, 32)
	seed[0], seed[1], seed[2] = byte(n), byte(n>>8), 7
	key, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		h.t.Fatal(err)
	}
	stamp := jsStamp()
	f := signed(key, stamp, stamp)
	f.Extensions = []Extension{ExtensionAck}
	c := &raw{t: h.t, ws: ws, who: key.AMID()}
	c.write(f)
	c.want(object{"type": typeConnected})
	return c.who
}
