package relay

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/prefix"
	"amesh/relay/mailbox"
)

// books are the two ledgers of a server, and when they began their minute.
type books struct {
	agents    *ledger[identity.AMID]
	addresses *ledger[netip.Prefix]
	turned    time.Time
}

func newBooks(l Limits) *books {
	return &books{
		agents: newLedger[identity.AMID](l.Connections + l.LedgerRows), addresses: newLedger[netip.Prefix](l.Connections + l.LedgerRows),
		turned: time.Now(),
	}
}

// turn begins a new minute when one is over.
func (b *books) turn(now time.Time) {
	if now.Sub(b.turned) >= ledgerTurn {
		b.turned = now
		b.agents.turn(now)
		b.addresses.turn(now)
	}
}

// open notes a connection that has a name; done takes it off again.
func (b *books) open(c *conn) {
	c.by[0] = b.agents.of(c.who, 1)
	if from := c.from(); from.IsValid() {
		c.by[1] = b.addresses.of(prefix.Of(from), 1)
	}
}

func (b *books) done(c *conn) {
	b.agents.done(c.by[0])
	b.addresses.done(c.by[1])
}

// denied notes a connection that was cut or refused, by address.
func (b *books) denied(ip netip.Addr) {
	if ip.IsValid() {
		b.addresses.of(prefix.Of(ip), 0).refused.Add(1)
	}
}

// stored notes messages that went into mailboxes, by sender.
func (b *books) stored(messages []mailbox.Message, answers []mailbox.Stored) {
	var row *activity
	for i := range answers {
		if i == 0 || messages[i].From != messages[i-1].From {
			row = b.agents.of(messages[i].From, 0)
		}
		if answers[i].Err == nil && !answers[i].Repeated {
			row.stored.Add(1)
		}
	}
}

// Order says what busy means.
type Order string

// The orders of Top.
const (
	ByFrames  Order = "frames"
	ByBytes   Order = "bytes"
	ByStored  Order = "stored"
	ByRefused Order = "refused"
)

// Orders lists them.
var Orders = []Order{ByFrames, ByBytes, ByStored, ByRefused}

// Busy is somebody who is busy.
type Busy struct {
	// Who is an AMID, or an address: IPv4, or an IPv6 /56.
	Who         string `json:"who"`
	Connections int    `json:"connections"`
	// Waiting are connections of an address that have no name yet.
	Waiting int `json:"waiting,omitempty"`
	// Recent is the last one to two minutes, Total what is remembered.
	Recent Activity `json:"recent"`
	Total  Activity `json:"total"`
	// Mailbox is what waits for an agent.
	Mailbox *Room `json:"mailbox,omitempty"`
}

// Top lists the n busiest agents and addresses. It is for the operator's eyes: it
// names who is there, and never who writes to whom.
func (s *Server) Top(ctx context.Context, n int, by Order) (agents, addresses []Busy) {
	for _, l := range busiest(s.books.agents.read(), n, by) {
		b := Busy{Who: l.key.String(), Connections: l.conns, Recent: l.recent, Total: l.all}
		if used, err := s.box.Usage(ctx, l.key); err == nil {
			b.Mailbox = (*Room)(&used)
		}
		agents = append(agents, b)
	}
	waiting := s.admission.waitingBy()
	for address := range waiting {
		s.books.addresses.of(address, 0)
	}
	for _, l := range busiest(s.books.addresses.read(), n, by) {
		who := l.key.String()
		if l.key.Addr().Is4() {
			who = l.key.Addr().String()
		}
		addresses = append(addresses, Busy{
			Who: who, Connections: l.conns, Waiting: waiting[l.key], Recent: l.recent, Total: l.all,
		})
	}
	return agents, addresses
}

func busiest[K comparable](lines []line[K], n int, by Order) []line[K] {
	slices.SortFunc(lines, func(a, b line[K]) int {
		return cmp.Or(cmp.Compare(by.of(b.recent), by.of(a.recent)), cmp.Compare(by.of(b.all), by.of(a.all)), cmp.Compare(b.conns, a.conns))
	})
	return lines[:min(n, len(lines))]
}

func (o Order) of(a Activity) uint64 {
	switch o {
	case ByBytes:
		return a.In.Bytes + a.Out.Bytes
	case ByStored:
		return a.Stored
	case ByRefused:
		return a.Refused
	case ByFrames:
	}
	return a.In.N + a.Out.N
}
