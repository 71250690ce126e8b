package relay

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/relay/ban"

	"github.com/coder/websocket"
	"pgregory.net/rapid"
)

// door is a server behind Serve, on a port of loopback.
type door struct {
	t      *testing.T
	server *Server
	addr   string
}

func openDoor(t *testing.T, cfg ServerConfig) *door {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	cfg.Limits.CloseWait = 50 * time.Millisecond
	cfg.Mailbox = testBox(t, newMemory(), cfg.Limits)
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Serve(ctx, l, nil) }()
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("server ended with %v", err)
			}
		}
	})
	return &door{t: t, server: s, addr: l.Addr().String()}
}

// tcp connects from an address of loopback and says nothing.
func (d *door) tcp(from string) net.Conn {
	d.t.Helper()
	c, err := dialFrom(from)(context.Background(), "tcp4", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

func dialFrom(from string) func(context.Context, string, string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return dialer.DialContext
}

// ws upgrades a connection from an address, with request headers in pairs.
func (d *door) ws(from string, headers ...string) (*raw, *http.Response, error) {
	d.t.Helper()
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	transport := &http.Transport{DialContext: dialFrom(from), DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://"+d.addr, &websocket.DialOptions{HTTPHeader: h, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, resp, err
	}
	d.t.Cleanup(func() { _ = ws.CloseNow() })
	return &raw{t: d.t, ws: ws}, resp, nil
}

// join connects an agent from an address.
func (d *door) join(n byte, from string, headers ...string) *raw {
	d.t.Helper()
	c, _, err := d.ws(from, headers...)
	if err != nil {
		d.t.Fatalf("agent %d from %s: %v", n, from, err)
	}
	c.hello(n)
	c.want(object{"type": typeConnected})
	return c
}

// hello sends the connect frame of an agent.
func (c *raw) hello(n byte) {
	c.t.Helper()
	key, stamp := testKey(c.t, n), jsStamp()
	c.who = key.AMID()
	c.write(signed(key, stamp, stamp))
}

// gone waits for the end of a connection.
func gone(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
		t.Fatal("connection stays open")
	}
}

// room waits until so many connections are without a name.
func (d *door) room(n int) {
	d.t.Helper()
	a := d.server.admission
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		size := a.size
		a.mu.Unlock()
		if size == n {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("%d connections without a name, want %d", size, n)
		}
	}
}

// host is an address of loopback's sixteen million.
func host(n int) string { return fmt.Sprintf("127.%d.%d.%d", 1+n/65536%250, n/256%256, n%256) }

// T48: who sends headers byte by byte, or none, is closed in time; meanwhile others
// are served.
func TestT48SlowHeaders(t *testing.T) {
	t.Parallel()
	l := DefaultLimits()
	l.Admission.HeaderWait = 2 * time.Second
	l.AuthWait = 2 * time.Second
	d := openDoor(t, ServerConfig{Limits: l})
	var slow []net.Conn
	for i := range 300 {
		c := d.tcp(host(i))
		if i%3 > 0 {
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: "); err != nil {
				t.Fatal(err)
			}
		}
		slow = append(slow, c)
	}
	silent, _, err := d.ws("127.0.0.3") // upgraded, and then without a connect frame
	if err != nil {
		t.Fatal(err)
	}
	honest := d.join(1, "127.0.0.2")
	for _, c := range slow {
		gone(t, c)
	}
	if code := silent.closed(); code != websocket.StatusPolicyViolation {
		t.Errorf("silent closed with %d", code)
	}
	d.room(0)
	honest.quiet()
}

// T48: a header that does not end is not read for ever.
func TestT48LongHeaders(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	c := d.tcp("127.0.0.1")
	go func() {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
		for range 64 {
			if _, err := io.WriteString(c, strings.Repeat("x", 1<<10)); err != nil {
				return
			}
		}
	}()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), "431") {
		t.Errorf("answer %q, %v", b[:n], err)
	}
	d.room(0)
}

// T49: an address has so many places among those without a name. Its newest
// connection is let in, the oldest gives way; other addresses notice nothing.
func TestT49PlacesOfOneAddress(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	var mine []net.Conn
	other := d.tcp("127.0.0.2")
	for range 16 {
		mine = append(mine, d.tcp("127.0.0.1"))
	}
	d.room(17)
	honest := d.join(1, "127.0.0.1")
	gone(t, mine[0])
	d.room(16)
	for _, c := range append(mine[1:], other) {
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !os.IsTimeout(err) {
			t.Errorf("a connection that had a place: %v", err)
		}
	}
	honest.quiet()
}

// T49: a flood from many addresses keeps nobody out, and touches nobody who has a
// name. What has most places gives way first.
func TestT49FloodOfTheUnnamed(t *testing.T) {
	l := DefaultLimits()
	l.Unauthenticated = 64
	d := openDoor(t, ServerConfig{Limits: l})
	early := d.join(1, "127.0.0.1")
	quiet := d.tcp("127.0.0.9") // slow, and alone at its address
	var flood []net.Conn
	for i := range 1000 {
		flood = append(flood, d.tcp(host(i%20)))
	}
	d.room(64)
	for n := range byte(20) {
		honest := d.join(10+n, fmt.Sprintf("127.0.0.%d", 10+n))
		flood = append(flood, d.tcp(host(int(n))), d.tcp(host(int(n))))
		honest.quiet()
	}
	early.quiet()
	if err := quiet.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := quiet.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("who was alone at its address: %v", err)
	}
	for _, c := range flood[:900] {
		gone(t, c)
	}
	if shed := d.server.counts.shed.Load(); shed < 900 {
		t.Errorf("%d gave way", shed)
	}
}

