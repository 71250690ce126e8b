package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// shortLived is a listener that fails after the first connection, when it is told to.
type shortLived struct {
	net.Listener
	now   chan struct{}
	first atomic.Bool
}

func (f *shortLived) Accept() (net.Conn, error) {
	if f.first.CompareAndSwap(false, true) {
		return f.Listener.Accept()
	}
	<-f.now
	return nil, errors.New("no more")
}

func TestConnectionsEndWithAListenerThatFails(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &shortLived{Listener: inner, now: make(chan struct{})}
	s := closed(t, nil)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(context.Background(), l, nil) }()
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "OPTIONS / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(c)
	if _, err := http.ReadResponse(answer, &http.Request{Method: http.MethodOptions}); err != nil {
		t.Fatal(err)
	}
	close(l.now)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "no more") {
		t.Errorf("served until %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second)) // it would be idle for two minutes
	if _, err := answer.ReadByte(); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays")
	}
}
