package agent

import "amesh/internal/content"

// The end of a session (session.md §10.3).

// end closes a session: on our side nothing is sealed on it any more but receipts. One
// envelope more than the window lets is harmless, since there is one close a session.
func (c *clerk) end(b *batch, s *session, why content.CloseReason, class flightClass) error {
	if _, err := b.seal(s, class, &content.Close{Reason: why, LastSequence: s.Last}); err != nil {
		return err
	}
	n := b.session(s)
	n.Closed, n.Ended = true, why
	c.a.Logger.Debug("session closed", "peer", c.peer.Short(), "reason", uint8(why))
	return nil
}

// landControl stops sending what was only to be said on a session that is forgotten. Its
// messages go on: the peer may remember it.
func (c *clerk) landControl(b *batch, s *session) {
	for _, f := range c.flights {
		if f.Sid == s.Sid && (f.Class == flightControl || f.Class == flightMoment) {
			b.land(f)
		}
	}
}

// takeClose ends a session on the peer's word. s is the batch's own.
func (c *clerk) takeClose(s *session, ct *content.Close) {
	if !s.Closed {
		s.Closed, s.Ended = true, ct.Reason
	}
}
