package turnstile

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
)

func limited(netip.Addr) bool   { return false }
func unlimited(netip.Addr) bool { return true }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

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

func enter(t *testing.T, door *Turnstile) net.Conn {
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
	door := New(l, 2, 1, unlimited)
	guests(t, l, 3)
	one, two := enter(t, door), enter(t, door)
	door.Note(one, http.StateActive)
	door.Note(two, http.StateActive)
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
	door := New(l, 2, 2, unlimited)
	clients := guests(t, l, 3)
	one, two := enter(t, door), enter(t, door)
	door.Note(one, http.StateActive)
	door.Note(one, http.StateIdle) // later than the second, which has not said anything yet
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
	door := New(l, 100, 2, limited)
	clients := guests(t, l, 4)
	one, two := enter(t, door), enter(t, door)
	door.Note(one, http.StateActive)
	door.Note(two, http.StateActive)
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if door.enter(accepted) != nil {
		t.Error("an address has more than its part")
	}
	_ = accepted.Close()
	door.Note(two, http.StateIdle)
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
