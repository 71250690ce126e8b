package relay

import (
	"net/netip"
	"time"

	"amesh/identity"

	"github.com/coder/websocket"
)

// verify checks a connect frame within what its address may cost. A signature is the
// dearest thing that a stranger can ask for. No cookie is demanded before it: a TCP
// connection has proved the address already, which is all that a cookie proves, and
// 0.2 clients could not answer (relay.md §1.1).
func (s *Server) verify(c *conn, f connectFrame) (identity.PublicKey, *refusal) {
	a := s.admission
	if c.guest != nil && !a.spend(c.guest.from) {
		return identity.PublicKey{}, &refusal{CodeRateLimited, "too many connect frames from this address"}
	}
	a.checks <- struct{}{}
	key, no := s.authenticate(c.threshold, f, time.Now())
	<-a.checks
	if no != nil && c.guest != nil {
		a.punish(c.guest.from)
	}
	if no == nil {
		no = s.banned(key.AMID())
	}
	return key, no
}

// spend takes one signature from the budget of an address, and is false when there is
// none left.
func (a *admission) spend(from netip.Addr) bool {
	if contains(a.exempt, from) || a.rate.Take(from, 1, time.Now()) {
		return true
	}
	a.books.denied(from)
	return false
}

// punish makes a wrong signature dearer.
func (a *admission) punish(from netip.Addr) {
	if contains(a.exempt, from) {
		return
	}
	a.books.denied(from)
	a.rate.Charge(from, a.limits.AuthPenalty, time.Now())
}

// closeFor is the close code that belongs to a refusal.
func closeFor(no refusal) websocket.StatusCode {
	switch no.code {
	case CodeRateLimited:
		return websocket.StatusTryAgainLater
	case CodeUnauthorized:
		return CloseBanned
	}
	return CloseUnauthorized
}
