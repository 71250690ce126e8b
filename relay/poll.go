package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/prefix"
	"amesh/relay/longpoll"
	"amesh/relay/socket"

	"golang.org/x/time/rate"
)

// polls are the sessions of long poll (relay.md §13). To everything behind it a session
// is a connection like any other:
//
//	requests ──> servePoll ──> longpoll.Conn <──bytes──> socket.Conn <──> conn
type polls struct {
	mu   sync.Mutex
	open map[longpoll.Token]*poll
}

// poll is one session.
type poll struct {
	conn  *longpoll.Conn
	key   identity.PublicKey // signs every request, and has to be that of the connect frame
	named atomic.Bool        // it is
	rate  *rate.Limiter
	busy  atomic.Int32 // requests that are looked at or wait
}

// pollRequests is how many requests of one session there may be at a time: one each way,
// and those that come again because the connection of the first was lost.
const pollRequests = 8

func (p *polls) find(t longpoll.Token) *poll {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[t]
}

func (p *polls) add(t longpoll.Token, one *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[t] = one
}

func (p *polls) drop(t longpoll.Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, t)
}

// polling reports whether a request belongs to long poll.
func polling(r *http.Request) bool { return r.URL.RawQuery != "" && r.URL.Query().Has(longpoll.Query) }

// servePoll answers the requests of long poll.
func (s *Server) servePoll(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(longpoll.Header, "-")
	from := s.askedFrom(r)
	if s.admission.turnAway(from) {
		http.Error(w, "this address is banned by the operator of this relay", http.StatusForbidden)
		return
	}
	name := r.URL.Query().Get(longpoll.Query)
	kind := longpoll.ParseKind(name)
	switch {
	case (kind == longpoll.Down) != (r.Method == http.MethodGet), kind != longpoll.Down && r.Method != http.MethodPost:
		http.Error(w, "this is done with another method", http.StatusMethodNotAllowed)
	case name == longpoll.OpenQuery:
		s.openPoll(w, r, from)
	case kind == longpoll.KindNone:
		http.Error(w, "unknown request", http.StatusBadRequest)
	default:
		if status := s.answerPoll(w, r, kind, from); status != 0 {
			http.Error(w, http.StatusText(status), status)
		}
	}
}

// askedFrom is the address that a request counts for; invalid in a bare handler.
func (s *Server) askedFrom(r *http.Request) netip.Addr {
	g := guestOf(r)
	if g == nil {
		return netip.Addr{}
	}
	return g.asksFor(r.Header)
}

// openPoll makes a session, which is a nameless connection.
func (s *Server) openPoll(w http.ResponseWriter, r *http.Request, from netip.Addr) {
	if !s.mayAsk(from) {
		http.Error(w, "too many requests from this address", http.StatusTooManyRequests)
		return
	}
	key, err := s.keys.parse(r.Header.Get(longpoll.KeyHeader))
	if err != nil {
		http.Error(w, "the key is not acceptable", http.StatusBadRequest)
		return
	}
	var token longpoll.Token
	_, _ = rand.Read(token[:]) // never fails
	l := s.limits.Poll
	local := dialled.LocalAddr(r)
	line := longpoll.NewConn(local, net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), l.conn(), func() { s.polls.drop(token) })
	p := &poll{conn: line, key: key.PublicKey, rate: rate.NewLimiter(rate.Limit(l.Rate), l.Burst)}
	s.polls.add(token, p) // before anybody can end it
	var outer net.Conn = line
	var g *guest
	if from.IsValid() {
		g = s.admission.arrive(line)
		outer = g
	}
	c, status := s.receive(g, r, local)
	if status != 0 {
		_ = outer.Close()
		refuseUpgrade(w, status)
		return
	}
	c.poll = p
	s.wg.Go(func() { s.welcome(c, socket.New(outer, nil, int(s.limits.FrameBytes)), nil) })
	maps.Copy(w.Header(), c.threshold.challenge.headers())
	w.Header().Set(longpoll.Header, "0")
	writeJSON(w, http.StatusOK, longpoll.Opened{Session: token.Text(), Wait: int(l.Wait / time.Second), Bytes: l.Bytes})
}