// T49: one address has so many connections with a name, unless it is exempt; a proxy
// is not the address that counts.
func TestT49NamedConnectionsOfOneAddress(t *testing.T) {
	l := DefaultLimits()
	l.Admission.NamedPerAddress = 2
	d := openDoor(t, ServerConfig{Limits: l,
		Exempt:  []netip.Prefix{netip.MustParsePrefix("127.0.0.7/32")},
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.8/32")},
	})
	full := func(from string, headers ...string) {
		t.Helper()
		_, resp, err := d.ws(from, headers...)
		if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("third connection from %s: %v, %v", from, resp, err)
		}
	}
	const header, alone, pair = "X-Forwarded-For", "192.0.2.1", "192.0.2.2"
	a, b := d.join(1, "127.0.0.1"), d.join(2, "127.0.0.1")
	full("127.0.0.1")
	full("127.0.0.1", header, alone) // whoever may write this
	for n := range byte(5) {
		d.join(10+n, "127.0.0.7").quiet()
	}
	d.join(20, "127.0.0.8", header, pair)
	d.join(21, "127.0.0.8", header, "203.0.113.9, "+pair)
	full("127.0.0.8", header, pair)
	d.join(22, "127.0.0.8", header, pair+", "+alone)
	_ = a.ws.Close(websocket.StatusNormalClosure, "")
	until(t, "the place is given back", func() bool {
		c, _, err := d.ws("127.0.0.1")
		if err == nil {
			_ = c.ws.CloseNow()
		}
		return err == nil
	})
	b.quiet()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// T49, T50: signatures are checked within a budget of the address, which neither
// reconnecting nor another identity resets.
func TestT50ConnectFramesOfOneAddress(t *testing.T) {
	l := DefaultLimits()
	l.Admission.AuthRate, l.Admission.AuthBurst, l.Admission.AuthPenalty = 1e-6, 12, 4
	d := openDoor(t, ServerConfig{Limits: l})
	wrong := func(n byte) *raw {
		c, _, err := d.ws("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		c.write(signed(testKey(t, n), jsStamp(), "else"))
		return c
	}
	d.join(1, "127.0.0.1") // costs one
	for n := range byte(2) {
		wrong(2 + n).want(object{"type": typeError, "code": CodeInvalidSignature}) // costs five
	}
	d.join(5, "127.0.0.1")
	c, _, err := d.ws("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	c.hello(6)
	c.want(object{"type": typeError, "code": CodeRateLimited})
	if code := c.closed(); code != websocket.StatusTryAgainLater {
		t.Errorf("closed with %d", code)
	}
	d.join(7, "127.0.0.2")
}

// T49: whatever comes and goes, the room and the parts of it keep their sizes, and
// nothing is counted that is not there.
func TestT49RoomNeverOverflows(t *testing.T) {
	nobody, err := ban.Open("")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		l := DefaultLimits()
		l.Unauthenticated, l.Admission.WaitingPerAddress = 7, 3
		a := newAdmission(ServerConfig{Bans: nobody, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}}, l, newCounts(), newBooks(l))
		var guests []*guest
		pick := func(t *rapid.T) *guest {
			if len(guests) == 0 {
				t.Skip("nobody there")
			}
			return rapid.SampledFrom(guests).Draw(t, "guest")
		}
		ip := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("10.0.0.%d", rapid.IntRange(0, 9).Draw(t, "ip")) })
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				guests = append(guests, a.arrive(&fakeConn{from: ip.Draw(t, "from")}))
			},
			"request": func(t *rapid.T) {
				_ = a.introduce(pick(t), http.Header{"X-Forwarded-For": {ip.Draw(t, "for")}})
			},
			"name":  func(t *rapid.T) { a.name(pick(t)) },
			"close": func(t *rapid.T) { _ = pick(t).Close() },
			"": func(t *rapid.T) {
				waiting, named := 0, 0
				for _, g := range guests {
					switch g.place {
					case placeWaiting:
						waiting++
					case placeNamed:
						named++
					case placeGone:
						if !g.Conn.(*fakeConn).closed {
							t.Fatal("a connection without a place is open")
						}
					}
				}
				counted := 0
				for p, list := range a.waiting {
					counted += len(list)
					if len(list) == 0 || len(list) > 3 && !list[0].proxy {
						t.Fatalf("%d places for %s", len(list), p)
					}
				}
				for _, k := range a.named {
					named -= k
				}
				if waiting != a.size || waiting != counted || a.size > 7 || named != 0 {
					t.Fatalf("size %d, waiting %d, counted %d, names off by %d", a.size, waiting, counted, named)
				}
			},
		})
	})
}

type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) Close() error         { c.closed = true; return nil }
func (c *fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 1} }

// T48, T49 at their size: 10,000 half-open connections from 10,000 addresses, and 100
// agents that connect meanwhile.
func TestSoakT48TenThousandHalfOpen(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes minutes; set AMESH_SOAK=1")
	}
	d := openDoor(t, ServerConfig{})
	start := time.Now()
	var mu sync.Mutex
	var slow []net.Conn
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < 10_000; i += 4 {
				c := d.tcp(host(i))
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nX: ")
				mu.Lock()
				slow = append(slow, c)
				mu.Unlock()
			}
		})
	}
	var longest time.Duration
	var agents []*raw
	for n := range byte(100) {
		before := time.Now()
		agents = append(agents, d.join(n+1, fmt.Sprintf("127.0.0.%d", n+1)))
		longest = max(longest, time.Since(before))
	}
	wg.Wait()
	t.Logf("10,000 dialled after %s; the slowest of 100 agents took %s", time.Since(start), longest)
	for _, c := range slow {
		gone(t, c)
	}
	t.Logf("all closed after %s", time.Since(start))
	for _, c := range agents {
		c.quiet()
	}
}
