package socket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 1 << 17

func TestFramesAreWrittenExactly(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"text", string(AppendFrame(nil, Text, []byte("he"), []byte("llo"))), "810568656c6c6f"},
		{"ping without payload", string(AppendFrame(nil, Ping)), "8900"},
		{"close", string(AppendClose(nil, 4000, "replaced")), "880a0fa07265706c61636564"},
		{"behind another", string(AppendFrame([]byte{1}, Binary, []byte{2})), "01820102"},
	} {
		if got := hex.EncodeToString([]byte(c.got)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for n, head := range map[int]string{125: "817d", 126: "817e007e", 65535: "817effff", 65536: "817f0000000000010000"} {
		b := AppendFrame(nil, Text, make([]byte, n))
		if !strings.HasPrefix(hex.EncodeToString(b), head) || FrameSize(b) != len(b) {
			t.Errorf("%d bytes begin with %x and measure %d, want %s and %d", n, b[:10], FrameSize(b), head, len(b))
		}
	}
	long := AppendClose(nil, 1008, strings.Repeat("ü", 100))
	code, reason, err := ParseClose(long[2:])
	if len(long) > 2+maxControl || code != 1008 || err != nil || !strings.HasPrefix(strings.Repeat("ü", 100), reason) {
		t.Errorf("a long reason makes %d bytes, %d, %q, %v", len(long), code, reason, err)
	}
}

// frame is a frame as a client sends it.
func frame(first byte, payload string) string {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := []byte{1, 2, 0xF3, 4}
	b = append(b, key...)
	for i := range payload {
		b = append(b, payload[i]^key[i%4])
	}
	return string(b)
}

// spoken is a connection on which the peer has said all that it will say.
type spoken struct {
	net.Conn
	io.Reader
}

func (s spoken) Read(b []byte) (int, error) { return s.Reader.Read(b) }

// hear is what Next makes of what was said.
func hear(r io.Reader, ahead []byte) (all []string) {
	c := New(spoken{Reader: r}, ahead, limit)
	for {
		ready := c.Ready()
		op, payload, err := c.Next()
		if mistake := new(PeerError); errors.As(err, &mistake) {
			return append(all, fmt.Sprint("wrong ", mistake.Code))
		}
		if err != nil {
			if ready {
				all = append(all, "was not ready")
			}
			return append(all, err.Error())
		}
		all = append(all, fmt.Sprint(op, " ", string(payload)))
	}
}

func TestMessagesAreTheSameHoweverTheyCome(t *testing.T) {
	long := strings.Repeat("0123456789", 8000)
	said := frame(0x81, "") + frame(0x81, "hello") + frame(0x82, "\x00\xFF") + frame(0x01, "in ") + frame(0x89, "beat") +
		frame(0x00, "three ") + frame(0x80, "pieces") + frame(0x81, long) + frame(0x8A, "") + frame(0x81, long[:300]) + frame(0x88, "\x03\xE8bye")
	want := []string{"1 ", "1 hello", "2 \x00\xFF", "9 beat", "1 in three pieces", "1 " + long, "10 ", "1 " + long[:300], "8 \x03\xE8bye", "EOF"}
	for name, heard := range map[string][]string{
		"at once":       hear(strings.NewReader(said), nil),
		"byte by byte":  hear(iotest.OneByteReader(strings.NewReader(said)), nil),
		"halves":        hear(iotest.HalfReader(strings.NewReader(said)), nil),
		"read ahead":    hear(strings.NewReader(said[30:]), []byte(said[:30])),
		"all of it was": hear(strings.NewReader(""), []byte(said)),
	} {
		if fmt.Sprint(heard) != fmt.Sprint(want) {
			t.Errorf("%s: heard %.300q", name, heard)
		}
	}
}

func TestMistakesOfThePeer(t *testing.T) {
	for name, c := range map[string]struct {
		said string
		want int
	}{
		"no mask":                   {"\x81\x02hi", 1002},
		"reserved bit":              {frame(0xC1, "x"), 1002},
		"unknown data frame":        {frame(0x83, "x"), 1002},
		"unknown control frame":     {frame(0x8B, "x"), 1002},
		"ping in pieces":            {frame(0x09, "x"), 1002},
		"long ping":                 {frame(0x89, strings.Repeat("x", 126)), 1002},
		"piece of nothing":          {frame(0x80, "x"), 1002},
		"message inside of another": {frame(0x01, "x") + frame(0x81, "x"), 1002},
		"5 bytes in two more":       {"\x81\xFE\x00\x05\x00\x00\x00\x00hello", 1002},
		"5 bytes in eight more":     {"\x81\xFF\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00hello", 1002},
		"negative length":           {"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00\x00\x00\x00", 1009},
		"too long":                  {frame(0x81, strings.Repeat("x", limit+1)), 1009},
		"too long in pieces":        {frame(0x01, strings.Repeat("x", limit)) + frame(0x80, "x"), 1009},
	} {
		heard := hear(strings.NewReader(c.said), nil)
		if want := fmt.Sprint("wrong ", c.want); len(heard) != 1 || heard[0] != want {
			t.Errorf("%s: %.100q, want %s", name, heard, want)
		}
	}
	if heard := hear(strings.NewReader(frame(0x81, strings.Repeat("x", limit))), nil); len(heard) != 2 {
		t.Errorf("as long as allowed: %.100q", heard)
	}
	// What was announced costs nothing before it comes.
	c := New(spoken{Reader: strings.NewReader("\x81\xFF\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00x")}, nil, limit)
	if _, _, err := c.Next(); err != io.EOF || len(c.buf) > bufferSize {
		t.Errorf("%v with %d bytes", err, len(c.buf))
	}
}

func TestCloseFramesAreRead(t *testing.T) {
	for payload, want := range map[string]int{
		"": 1005, "\x03\xE8": 1000, "\x03\xF5\xC3\xBC": 1013, "\x0F\xA0gone": 4000, "\x0B\xB8": 3000,
		"x": 0, "\x03\xE8\xFF": 0, "\x03\xED": 0, "\x03\xEE": 0, "\x03\xE7": 0, "\x03\xF7": 0, "\x13\x88": 0, "\x07\xD0": 0,
	} {
		code, _, err := ParseClose([]byte(payload))
		if code != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", payload, code, err, want)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte(frame(0x01, "in ")+frame(0x89, "beat")+frame(0x80, "pieces")), 3)
	f.Add([]byte("\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00\x00\x00\x00"), 2)
	f.Fuzz(func(t *testing.T, said []byte, cut int) {
		cut = max(0, min(cut, len(said)))
		once := hear(bytes.NewReader(said), nil)
		if bytewise := hear(iotest.OneByteReader(bytes.NewReader(said[cut:])), said[:cut:cut]); fmt.Sprint(once) != fmt.Sprint(bytewise) {
			t.Errorf("at once %.200q, byte by byte %.200q", once, bytewise)
		}
	})
}

// kernelPair is two ends of a TCP connection.
func kernelPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestNoBufferAtRest(t *testing.T) {
	a, b := kernelPair(t)
	c := New(b, nil, limit)
	if c.raw == nil {
		t.Skip("this system reads with a buffer")
	}
	if _, err := a.Write([]byte(frame(0x81, "hello"))); err != nil {
		t.Fatal(err)
	}
	if _, payload, err := c.Next(); err != nil || string(payload) != "hello" {
		t.Fatalf("%q, %v", payload, err)
	}
	err := c.raw.Control(func(fd uintptr) {
		c.release()
		if c.tryRead(fd) || c.buf != nil {
			t.Errorf("waits with %d bytes", len(c.buf))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, _, err := c.Next(); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
	if c.buf != nil {
		t.Errorf("ends with %d bytes, which the next connection has to make", len(c.buf))
	}
}

func TestWritesToAPeerWhoDoesNotRead(t *testing.T) {
	_, b := kernelPair(t)
	c := New(b, nil, limit)
	frames := AppendFrame(nil, Binary, make([]byte, 16<<20))
	frames = AppendFrame(frames, Text, []byte("more"))
	n, err := c.TryWrite(frames)
	if err != nil || n == len(frames) {
		t.Fatalf("wrote %d of %d, %v", n, len(frames), err)
	}
	if err := c.Write(frames, n, time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a deadline", err)
	}
	// Whatever came next would stand in the middle of the frame.
	if err := c.Write(AppendClose(nil, 1013, ""), 0, time.Millisecond); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing behind a torn frame: %v", err)
	}
}

func TestSlowIsNotTooSlowWhileFramesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		c := New(b, nil, limit)
		one := AppendFrame(nil, Text, []byte("one"))
		go func() {
			for range 4 {
				time.Sleep(6 * time.Second)
				_, _ = io.ReadFull(a, make([]byte, len(one)))
			}
		}()
		if err := c.Write(bytes.Repeat(one, 4), 0, 10*time.Second); err != nil {
			t.Error(err)
		}
		if err := c.Write(bytes.Repeat(one, 2), 0, 10*time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v, want a deadline", err)
		}
	})
}

func TestUpgrade(t *testing.T) {
	conns := make(chan *Conn, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Mark", "here")
		if c, err := Upgrade(w, r, limit); err == nil {
			conns <- c
		}
	}))
	defer web.Close()
	client, answer, err := websocket.Dial(context.Background(), web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.CloseNow() }()
	if answer.Header.Get("Mark") != "here" || answer.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("answered with %v", answer.Header)
	}
	c := <-conns
	defer c.Close()
	if err := client.Write(context.Background(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if op, payload, err := c.Next(); op != Text || string(payload) != "hello" || err != nil {
		t.Errorf("heard %d %q, %v", op, payload, err)
	}
	if n, err := c.TryWrite(AppendFrame(nil, Binary, []byte("you"))); n == 0 || err != nil {
		if err := c.Write(AppendFrame(nil, Binary, []byte("you")), n, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if typ, data, err := client.Read(context.Background()); typ != websocket.MessageBinary || string(data) != "you" || err != nil {
		t.Errorf("the client heard %v %q, %v", typ, data, err)
	}
}

// Accept answers as Upgrade does, where there is no net/http.
func TestAccept(t *testing.T) {
	a, b := kernelPair(t)
	r, err := http.NewRequest("GET", "http://x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Accept(b, nil, r, nil, limit); c != nil || err == nil || Check(r) == nil {
		t.Errorf("accepted %v, %v", c, err)
	}
	for name, value := range map[string]string{
		"Connection": "upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", // RFC 6455 §1.3
	} {
		r.Header.Set(name, value)
	}
	c, err := Accept(b, []byte(frame(0x81, "early")), r, http.Header{"Mark": {"here"}}, limit)
	if err != nil || Check(r) != nil {
		t.Fatal(err)
	}
	if op, payload, err := c.Next(); op != Text || string(payload) != "early" || err != nil {
		t.Errorf("heard %d %q, %v", op, payload, err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(a), r)
	if err != nil {
		t.Fatal(err)
	}
	h := answer.Header
	if answer.StatusCode != 101 || h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || h.Get("Mark") != "here" ||
		h.Get("Connection") != "Upgrade" || h.Get("Upgrade") != "websocket" {
		t.Errorf("answered %s with %v", answer.Status, h)
	}
}

func TestUpgradesThatAreNone(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Upgrade(w, r, limit); err == nil {
			t.Errorf("%v was upgraded", r.Header)
			_ = c.Close()
		}
	}))
	defer web.Close()
	good := "Connection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	for name, c := range map[string]struct {
		method, headers string
		want            int
	}{
		"not a GET":      {"POST", good, 405},
		"no upgrade":     {"GET", strings.Replace(good, "keep-alive, Upgrade", "keep-alive", 1), 426},
		"to another":     {"GET", strings.Replace(good, "websocket", "h2c", 1), 426},
		"old version":    {"GET", strings.Replace(good, "13", "8", 1), 426},
		"no key":         {"GET", good[:strings.LastIndex(good, "\n")], 400},
		"two keys":       {"GET", good + "\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", 400},
		"short key":      {"GET", strings.Replace(good, "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 1), 400},
		"key not in b64": {"GET", strings.Replace(good, "AAAAAAAAAAAAAAAAAAAAAA==", "?", 1), 400},
	} {
		r, err := http.NewRequest(c.method, web.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(c.headers, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Add(name, value)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, c.want)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
