package ice

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v2"
)

// transaction is the id by which an answer belongs to a question.
type transactionID = [stun.TransactionIDSize]byte

// socket is one shared UDP socket. Its reader hands each datagram to whom it belongs:
// answers go by their transaction to whoever asked, checks go by the name they carry to
// an attempt, and everything else is dropped. Going by the sender's address, as pion's
// own mux does, would confuse two attempts with one peer.
type socket struct {
	puncher *Puncher
	index   int
	conn    net.PacketConn
	local   netip.AddrPort

	mu   sync.Mutex
	asks map[transactionID]chan<- datagram
}

// datagram is a STUN message with its sender.
type datagram struct {
	data []byte
	from netip.AddrPort
}

func newSocket(p *Puncher, index int, c net.PacketConn) (*socket, error) {
	local, err := addrPort(c.LocalAddr())
	if err != nil {
		return nil, err
	}
	return &socket{puncher: p, index: index, conn: c, local: local, asks: make(map[transactionID]chan<- datagram)}, nil
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	u, ok := a.(*net.UDPAddr)
	if !ok || u == nil {
		return netip.AddrPort{}, fmt.Errorf("%v is no UDP address", a)
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// is4 reports whether the socket carries IPv4; libp2p has one for each family.
func (s *socket) is4() bool { return s.local.Addr().Is4() }

// close makes read return.
func (s *socket) close() { _ = s.conn.Close() }

func (s *socket) read() error {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("read %s: %w", s.local, err)
		}
		ap, err := addrPort(from)
		if err != nil || !wellFormed(buf[:n]) {
			continue
		}
		s.dispatch(datagram{data: append([]byte(nil), buf[:n]...), from: ap})
	}
}

func (s *socket) dispatch(d datagram) {
	m := stun.Message{Raw: d.data}
	if m.Decode() != nil || m.Type.Method != stun.MethodBinding {
		return
	}
	switch m.Type.Class {
	case stun.ClassSuccessResponse, stun.ClassErrorResponse:
		s.mu.Lock()
		to := s.asks[m.TransactionID]
		s.mu.Unlock()
		if to != nil {
			offer(to, d)
		}
	case stun.ClassRequest:
		name, err := m.Get(stun.AttrUsername)
		if err != nil {
			return
		}
		ours, _, _ := strings.Cut(string(name), ":")
		if a := s.puncher.find(ours); a != nil {
			a.ports[s.index].hear(d)
		}
	}
}

// offer drops what nobody has room for; STUN is repeated anyway.
func offer(to chan<- datagram, d datagram) {
	select {
	case to <- d:
	default:
	}
}

// expect has answers to a transaction handed to a channel, until forget.
func (s *socket) expect(id transactionID, to chan<- datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks[id] = to
}

func (s *socket) forget(ids ...transactionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.asks, id)
	}
}

// reply is what a STUN server said.
type reply struct {
	mapped netip.AddrPort // where it sees us
	other  netip.AddrPort // where else it listens, if it says so
	took   time.Duration
}

// ask puts one question to a STUN server, again and again until it is answered or the
// last wait is over. The first packet is lost easily: quic-go drops what is not QUIC
// until it was read for the first time.
func (s *socket) ask(ctx context.Context, server netip.AddrPort) (reply, error) {
	answers := make(chan datagram, len(stunWaits))
	sent := make(map[transactionID]time.Time)
	var ids []transactionID
	defer func() { s.forget(ids...) }()
	for _, wait := range stunWaits {
		id, request := bindingRequest()
		ids = append(ids, id)
		s.expect(id, answers)
		sent[id] = time.Now()
		if _, err := s.conn.WriteTo(request, net.UDPAddrFromAddrPort(server)); err != nil {
			return reply{}, fmt.Errorf("ask %s: %w", server, err)
		}
		timer := time.NewTimer(wait)
		for waiting := true; waiting; {
			select {
			case d := <-answers:
				if r, ok := parseReply(d, server); ok {
					timer.Stop()
					r.took = time.Since(sent[transactionID(d.data[8:headerSize])])
					return r, nil
				}
			case <-timer.C:
				waiting = false
			case <-ctx.Done():
				timer.Stop()
				return reply{}, fmt.Errorf("ask %s: %w", server, ctx.Err())
			}
		}
	}
	return reply{}, fmt.Errorf("ask %s: %w", server, errSilent)
}

// parseReply reads an answer, which must come from the address that was asked.
func parseReply(d datagram, server netip.AddrPort) (reply, bool) {
	m := stun.Message{Raw: d.data}
	var at stun.XORMappedAddress
	if d.from != server || m.Decode() != nil || m.Type != stun.BindingSuccess || at.GetFrom(&m) != nil {
		return reply{}, false
	}
	ip, ok := netip.AddrFromSlice(at.IP)
	if !ok || at.Port < 1 || at.Port > 0xffff || ip.Unmap().Is4() != server.Addr().Is4() {
		return reply{}, false
	}
	r := reply{mapped: netip.AddrPortFrom(ip.Unmap(), uint16(at.Port))}
	var other stun.OtherAddress
	if other.GetFrom(&m) == nil && other.Port > 0 && other.Port <= 0xffff {
		ip, _ := netip.AddrFromSlice(other.IP)
		if ip = ip.Unmap(); ip.IsUnspecified() {
			ip = server.Addr()
		}
		r.other = netip.AddrPortFrom(ip, uint16(other.Port))
	}
	return r, true
}

// bindingRequest is a question, long enough for all that a server may have to say.
func bindingRequest() (transactionID, []byte) {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware(strings.Repeat(" ", padding)))
	return m.TransactionID, m.Raw
}
