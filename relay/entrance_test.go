package relay

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"amesh/relay/ban"
	"amesh/relay/socket"
)

const upgradeHead = "GET /any/path HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

// answers sends a request as it is and reads the head of the answer.
func (d *door) answers(from, request string) (net.Conn, *bufio.Reader, *http.Response) {
	d.t.Helper()
	c := d.tcp(from)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	// In pieces, as a network may do it.
	if _, err := io.Copy(struct{ io.Writer }{c}, iotest.HalfReader(strings.NewReader(request))); err != nil {
		d.t.Fatal(err)
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		d.t.Fatalf("%.60q: %v", request, err)
	}
	return c, in, resp
}

// Whatever is asked for at the door is answered as net/http would answer, whoever
// reads it.
func TestEveryRequestIsAnsweredAtTheDoor(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	for _, c := range []struct {
		name, request string
		want          int
	}{
		{"upgrade", upgradeHead + "\r\n", 101},
		{"upgrade with a long head", upgradeHead + "X-Long: " + strings.Repeat("x", headSize) + "\r\n\r\n", 101},
		{"upgrade with a head as long as is read here", upgradeHead + "X-Long: " + strings.Repeat("x", headSize-len(upgradeHead)-12) + "\r\n\r\n", 101},
		{"upgrade with line feeds only", strings.ReplaceAll(upgradeHead, "\r", "") + "\n", 101},
		{"upgrade with two keys", upgradeHead + "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400},
		{"upgrade of HTTP/1.0", strings.Replace(upgradeHead, "1.1", "1.0", 1) + "\r\n", 426},
		{"upgrade without a host", strings.Replace(upgradeHead, "Host: x\r\n", "", 1) + "\r\n", 400},
		{"upgrade to something else", strings.Replace(upgradeHead, "websocket", "h2c", 1) + "\r\n", 426},
		{"upgrade that is a POST", strings.Replace(upgradeHead, "GET", "POST", 1) + "\r\n", 405},
		{"no request", "hello\r\n\r\n", 400},
		{"too long", "GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 64<<10), 431},
		{"health", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"info", "GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n", 200},
		{"with a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 426},
	} {
		_, _, resp := d.answers("127.0.0.1", c.request)
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.want)
		}
		if c.want == 101 && resp.Header.Get(challengeHeader) == "" {
			t.Errorf("%s: no challenge", c.name)
		}
	}
}

// A connection on which something was asked for is upgraded as well as a new one.
func TestUpgradeAfterAnotherRequest(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	c, in, resp := d.answers("127.0.0.1", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, upgradeHead+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Errorf("answered with %v, %v", resp, err)
	}
}

// What a client writes behind its request, before it is answered, is not lost.
func TestFrameBehindTheUpgrade(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	key, stamp := testKey(t, 1), jsStamp()
	frame := socket.AppendFrame(nil, socket.Text, encode(signed(key, stamp, stamp)))
	frame[1] |= 0x80                                                      // masked
	frame = append(frame[:4:4], append(make([]byte, 4), frame[4:]...)...) // with nothing
	_, in, resp := d.answers("127.0.0.1", upgradeHead+"\r\n"+string(frame))
	if resp.StatusCode != 101 {
		t.Fatal(resp.Status)
	}
	answer := make([]byte, 2+len(`{"type":"connected"`))
	if _, err := io.ReadFull(in, answer); err != nil || string(answer[2:]) != `{"type":"connected"` {
		t.Errorf("answered with %q, %v", answer, err)
	}
}

// Requests end where package http says, with whatever line ends.
func TestWhereARequestEnds(t *testing.T) {
	bare := strings.ReplaceAll(upgradeHead, "\r", "")
	for _, c := range []struct{ request, ahead string }{
		{upgradeHead + "\r\n", ""},
		{upgradeHead + "\r\nabc", "abc"},
		{upgradeHead + "\r\n\n\r\n", "\n\r\n"},
		{bare + "\n", ""},
		{bare + "\nabc\r\n\r\n", "abc\r\n\r\n"},
		{upgradeHead + "\n\r\n", "\r\n"},
	} {
		h := heads.New().(*head)
		r, ahead := h.upgrade([]byte(c.request))
		if r == nil || string(ahead) != c.ahead {
			t.Errorf("%q is %v, with %q behind it", c.request, r, ahead)
		}
	}
}

// An upgrade that is refused says why, also where net/http never saw it.
func TestRefusedAtTheDoor(t *testing.T) {
	l := DefaultLimits()
	l.Admission.NamedPerAddress = 1
	proxy := netip.MustParsePrefix("127.0.0.8/32")
	d := openDoor(t, ServerConfig{Limits: l, Proxies: []netip.Prefix{proxy}})
	d.join(1, "127.0.0.1")
	target, err := ban.ParseTarget("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.server.Ban(ban.Ban{Target: target}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, header string
		want         int
	}{
		{"127.0.0.1", "", 503},
		{"127.0.0.8", "X-Forwarded-For: 192.0.2.1\r\n", 403},
	} {
		_, in, resp := d.answers(c.from, upgradeHead+c.header+"\r\n")
		why, err := io.ReadAll(resp.Body)
		if resp.StatusCode != c.want || (resp.Header.Get("Retry-After") != "") != (c.want == 503) || len(why) < 20 || err != nil {
			t.Errorf("from %s: %s %v %q, %v", c.from, resp.Status, resp.Header, why, err)
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("from %s: behind the answer comes %v", c.from, err)
		}
	}
	if n := d.server.counts.crowded.Load(); n != 1 {
		t.Errorf("%d upgrades of a crowded address are counted, want 1", n)
	}
	d.room(0)
}

// Serve comes back at once, whatever those who were let in have not said yet.
func TestServeEndsWhileRequestsAreRead(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- d.server.Serve(ctx, l, nil) }()
	d.addr = l.Addr().String()
	silent, halfway := d.tcp("127.0.0.1"), d.tcp("127.0.0.1")
	if _, err := io.WriteString(halfway, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	d.room(2)
	stop()
	if err := <-served; err != nil {
		t.Errorf("served with %v", err)
	}
	gone(t, silent)
	gone(t, halfway)
	d.room(0)
}

// A listener that fails ends Serve; one that fails for a moment does not.
func TestListenerThatFails(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	broken := errors.New("broken")
	l := &failing{Listener: &net.TCPListener{}, errs: []error{momentary{}, momentary{}, broken}}
	if err := d.server.Serve(t.Context(), l, nil); !errors.Is(err, broken) || len(l.errs) > 0 {
		t.Errorf("served with %v, %d errors left", err, len(l.errs))
	}
}

type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Close() error { return nil }

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) == 0 {
		return nil, net.ErrClosed
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}

type momentary struct{}

func (momentary) Error() string   { return "momentary" }
func (momentary) Timeout() bool   { return false }
func (momentary) Temporary() bool { return true }
