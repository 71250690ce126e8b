package relay

import "amesh/relay/mailbox"

// Stats is what a server does and has done since it was made. Nothing in it names an
// agent or an address.
type Stats struct {
	// Waiting, Ack and Legacy are connections without a name, and of clients with and
	// without "ack".
	Waiting, Ack, Legacy int
	// Polling are those of Ack and Legacy that come by long poll.
	Polling int
	// In and Out are frames by type, Refused are sends by code, and AuthFailed
	// connect frames by code.
	In, Out, Refused, AuthFailed map[string]Count
	// Shed and Crowded are connections cut and refused for their number, SlowCut
	// those of readers that did not read, BanCut those that a ban ended or refused.
	Shed, Crowded, SlowCut, BanCut uint64
	// Bans are in force now.
	Bans int
	// Mailbox is what all mailboxes hold, and what became of messages in them.
	Mailbox mailbox.Stats
	// Commits are the mailbox's commits, Repeated the messages that were sent again
	// while they were there.
	Commits  Durations
	Repeated uint64
	// Ready is false with a reason while the relay should not be given work.
	Ready    bool
	NotReady string
}

// Stats counts what is to be counted now.
func (s *Server) Stats() Stats {
	n := s.counts
	st := Stats{
		In: n.in.read(), Out: n.out.read(), Refused: n.refused.read(), AuthFailed: n.auth.read(),
		Shed: n.shed.Load(), Crowded: n.crowded.Load(), SlowCut: n.slow.Load(),
		BanCut: n.banned.Load(), Bans: s.bans.Len(),
		Mailbox: s.box.Stats(), Commits: n.commits.read(), Repeated: n.repeated.Load(),
	}
	s.mu.Lock()
	for _, c := range s.online {
		if c.ack {
			st.Ack++
		} else {
			st.Legacy++
		}
		if c.poll != nil {
			st.Polling++
		}
	}
	st.Waiting = s.pending
	s.mu.Unlock()
	// Those behind Serve are counted from the moment they are accepted.
	st.Waiting = max(st.Waiting, s.admission.waits())
	st.NotReady = s.notReady()
	st.Ready = st.NotReady == ""
	return st
}

func (a *admission) waits() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size
}

// notReady says why the relay should not be given work, empty if it should.
func (s *Server) notReady() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return "stopping"
	case s.draining:
		return "draining"
	case !s.running:
		return "starting"
	case s.failing.Load():
		return "storage unavailable"
	}
	return ""
}

// Ready is closed when Run is at work and the mailbox was asked once.
func (s *Server) Ready() <-chan struct{} { return s.ready }

func (s *Server) started() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = true
	close(s.ready)
}
