package relay

import (
	"net/netip"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"
	"amesh/relay/ban"

	"github.com/coder/websocket"
)

// CloseBanned: the relay's operator does not want this agent or address (relay.md §6).
const CloseBanned websocket.StatusCode = 4003

// Ban puts a ban in force, also for connections that are open: each gets an error
// frame, if its socket takes one in farewellWait, and is closed.
func (s *Server) Ban(b ban.Ban) error {
	if err := s.bans.Add(b); err != nil {
		return err
	}
	s.mu.Lock()
	for c := range s.open {
		var who identity.AMID
		if c.named {
			who = c.who
		}
		if b.Target.Covers(who, c.from()) {
			s.wg.Go(func() { c.expel(b) })
		}
	}
	s.mu.Unlock()
	s.admission.clear(b.Target)
	s.onBan(b.Target)
	return nil
}

// Unban ends a ban and reports whether there was one.
func (s *Server) Unban(t ban.Target) (bool, error) { return s.bans.Remove(t) }

// Bans are those in force, the newest first.
func (s *Server) Bans() []ban.Ban { return s.bans.All() }

// banned is why a verified agent is not let in, or nil.
func (s *Server) banned(who identity.AMID) *refusal {
	b, ok := s.bans.Agent(who)
	if !ok {
		return nil
	}
	s.counts.banned.Add(1)
	no := bannedRefusal(b)
	return &no
}

// bannedSince looks again when a connection takes its place: Ban may have gone
// through the open ones after it was asked and before it was there.
func (s *Server) bannedSince(c *conn) bool {
	_, agent := s.bans.Agent(c.who)
	_, address := s.bans.Address(c.from())
	return agent || address
}

func bannedRefusal(b ban.Ban) refusal {
	text := "banned by the operator of this relay"
	if !b.Until.IsZero() {
		text += " until " + timestamp.Text(b.Until)
	}
	return refusal{CodeUnauthorized, text}
}

// farewellWait is the time for the error frame of a banned connection.
const farewellWait = 500 * time.Millisecond

// expel ends a connection within farewellWait, and says why if its socket takes it.
func (c *conn) expel(b ban.Ban) {
	no := bannedRefusal(b)
	goodbye := func() { c.stop(CloseBanned, "banned") }
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
	case c.ws == nil:
		c.unwelcome = &b // it is told as soon as it has a socket
	default:
		c.s.counts.banned.Add(1)
		late := time.AfterFunc(farewellWait, goodbye)
		c.wg.Go(func() {
			c.queue.push(encode(errorOf(no.code, no.text, max(time.Until(b.Until), 0))))
			c.queue.drained()
			late.Stop()
			goodbye()
		})
	}
}

// from is the address that a connection counts for, invalid if nobody counts.
func (c *conn) from() netip.Addr {
	if c.guest == nil {
		return netip.Addr{}
	}
	return c.guest.counted()
}

// counted is the address that a guest counts for.
func (g *guest) counted() netip.Addr {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	return g.from
}

// turnAway reports whether nobody from this address is to come in.
func (a *admission) turnAway(ip netip.Addr) bool {
	if _, ok := a.bans.Address(ip); !ok {
		return false
	}
	a.counts.banned.Add(1)
	a.books.denied(ip)
	return true
}

// clear closes the connections of a target that have no upgrade yet; the others end
// with a word. A connection that was accepted a moment ago is asked again when its
// request comes.
func (a *admission) clear(t ban.Target) {
	a.mu.Lock()
	var out []*guest
	for _, list := range a.waiting {
		for _, g := range list {
			if t.Covers(identity.AMID{}, g.from) && !g.upgraded {
				out = append(out, g)
			}
		}
	}
	for _, g := range out {
		a.forget(g)
	}
	a.mu.Unlock()
	for _, g := range out {
		g.drop()
	}
}
