// Package turnstile bounds the connections of a server's listener, in all and from one
// address, so that no stranger takes the room of the others.
package turnstile

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"amesh/internal/prefix"
)

// Turnstile is a listener with room for a number of connections, and for fewer from one
// address. Where there is none for a newcomer, a connection with no request under way
// gives way, the one that is quiet for longest: at the address's limit one of the same
// address, else one of the address that has most. If there is none the newcomer is sent
// away at the address's limit, and waits outside when all is full.
type Turnstile struct {
	net.Listener
	room       int
	perAddress int
	uncapped   func(netip.Addr) bool // addresses without a limit of their own

	mu      sync.Mutex
	changed sync.Cond // somebody has left, or become quiet
	inside  map[*visitor]bool
	by      map[netip.Prefix]int // connections of each address that has a limit
	turns   uint64
}

// New wraps a listener. Connections of addresses for which uncapped is true have no limit
// of their own.
func New(l net.Listener, room, perAddress int, uncapped func(netip.Addr) bool) *Turnstile {
	t := &Turnstile{Listener: l, room: room, perAddress: perAddress, uncapped: uncapped,
		inside: map[*visitor]bool{}, by: map[netip.Prefix]int{}}
	t.changed.L = &t.mu
	return t
}

// visitor is a connection that gives its room back.
type visitor struct {
	net.Conn
	t *Turnstile
	// from is the address that the connection counts for, zero if that has no limit.
	from netip.Prefix
	// quiet is the turn since which no request is under way; 0: one is.
	quiet uint64
}

// Accept implements net.Listener.
func (t *Turnstile) Accept() (net.Conn, error) {
	for {
		t.makeRoom()
		c, err := t.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if v := t.enter(c); v != nil {
			return v, nil
		}
		abort(c)
	}
}

// makeRoom waits until there is room for one more.
func (t *Turnstile) makeRoom() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.inside) >= t.room {
		if out := t.quietest(func(*visitor) bool { return true }); out != nil {
			t.forget(out)
			abort(out.Conn)
			continue
		}
		t.changed.Wait()
	}
}

// enter lets a connection in; nil if its address has too many.
func (t *Turnstile) enter(c net.Conn) *visitor {
	v := &visitor{Conn: c, t: t}
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		if ip := tcp.AddrPort().Addr().Unmap().WithZone(""); !t.uncapped(ip) {
			v.from = prefix.Of(ip)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.from.IsValid() {
		if t.by[v.from] >= t.perAddress {
			out := t.quietest(func(o *visitor) bool { return o.from == v.from })
			if out == nil {
				return nil
			}
			t.forget(out)
			abort(out.Conn)
		}
		t.by[v.from]++
	}
	t.turns++
	v.quiet = t.turns
	t.inside[v] = true
	return v
}

// quietest is who gives way; nil if all are busy. The caller holds the mutex.
func (t *Turnstile) quietest(among func(*visitor) bool) *visitor {
	var found *visitor
	for v := range t.inside {
		if v.quiet == 0 || !among(v) {
			continue
		}
		if found == nil || t.by[v.from] > t.by[found.from] || t.by[v.from] == t.by[found.from] && v.quiet < found.quiet {
			found = v
		}
	}
	return found
}

// forget gives a visitor's room back, once. The caller holds the mutex.
func (t *Turnstile) forget(v *visitor) {
	if !t.inside[v] {
		return
	}
	delete(t.inside, v)
	if v.from.IsValid() {
		if t.by[v.from]--; t.by[v.from] == 0 {
			delete(t.by, v.from)
		}
	}
	t.changed.Signal()
}

// Note is for http.Server.ConnState: it learns whether a request is under way.
func (t *Turnstile) Note(c net.Conn, state http.ConnState) {
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = outer.NetConn()
	}
	v, ok := c.(*visitor)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case http.StateActive:
		v.quiet = 0
	case http.StateIdle:
		t.turns++
		v.quiet = t.turns
		t.changed.Signal()
	case http.StateNew, http.StateHijacked, http.StateClosed:
	}
}

func (v *visitor) Close() error {
	v.t.mu.Lock()
	v.t.forget(v)
	v.t.mu.Unlock()
	return v.Conn.Close()
}

// abort closes without a goodbye, so that the kernel keeps nothing of it either.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