// mayAsk counts a request against the budget of its address, which bounds how much work
// nameless strangers are.
func (s *Server) mayAsk(from netip.Addr) bool {
	return !from.IsValid() || s.admission.spend(from)
}

// answerPoll does what a request of a session asks for. It returns the status with which
// the request is refused, or 0 when it was answered.
func (s *Server) answerPoll(w http.ResponseWriter, r *http.Request, kind longpoll.Kind, from netip.Addr) int {
	req, err := longpoll.ParseRequest(r.Header.Get(longpoll.Header))
	if err != nil {
		return http.StatusBadRequest
	}
	p := s.polls.find(req.Session)
	if p == nil {
		return http.StatusNotFound
	}
	defer p.busy.Add(-1)
	if p.busy.Add(1) > pollRequests { // before its body becomes memory of ours
		return http.StatusConflict
	}
	l := s.limits.Poll
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(l.Bytes)))
	if err != nil {
		return http.StatusRequestEntityTooLarge
	}
	if status := s.checkPoll(r, p, req, kind, body, from); status != 0 {
		return status
	}
	if !p.conn.Begin(kind, req.Number) {
		return http.StatusConflict
	}
	defer p.conn.Done()
	// net/http's own deadlines are for requests that are answered at once.
	late := time.Now().Add(l.Wait + s.limits.WriteWait)
	rc := http.NewResponseController(w)
	_, _ = rc.SetReadDeadline(late), rc.SetWriteDeadline(late)
	return p.answer(w, r.Context(), kind, req, body)
}

// checkPoll is 0 when the request is the agent's, within its rate.
func (s *Server) checkPoll(r *http.Request, p *poll, req longpoll.Request, kind longpoll.Kind, body []byte, from netip.Addr) int {
	named := p.named.Load()
	if !named && !s.mayAsk(from) {
		return http.StatusTooManyRequests
	}
	a := s.admission
	a.checks <- struct{}{}
	err := p.key.Verify(identity.TagRelayPoll, req.Signed(kind, body), req.Signature)
	<-a.checks
	if err != nil {
		if from.IsValid() {
			a.punish(from)
		}
		return http.StatusForbidden
	}
	if !named {
		return 0
	}
	a.vouch(guestOf(r))
	if hold := p.rate.Reserve().Delay(); hold > 0 {
		wait(r.Context(), hold) // short: few are under way
	}
	return 0
}

func (p *poll) answer(w http.ResponseWriter, ctx context.Context, kind longpoll.Kind, req longpoll.Request, body []byte) int {
	pos, out := req.At, []byte(nil)
	var err error
	switch kind {
	case longpoll.Up:
		pos, err = p.conn.Take(ctx, req.Number, req.At, body)
	case longpoll.Down:
		out, err = p.conn.Give(ctx, req.Number, req.At)
	case longpoll.End:
		p.conn.End()
	}
	switch {
	case errors.Is(err, longpoll.ErrEnded):
		return http.StatusGone
	case err != nil:
		return http.StatusRequestedRangeNotSatisfiable
	}
	h := w.Header()
	h.Set(longpoll.Header, strconv.FormatUint(pos, 10))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(out)))
	// What does not arrive is asked for again.
	_, _ = w.Write(out)
	return 0
}

// vouch moves the connection of a request that an agent with a name has signed out of
// the room, as if it had a name itself. A proxy's connections carry many people's
// requests, and stay.
func (a *admission) vouch(g *guest) {
	if g == nil || g.proxy {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	mine := prefix.Of(g.from)
	if g.place != placeWaiting || a.named[mine] >= a.limits.NamedPerAddress && !contains(a.exempt, g.from) {
		return
	}
	a.forget(g)
	g.place = placeNamed
	a.named[mine]++
}
