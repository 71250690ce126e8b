package testnet

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// echoServer is a relay as far as the proxy can tell: it answers every byte with
// its upper case. Closing it closes its connections too, like a kill.
type echoServer struct {
	l     net.Listener
	conns chan net.Conn
}

func echoAt(t *testing.T, addr string) *echoServer {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &echoServer{l, make(chan net.Conn, 16)}
	go func() {
		defer close(s.conns)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- c
			go func() {
				buf := make([]byte, 1024)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write([]byte(strings.ToUpper(string(buf[:n])))); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(s.kill)
	return s
}

func (s *echoServer) addr() string { return s.l.Addr().String() }

func (s *echoServer) kill() {
	s.l.Close()
	for c := range s.conns {
		c.Close()
	}
}

// runProxy runs a proxy until the test ends or it is stopped.
func runProxy(t *testing.T, target string, l limits) (p *proxy, stop func() error) {
	t.Helper()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = newProxy(door, target, l)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); err = p.Run(ctx) }()
	stop = func() error { cancel(); <-ended; return err }
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return p, stop
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a text and reads the answer.
func ask(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(text))
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	if got, want := string(answer), strings.ToUpper(text); got != want {
		t.Fatalf("answer is %q, want %q", got, want)
	}
}

// closed waits until the other side has hung up.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if ne, ok := errors.AsType[net.Error](err); n != 0 || err == nil || ok && ne.Timeout() {
		t.Fatalf("the connection is still open: %d bytes, %v", n, err)
	}
}

// passed compares the recording, connection by connection.
func passed(t *testing.T, p *proxy, want ...string) {
	t.Helper()
	conns, err := p.recording()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range conns {
		got = append(got, string(c.up)+"|"+string(c.down))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProxyRecordsBothDirections(t *testing.T) {
	p, stop := runProxy(t, echoAt(t, "127.0.0.1:0").addr(), defaultLimits())
	first := dial(t, p.addr())
	ask(t, first, "hello ")
	second := dial(t, p.addr())
	ask(t, second, "me too")
	ask(t, first, "again")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	passed(t, p, "hello again|HELLO AGAIN", "me too|ME TOO")
}

func TestRecordingIsNotChangedByWhatFollows(t *testing.T) {
	p, _ := runProxy(t, echoAt(t, "127.0.0.1:0").addr(), defaultLimits())
	c := dial(t, p.addr())
	ask(t, c, "one")
	before, err := p.recording()
	if err != nil {
		t.Fatal(err)
	}
	_ = append(before[0].up, "two"...) // a reader's append must not be seen either
	ask(t, c, "six")
	if got := string(before[0].up); got != "one" {
		t.Errorf("what was handed out reads %q now", got)
	}
	passed(t, p, "onesix|ONESIX")
}

// CP 9: a relay that is killed takes its connections with it and nothing else.
func TestProxySurvivesTheRelaysRestart(t *testing.T) {
	relay := echoAt(t, "127.0.0.1:0")
	p, _ := runProxy(t, relay.addr(), defaultLimits())
	before := dial(t, p.addr())
	ask(t, before, "before")

	relay.kill()
	closed(t, before)
	during := dial(t, p.addr())
	closed(t, during) // the client learns at once that there is nobody

	echoAt(t, relay.addr())
	after := dial(t, p.addr())
	ask(t, after, "after")
	passed(t, p, "before|BEFORE", "after|AFTER")
}

func TestClientThatLeavesIsLeftByTheProxy(t *testing.T) {
	relay := echoAt(t, "127.0.0.1:0")
	p, _ := runProxy(t, relay.addr(), defaultLimits())
	c := dial(t, p.addr())
	ask(t, c, "bye")
	c.Close()
	upstream := <-relay.conns
	if err := upstream.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	closed(t, upstream)
	upstream.Close()
}

func TestProxyClosesWithOpenConnections(t *testing.T) {
	p, stop := runProxy(t, echoAt(t, "127.0.0.1:0").addr(), defaultLimits())
	c := dial(t, p.addr())
	ask(t, c, "still here")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	closed(t, c)
	// Another process may have the port already, so it is not dialled.
	if _, err := p.door.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}

// Bytes that pass unrecorded would not be searched, so they must not pass.
func TestFullRecordingLetsNothingPass(t *testing.T) {
	l := defaultLimits()
	l.Recording = 10
	p, _ := runProxy(t, echoAt(t, "127.0.0.1:0").addr(), l)
	c := dial(t, p.addr())
	ask(t, c, "12345")
	if _, err := io.WriteString(c, "6"); err != nil {
		t.Fatal(err)
	}
	closed(t, c)
	if _, err := p.recording(); !errors.Is(err, errRecordingFull) {
		t.Errorf("error is %v", err)
	}
}
