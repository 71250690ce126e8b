package relay

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"amesh/internal/prefix"
	"amesh/relay/ban"
)

// admission counts the connections of a Server from the moment they are accepted,
// before a byte of theirs was read. Who has not said who it is waits in a room of
// bounded size. When the room is full, or the part of it that one address may have,
// the newcomer is not sent away, which would let sixteen sleepers keep everybody
// behind an address out: the oldest connection of the address that has most in the
// room gives way. Connections with a name are never touched.
type admission struct {
	room    int
	limits  AdmissionLimits
	exempt  []netip.Prefix
	proxies []netip.Prefix
	bans    *ban.List
	rate    *prefix.Rate
	checks  chan struct{}
	counts  *counts
	books   *books

	mu      sync.Mutex
	size    int
	waiting map[netip.Prefix][]*guest // the oldest first
	named   map[netip.Prefix]int
}

func newAdmission(cfg ServerConfig, l Limits, n *counts, b *books) *admission {
	return &admission{
		room: l.Unauthenticated, limits: l.Admission, exempt: cfg.Exempt, proxies: cfg.Proxies, bans: cfg.Bans, counts: n, books: b,
		rate:    prefix.NewRate(l.Admission.AuthRate, l.Admission.AuthBurst, time.Now()),
		checks:  make(chan struct{}, l.Admission.AuthChecks),
		waiting: map[netip.Prefix][]*guest{}, named: map[netip.Prefix]int{},
	}
}

// guest is an accepted connection. Its place belongs to the admission's mutex.
type guest struct {
	net.Conn
	a     *admission
	peer  netip.Addr // the other end of the socket
	proxy bool       // which is a proxy that we trust

	from     netip.Addr // whom the connection counts for
	since    time.Time
	place    place
	upgraded bool
}

type place int

const (
	placeGone place = iota
	placeWaiting
	placeNamed
)

// gate is a listener whose connections are counted.
type gate struct {
	net.Listener
	a *admission
}

func (g gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		guest := g.a.arrive(c)
		if !g.a.turnAway(guest.peer) {
			return guest, nil
		}
		_ = guest.Close()
	}
}

type guestKey struct{}

// withGuest lets requests find the connection that they came on.
func withGuest(ctx context.Context, c net.Conn) context.Context {
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = outer.NetConn()
	}
	if b, ok := c.(*begun); ok {
		c = b.guest
	}
	return context.WithValue(ctx, guestKey{}, c)
}

// guestOf is nil for a request that did not come through Serve.
func guestOf(r *http.Request) *guest {
	g, _ := r.Context().Value(guestKey{}).(*guest)
	return g
}

// Close ends the connection and gives its place back.
func (g *guest) Close() error {
	g.a.mu.Lock()
	g.a.forget(g)
	g.a.mu.Unlock()
	return g.Conn.Close()
}

// SyscallConn implements syscall.Conn, for writes that wait for nothing.
func (g *guest) SyscallConn() (syscall.RawConn, error) {
	if under, ok := g.Conn.(syscall.Conn); ok {
		return under.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// drop closes without a goodbye, so that the kernel keeps nothing of it either.
func (g *guest) drop() {
	if tcp, ok := g.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = g.Conn.Close()
}

func addrOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// arrive gives a connection a place in the room.
func (a *admission) arrive(c net.Conn) *guest {
	g := &guest{Conn: c, a: a, peer: addrOf(c.RemoteAddr()), since: time.Now()}
	g.proxy = contains(a.proxies, g.peer)
	a.mu.Lock()
	out := a.seat(g, g.peer)
	a.mu.Unlock()
	a.show(out)
	return g
}

// show closes those who gave way.
func (a *admission) show(out []*guest) {
	for _, g := range out {
		a.counts.shed.Add(1)
		a.books.denied(g.from)
		g.drop()
	}
}

// seat puts a guest into the room and returns who has to leave it. The caller holds
// the mutex.
func (a *admission) seat(g *guest, from netip.Addr) (out []*guest) {
	mine := prefix.Of(from)
	if old := a.waiting[mine]; len(old) >= a.limits.WaitingPerAddress && !a.uncapped(g, from) {
		out = append(out, old[0])
		a.forget(old[0])
	}
	if a.size >= a.room {
		oldest := a.busiest()
		out = append(out, oldest)
		a.forget(oldest)
	}
	g.from, g.place = from, placeWaiting
	a.waiting[mine] = append(a.waiting[mine], g)
	a.size++
	return out
}

// uncapped says whose number is not bounded by address: those that the operator
// named, and a proxy as long as it has not said for whom it comes.
func (a *admission) uncapped(g *guest, from netip.Addr) bool {
	return contains(a.exempt, from) || g.proxy && from == g.peer
}

// busiest is the oldest guest of the address that has most of them in the room.
func (a *admission) busiest() *guest {
	var most []*guest
	for _, list := range a.waiting {
		if len(list) > len(most) || len(list) == len(most) && list[0].since.Before(most[0].since) {
			most = list
		}
	}
	return most[0]
}

// forget takes a guest out of wherever it is counted. The caller holds the mutex.
func (a *admission) forget(g *guest) {
	mine := prefix.Of(g.from)
	switch g.place {
	case placeWaiting:
		list := a.waiting[mine]
		list = slices.Delete(list, slices.Index(list, g), slices.Index(list, g)+1)
		if a.waiting[mine] = list; len(list) == 0 {
			delete(a.waiting, mine)
		}
		a.size--
	case placeNamed:
		if a.named[mine]--; a.named[mine] == 0 {
			delete(a.named, mine)
		}
	case placeGone:
	}
	g.place = placeGone
}

// asksFor is the address for which a request on the connection counts.
func (g *guest) asksFor(h http.Header) netip.Addr {
	if g.proxy {
		return prefix.ForwardedFor(g.peer, h.Values("X-Forwarded-For"), g.a.proxies)
	}
	return g.peer
}

// introduce finds out for whom a request's connection counts, which behind a proxy
// only the headers say, and returns the status with which the request is refused, or
// 0: when the address is banned, or has all the connections it may have.
func (a *admission) introduce(g *guest, h http.Header) (status int) {
	if g == nil {
		return 0
	}
	from := g.asksFor(h)
	a.mu.Lock()
	var out []*guest
	// A connection on which an agent polled has a name, and gives it up.
	if g.place == placeNamed || from != g.from && g.place == placeWaiting {
		a.forget(g)
		out = a.seat(g, from)
	}
	g.upgraded = true
	full := a.named[prefix.Of(from)] >= a.limits.NamedPerAddress && !contains(a.exempt, from)
	a.mu.Unlock()
	a.show(out)
	switch {
	case a.turnAway(from):
		return http.StatusForbidden
	case full:
		a.counts.crowded.Add(1)
		a.books.denied(from)
		return http.StatusServiceUnavailable
	}
	return 0
}

// name moves a guest out of the room: it has said who it is. It is false when the
// guest had to give way meanwhile.
func (a *admission) name(g *guest) bool {
	if g == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.place != placeWaiting {
		return false
	}
	a.forget(g)
	g.place = placeNamed
	a.named[prefix.Of(g.from)]++
	return true
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// waitingBy counts the connections without a name by address.
func (a *admission) waitingBy() map[netip.Prefix]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[netip.Prefix]int, len(a.waiting))
	for p, list := range a.waiting {
		if p.IsValid() {
			all[p] = len(list)
		}
	}
	return all
}
