package ice

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v2"

	"amesh/internal/reach"
)

// port is an attempt's view of one shared socket: the checks that pion wants to send go
// through it, and what belongs to the attempt comes out of it. It is a net.PacketConn.
type port struct {
	socket *socket
	budget *budget
	rules  reach.Rules
	in     chan datagram

	closing sync.Once
	closed  chan struct{}

	mu   sync.Mutex
	sent map[transactionID]sentCheck
}

type sentCheck struct {
	to netip.AddrPort
	at time.Time
}

func newPort(s *socket, b *budget, rules reach.Rules) *port {
	return &port{socket: s, budget: b, rules: rules, in: make(chan datagram, portQueue), closed: make(chan struct{}), sent: make(map[transactionID]sentCheck)}
}

func (p *port) pair(remote netip.AddrPort) pair { return pair{socket: p.socket.index, remote: remote} }

// hear takes a check of the peer. Its name is known to the peer alone, and what it
// proves is left to pion.
func (p *port) hear(d datagram) {
	if p.rules.Allow(d.from.Addr()) && p.budget.heard(p.pair(d.from)) {
		offer(p.in, d)
	}
}

// ReadFrom implements net.PacketConn.
func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		p.note(d)
		return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

// note remembers which of our checks was answered.
func (p *port) note(d datagram) {
	p.mu.Lock()
	s, ours := p.sent[transactionID(d.data[8:headerSize])]
	p.mu.Unlock()
	if ours && s.to == d.from {
		p.budget.answered(p.pair(d.from), time.Since(s.at))
	}
}

// WriteTo implements net.PacketConn. What must not be sent is lost, as it might be on
// any network.
func (p *port) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, io.ErrClosedPipe
	default:
	}
	remote, err := addrPort(to)
	if err != nil {
		return 0, err
	}
	if !wellFormed(b) || !p.rules.Allow(remote.Addr()) || !p.allowed(b, remote) {
		return len(b), nil
	}
	return p.socket.conn.WriteTo(b, net.UDPAddrFromAddrPort(remote))
}

// allowed asks the budget, and has the answer to a check come back here.
func (p *port) allowed(b []byte, remote netip.AddrPort) bool {
	var t stun.MessageType
	t.ReadValue(uint16(b[0])<<8 | uint16(b[1]))
	if t.Class != stun.ClassRequest {
		return p.budget.answer(p.pair(remote))
	}
	now := time.Now()
	if !p.budget.check(p.pair(remote), now) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil { // closed
		return false
	}
	id := transactionID(b[8:headerSize])
	p.sent[id] = sentCheck{to: remote, at: now}
	p.socket.expect(id, p.in)
	return true
}

// LocalAddr implements net.PacketConn.
func (p *port) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.socket.local) }

// Close implements net.PacketConn. The socket stays open.
func (p *port) Close() error {
	p.closing.Do(func() {
		close(p.closed)
		p.mu.Lock()
		defer p.mu.Unlock()
		for id := range p.sent {
			p.socket.forget(id)
		}
		p.sent = nil
	})
	return nil
}

// SetDeadline implements net.PacketConn. Pion sets one only right before it closes.
func (p *port) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (p *port) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn.
func (p *port) SetWriteDeadline(time.Time) error { return nil }

// ports are an attempt's views of all sockets, as the mux that pion asks for.
type ports []*port

// GetListenAddresses implements pion's UDPMux: one address per socket, since all others
// of the socket would only multiply the checks.
func (ps ports) GetListenAddresses() []net.Addr {
	list := make([]net.Addr, len(ps))
	for i, p := range ps {
		list[i] = p.LocalAddr()
	}
	return list
}

// GetConn implements pion's UDPMux.
func (ps ports) GetConn(_ string, addr net.Addr) (net.PacketConn, error) {
	for _, p := range ps {
		if p.LocalAddr().String() == addr.String() {
			return p, nil
		}
	}
	return nil, net.ErrClosed
}

// RemoveConnByUfrag implements pion's UDPMux; the ports close with their candidates.
func (ps ports) RemoveConnByUfrag(string) {}

// Close implements pion's UDPMux.
func (ps ports) Close() error {
	for _, p := range ps {
		_ = p.Close()
	}
	return nil
}
