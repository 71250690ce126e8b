package registry

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func limited(netip.Addr) bool   { return false }
func unlimited(netip.Addr) bool { return true }

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

func enter(t *testing.T, door *turnstile) net.Conn {
	t.Helper()
	c, err := door.Accept()
	if err != nil {
		t.Error(err)
	}
	return c
}

// Connections beyond the limit wait until another one is gone, when all are busy.
func TestConnectionsAreBounded(t *testing.T) {
	l := listen(t)
	defer l.Close()
	door := newTurnstile(l, 2, 1, unlimited)
	guests(t, l, 3)
	one, two := enter(t, door), enter(t, door)
	door.note(one, http.StateActive)
	door.note(two, http.StateActive)
	var wg sync.WaitGroup
	third := make(chan net.Conn, 1)
	wg.Go(func() { third <- enter(t, door) })
	if len(third) != 0 {
		t.Error("a third connection was let in")
	}
	_ = one.Close()
	_ = one.Close() // gives its room back once
	c := <-third
	wg.Wait()
	if len(door.inside) != 2 {
		t.Errorf("%d rooms taken, want 2", len(door.inside))
	}
	_ = two.Close()
	_ = c.Close()
	if len(door.inside) != 0 || len(door.by) != 0 {
		t.Errorf("%d connections and %d addresses are counted when all have gone", len(door.inside), len(door.by))
	}
}

// When all is full, the quietest connection gives way to a newcomer.
func TestFullDoorClosesTheQuietest(t *testing.T) {
	l := listen(t)
	defer l.Close()
	door := newTurnstile(l, 2, 2, unlimited)
	clients := guests(t, l, 3)
	one, two := enter(t, door), enter(t, door)
	door.note(one, http.StateActive)
	door.note(one, http.StateIdle) // later than the second, which has not said anything yet
	third := enter(t, door)
	if _, err := clients[1].Read(make([]byte, 1)); err == nil {
		t.Error("the quietest connection was left open")
	}
	if !door.inside[one.(*visitor)] || door.inside[two.(*visitor)] || !door.inside[third.(*visitor)] {
		t.Error("another connection than the quietest gave way")
	}
	_ = one.Close()
	_ = third.Close()
}

// One address keeps to its own part: with all its connections busy it gets no other, and
// with a quiet one it loses that.
func TestOneAddressHasItsPartOfTheConnections(t *testing.T) {
	l := listen(t)
	defer l.Close()
	door := newTurnstile(l, 100, 2, limited)
	clients := guests(t, l, 4)
	one, two := enter(t, door), enter(t, door)
	door.note(one, http.StateActive)
	door.note(two, http.StateActive)
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if door.enter(accepted) != nil {
		t.Error("an address has more than its part")
	}
	_ = accepted.Close()
	door.note(two, http.StateIdle)
	four := enter(t, door)
	if _, err := clients[1].Read(make([]byte, 1)); err == nil {
		t.Error("the quiet connection did not give way")
	}
	if len(door.inside) != 2 {
		t.Errorf("%d connections, want 2", len(door.inside))
	}
	_ = one.Close()
	_ = four.Close()
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
