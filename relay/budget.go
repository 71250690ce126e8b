package relay

import (
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
	counted := c.guest != nil && !contains(a.exempt, c.guest.from)
	if counted && !a.rate.Take(c.guest.from, 1, time.Now()) {
		a.books.denied(c.guest.from)
		return identity.PublicKey{}, &refusal{CodeRateLimited, "too many connect frames from this address"}
	}
	a.checks <- struct{}{}
	key, no := s.authenticate(c.threshold, f, time.Now())
	<-a.checks
	if no != nil && counted {
		a.books.denied(c.guest.from)
		a.rate.Charge(c.guest.from, a.limits.AuthPenalty, time.Now())
	}
	if no == nil {
		no = s.banned(key.AMID())
	}
	return key, no
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
