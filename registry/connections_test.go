package registry

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// guests are connections to a door, from the client's side, that are open until the test ends.
func guests(t *testing.T, l net.Listener, n int) []net.Conn {
	t.Helper()
	list := make([]net.Conn, n)
	for i := range list {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		list[i] = c
	}
	return list
}

// A client that opens as many connections as it likes loses its own quiet ones, and none
// on which it is being answered. Exempt addresses have as many as there is room.
func TestServeBoundsTheConnectionsOfOneAddress(t *testing.T) {
	for name, exempt := range map[string]bool{"limited": false, "exempt": true} {
		t.Run(name, func(t *testing.T) {
			s, l := quiet(t, func(l *Limits) { l.ConnectionsPerAddress, l.FinishWait = 1, time.Millisecond }), listen(t)
			if exempt {
				s.cfg.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			begun, release := make(chan struct{}), make(chan struct{})
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- s.ServeBeside(ctx, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					begun <- struct{}{}
					<-release
				}))
			}()
			silent := guests(t, l, 1)[0]
			busy := guests(t, l, 1)[0]
			ask(t, busy)
			<-begun
			if exempt {
				ask(t, guests(t, l, 1)[0])
				<-begun
			} else {
				newest, err := net.Dial("tcp", l.Addr().String())
				if err == nil {
					defer newest.Close()
					_, err = newest.Read(make([]byte, 1))
				}
				if err == nil {
					t.Error("the newest connection was left open")
				}
				if _, err := silent.Read(make([]byte, 1)); err == nil {
					t.Error("the silent connection was left open")
				}
			}
			close(release)
			resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
			if err != nil {
				t.Fatalf("the busy connection: %v", err)
			}
			_ = resp.Body.Close()
			_ = silent.Close()
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}
