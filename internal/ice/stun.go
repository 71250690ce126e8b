package ice

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"amesh/internal/prefix"

	"github.com/pion/stun/v2"
)

// STUN answers binding requests (RFC 8489) on a UDP socket. It has no state and
// no users: an answer holds the asker's own address and nothing else, is never
// longer than 44 bytes (32 for IPv4) or than the question, and goes out a bounded number of times to
// anyone.
type STUN struct {
	conn   *net.UDPConn
	second *net.UDPConn // nil: none
	limits STUNLimits
	log    *slog.Logger
	rate   *prefix.Rate
	counts stunCounts
}

// STUNCounts is what a server has done since it was made.
type STUNCounts struct {
	Answered uint64 // with an address
	Refused  uint64 // with an error: a request wanted what we don't do
	Ignored  uint64 // were no binding request
	Limited  uint64 // came too often
}

type stunCounts struct{ answered, refused, ignored, limited atomic.Uint64 }

// NewSTUN makes a server for a socket, which the caller opens and closes. A nil
// logger is silence.
func NewSTUN(conn *net.UDPConn, l STUNLimits, log *slog.Logger) (*STUN, error) {
	if conn == nil {
		return nil, errors.New("STUN server needs a socket")
	}
	l, err := l.orDefault()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &STUN{conn: conn, limits: l, log: log, rate: prefix.NewRate(l.Rate, l.Burst, time.Now())}, nil
}

// Also has a second socket served, with another port of the same address. A node that
// asks both learns whether its NAT gives it another address for each destination, so
// that one server is enough to find that out. Also is called before Run.
func (s *STUN) Also(conn *net.UDPConn) { s.second = conn }

// Counts returns what was done so far.
func (s *STUN) Counts() STUNCounts {
	return STUNCounts{
		Answered: s.counts.answered.Load(), Refused: s.counts.refused.Load(),
		Ignored: s.counts.ignored.Load(), Limited: s.counts.limited.Load(),
	}
}

// Run answers until ctx ends; then it returns nil. It returns an error when a socket
// cannot be read any more. Run is called once.
func (s *STUN) Run(ctx context.Context) error {
	if s.second == nil {
		return s.serve(ctx, s.conn, 0)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 2)
	go func() { done <- s.serve(ctx, s.conn, portOf(s.second)) }()
	go func() { done <- s.serve(ctx, s.second, portOf(s.conn)) }()
	err := <-done
	stop()
	return errors.Join(err, <-done)
}

func portOf(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// serve answers on one socket, and tells the other port.
func (s *STUN) serve(ctx context.Context, conn *net.UDPConn, other uint16) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// One byte more, to tell a long request from one that just fits.
	buf := make([]byte, maxRequest+1)
	a := answerer{other: other}
	for failures := 0; ; {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures++; failures >= s.limits.ReadErrors || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("stun: %w", err)
			}
			// Some systems report here that an earlier answer did not arrive.
			s.log.Debug("stun read failed", "err", err)
			pause(ctx, retryPause)
			continue
		}
		failures = 0
		if n <= maxRequest {
			s.answer(conn, &a, buf[:n], from)
		} else {
			s.counts.ignored.Add(1)
		}
	}
}

func (s *STUN) answer(conn *net.UDPConn, a *answerer, request []byte, from netip.AddrPort) {
	out, verdict := a.answer(request, from)
	if verdict == ignored {
		s.counts.ignored.Add(1)
		return
	}
	if !s.rate.Take(from.Addr(), 1, time.Now()) {
		s.counts.limited.Add(1)
		return
	}
	if verdict == refused {
		s.counts.refused.Add(1)
	} else {
		s.counts.answered.Add(1)
	}
	// An answer that does not leave is lost like one that does not arrive.
	if _, err := conn.WriteToUDPAddrPort(out, from); err != nil {
		s.log.Debug("stun answer not sent", "err", err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

type verdict int

const (
	ignored verdict = iota
	answered
	refused
)

// answerer holds the buffers of one request and its answer.
type answerer struct {
	in, out stun.Message
	other   uint16 // the server's second port; 0 for none
}

// understood are the attributes that one must understand to answer (RFC 8489
// §14), and that change nothing for a server that believes nobody anyway.
var understood = []stun.AttrType{
	stun.AttrUsername, stun.AttrMessageIntegrity, stun.AttrRealm, stun.AttrNonce,
	stun.AttrMessageIntegritySHA256, stun.AttrUserhash, stun.AttrPasswordAlgorithm,
	stun.AttrPriority, stun.AttrUseCandidate,
}

// answer is a function of its arguments. The bytes it returns are valid until the
// next call.
func (a *answerer) answer(request []byte, from netip.AddrPort) ([]byte, verdict) {
	if !wellFormed(request) {
		return nil, ignored
	}
	a.in.Raw = append(a.in.Raw[:0], request...)
	if a.in.Decode() != nil || a.in.Type != stun.BindingRequest {
		return nil, ignored
	}
	ip := from.Addr().Unmap().WithZone("")
	a.out.Reset()
	a.out.TransactionID = a.in.TransactionID
	if unknown := a.unknown(); len(unknown) > 0 {
		// Whoever sends such an attribute, of NAT behaviour discovery for one, would
		// draw wrong conclusions from an answer that passes over it.
		a.out.SetType(stun.BindingError)
		a.out.WriteHeader()
		_ = stun.ErrorCodeAttribute{Code: stun.CodeUnknownAttribute}.AddTo(&a.out)
		a.out.Add(stun.AttrUnknownAttributes, unknown)
		return a.out.Raw, refused
	}
	a.out.SetType(stun.BindingSuccess)
	a.out.WriteHeader()
	mapped := stun.XORMappedAddress{IP: ip.AsSlice(), Port: int(from.Port())}
	if mapped.AddTo(&a.out) != nil {
		return nil, ignored
	}
	// OTHER-ADDRESS of RFC 5780 with no address, which is this one. It is told to those
	// who asked at such length that the answer is no longer.
	if a.other != 0 && len(request) >= len(a.out.Raw)+otherSize {
		_ = (&stun.OtherAddress{IP: net.IPv4zero.To4(), Port: int(a.other)}).AddTo(&a.out)
	}
	return a.out.Raw, answered
}

// otherSize is the length of an OTHER-ADDRESS with an IPv4 address.
const otherSize = 12

// headerSize is the length of a STUN message without attributes.
const headerSize = 20

// wellFormed asks for more than the decoder does: the two bits that are zero in
// every STUN message, and the right length with nothing after it.
func wellFormed(b []byte) bool {
	return len(b) >= headerSize && len(b)%4 == 0 && b[0]&0xc0 == 0 && stun.IsMessage(b) &&
		int(binary.BigEndian.Uint16(b[2:4])) == len(b)-headerSize
}

// unknown are the types of attributes that had to be understood and are not, as an
// error carries them. The library's own form has four bytes where two belong.
func (a *answerer) unknown() []byte {
	var types []byte
	for _, attr := range a.in.Attributes {
		if attr.Type.Required() && !slices.Contains(understood, attr.Type) && len(types) < 2*maxUnknown {
			types = binary.BigEndian.AppendUint16(types, attr.Type.Value())
		}
	}
	return types
}
